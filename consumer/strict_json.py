"""Parse JSON as strictly as a boundary must, at the speed of orjson.

orjson refuses NaN, bad UTF-8 and lone surrogates by itself, but keeps the last of duplicate keys (so that
two readers of one event may see two topics) and nests up to 1,024 levels. Both are refused here.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import orjson

from consumer.reasons import Reason

DEPTH_MAX = 32
"""Nested arrays and objects, the outermost counted as 1."""


class StrictJsonError(ValueError):
    """The text is not JSON that we take; `reason` says why, from the closed list."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def loads(text: bytes, depth_max: int = DEPTH_MAX) -> Any:
    """Parse JSON; raises `StrictJsonError`."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _diagnose(text, str(error)) from None
    # Only a text with this many openings can be too deep; then look.
    if text.count(b"{") + text.count(b"[") > depth_max and _is_deeper(value, depth_max):
        raise StrictJsonError(Reason.TOO_DEEP, f"nested deeper than {depth_max} levels")
    # What serialises to the very same bytes had no key to lose. Almost all of Event Grid's JSON is
    # written compactly and passes here; the rest takes the slow road.
    if orjson.dumps(value) != text:
        _refuse_duplicate_keys(text)
    return value


def split_array(text: bytes) -> list[bytes] | None:
    """The bytes of each element of a JSON array, or None if the text is not a JSON array.

    An element may hold what `loads` refuses, so long as its brackets and strings are whole: it then
    concerns only itself.
    """
    try:
        return [bytes(element) for element in _split(text)]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    try:
        if not isinstance(json.loads(text.decode("utf-8")), list):
            return None
    except ValueError:
        return None
    except RecursionError:
        pass  # too deep for any parser, which its neighbours are not to blame for
    return _split_leniently(text)


_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)


def _split_leniently(text: bytes) -> list[bytes] | None:
    """Cut an array at its commas; None if its brackets do not end where the text does.

    Nothing else is checked: the elements are still to be parsed.
    """
    text = text.strip()
    if not text.startswith(b"["):
        return None
    elements = []
    depth = start = 0
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
            start = token.end() if depth == 1 else start
        elif mark in (b"]", b"}"):
            depth -= 1
        if (mark == b"," and depth == 1) or depth == 0:
            elements.append(text[start : token.start()].strip())
            start = token.end()
        if depth == 0:
            break
    if depth or start != len(text):
        return None
    return elements if elements != [b""] else []


def _is_deeper(value: Any, depth_max: int) -> bool:
    level = [value]
    for _ in range(depth_max):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return any(isinstance(value, (dict, list)) for value in level)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise StrictJsonError(Reason.DUPLICATE_KEY, f"the key {twice[:80]!r} stands twice in one object")
    return value


def _refuse_duplicate_keys(text: bytes) -> None:
    try:
        json.loads(text, object_pairs_hook=_unique)
    except StrictJsonError:
        raise
    except ValueError as error:  # an integer of thousands of digits, which orjson reads as a float
        raise StrictJsonError(Reason.INVALID_JSON, f"not JSON: {error}"[:200]) from None


def _diagnose(text: bytes, message: str) -> StrictJsonError:
    """Find out why orjson refused a text: slow, and only for what is refused anyway."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        return StrictJsonError(Reason.NOT_UTF8, f"not UTF-8 at byte {error.start}")
    constants: list[str] = []
    try:
        value = json.loads(decoded, parse_constant=constants.append)
    except RecursionError:
        return StrictJsonError(Reason.TOO_DEEP, f"nested deeper than {DEPTH_MAX} levels")
    except ValueError:
        return StrictJsonError(Reason.INVALID_JSON, f"not JSON: {message}")
    if constants:
        return StrictJsonError(Reason.NOT_A_NUMBER, f"{constants[0]} is not a JSON number")
    if _is_deeper(value, DEPTH_MAX):
        return StrictJsonError(Reason.TOO_DEEP, f"nested deeper than {DEPTH_MAX} levels")
    if any("\ud800" <= character <= "\udfff" for character in json.dumps(value, ensure_ascii=False)):
        return StrictJsonError(Reason.LONE_SURROGATE, "a string holds half of a surrogate pair")
    return StrictJsonError(Reason.INVALID_JSON, f"not JSON: {message}")
