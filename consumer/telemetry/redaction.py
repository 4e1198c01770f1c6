"""Takes secrets and bodies out of whatever is about to be written for people to read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

HIDDEN = "[redacted]"
_TEXT_MAX_CHARS = 16_000
_DEPTH_MAX = 6
_ITEMS_MAX = 100

_NAMES = (
    r"shared_?access_?key|account_?key|shared_?secret_?value|pass(?:word|wd|phrase)|pwd"
    r"|(?:client_?|signing_?)?secret|api[-_]?key|(?:access|refresh|id|sas)_?token|connection_?string"
    r"|x-functions-key|authorization"
)
_SECRETS = re.compile(
    r"(?P<key>\b(?:" + _NAMES + r")[\"']?\s*[=:]\s*[\"']?(?:(?:bearer|basic)\s+)?)(?P<value>[^\s;&\"',})\]]+)"
    r"|(?P<query>\b(?:sig|code|token|key)=)(?P<signature>[^\s;&\"'<>]+)"
    r"|(?P<scheme>\b(?:bearer|basic)\s+)(?P<token>[\w.~+/=-]{8,})"
    r"|(?P<url>://[^\s/:@]+:)(?P<password>[^\s/@]+)(?=@)"
    r"|whsec_[\w+/=-]+"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(rf"^(?:.*_)?(?:{_NAMES})$", re.IGNORECASE)
# Terminal escapes, forged lines, and marks that hide or turn the direction of what follows have no place in a
# log; tabs and newlines survive only in tracebacks.
_UNSEEN = (0x61C, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF)
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in _UNSEEN
}
_CONTROLS_BUT_LINES = {code: text for code, text in _CONTROLS.items() if code not in {9, 10}}


def redact(text: str, *, lines: bool = False) -> str:
    """Hide secrets in a text and make it safe to print; `lines` keeps its newlines and tabs.

    Longer texts are cut at 16,000 characters, in the middle: both ends of a traceback matter.
    """
    if len(text) > _TEXT_MAX_CHARS:
        half = _TEXT_MAX_CHARS // 2
        # Redacted before the cut: half a secret at its edge would not be recognised any more.
        text = _SECRETS.sub(_hide, text)
        text = f"{text[:half]} [{len(text) - 2 * half} characters left out] {text[-half:]}"
    else:
        text = _SECRETS.sub(_hide, text)
    text = text.translate(_CONTROLS_BUT_LINES if lines else _CONTROLS)
    return text.encode("utf-8", "backslashreplace").decode()


def redact_value(value: Any, depth: int = 0) -> Any:
    """The same for any value, inside lists and mappings too. Bytes and events are named, never shown."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(str(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth >= _DEPTH_MAX:
        return "…"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return redact(repr(value))
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_ITEMS_MAX]
        return {redact(str(name)): redact_item(str(name), item, depth + 1) for name, item in pairs}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, depth + 1) for item in list(value)[:_ITEMS_MAX]]
    if isinstance(value, msgspec.Struct):
        return _name_of(value)
    return redact(repr(value))


def redact_item(name: str, value: Any, depth: int = 0) -> Any:
    """The same for a value whose name may say that it is a secret."""
    if value is not None and not isinstance(value, bool | int | float) and _SECRET_NAME.match(name):
        return HIDDEN
    return redact_value(value, depth)


def _hide(match: re.Match[str]) -> str:
    kept = match["key"] or match["query"] or match["scheme"] or match["url"] or ""
    return kept + HIDDEN


def _name_of(value: msgspec.Struct) -> str:
    """An event, a batch or a dead letter by its place: their fields hold bodies."""
    place = getattr(value, "position", None) or getattr(value, "partition", "")
    return redact(f"<{type(value).__name__} {place}>" if place else f"<{type(value).__name__}>")
