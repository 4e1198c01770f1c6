"""A template language that cannot do more than fill in: named slots and paths into an event's data.

    Run {run_id|without an id} failed: {data.runTags.reason}

``{name}`` is a slot of a closed list, ``{data.key.key}`` a value of the event's data, whatever the case of
its keys, and what stands behind ``|`` takes the place of an empty one. ``{{`` and ``}}`` are braces. There
are no attributes, calls, conditions or formats. What is filled in comes from whoever sends events: it is
escaped for the place where the text goes, and cannot hold slots itself.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from email.errors import HeaderParseError
from email.header import decode_header
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import quote

from consumer.events import Event

VALUE_MAX = 1_000
"""Characters of one value that are filled in; the rest is cut off and shown as an ellipsis."""
HEADER_MAX = 200
"""Characters of a header, likewise."""

Value = str | tuple[str, ...]
"""What fills a slot: one line, or several."""
Slots = Callable[[str], Value]
"""Gives the value of a slot of the closed list."""

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_DATA = re.compile(r"data(\.[^.\s|]+)+")
_ENCODED_WORD = re.compile(r"=\?[^?\s]*\?[bqBQ]\?[^?]*\?=")


class TemplateError(ValueError):
    """A template that cannot be used; what it says is for whoever wrote the template."""


class UnfitValue(ValueError):
    """A value from an event that has no safe form in the place where it should go."""


class Escape(StrEnum):
    """The place where a text goes."""

    HEADER = "header"
    """One line of a mail's header."""
    TEXT = "text"
    """Plain text; a value never brings lines of its own, unless the slot is one of several lines."""
    HTML = "html"
    """HTML; values are text in it, also within quoted attributes."""
    URL = "url"
    """One part between the slashes of a URL's path, or one value of its query."""


class _Slot(NamedTuple):
    name: str
    path: tuple[str, ...]
    """Of a data slot; () for a named one."""
    otherwise: str


class Template:
    """A text with slots, checked when it is made."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        """`names` are the slots there are, besides data paths. Raises `TemplateError`."""
        self.text = text
        self._parts: tuple[str | _Slot, ...] = tuple(_parts(text, names))

    def render(self, event: Event, slots: Slots, escape: Escape) -> str:
        """The text with every slot filled in and escaped.

        Raises `UnfitValue` for what cannot be escaped, and `BadData` as `event.data` does.
        """
        filled = "".join(
            part if isinstance(part, str) else _fill(part, event, slots, escape) for part in self._parts
        )
        # What stands side by side may form what neither part had.
        return header_text(filled) if escape is Escape.HEADER else filled


def _parts(text: str, names: Collection[str]) -> Iterator[str | _Slot]:
    at = 0
    for found in _BRACES.finditer(text):
        if found.start() > at:
            yield text[at : found.start()]
        at = found.end()
        match found[0]:
            case "{{":
                yield "{"
            case "}}":
                yield "}"
            case "{" | "}":
                raise TemplateError(f"has a {found[0]} without its other half; write {found[0] * 2} for one")
            case _:
                yield _slot(found[1], names)
    if at < len(text):
        yield text[at:]


def _slot(written: str, names: Collection[str]) -> _Slot:
    name, _, otherwise = written.partition("|")
    if name in names:
        return _Slot(name, (), otherwise)
    if _DATA.fullmatch(name):
        return _Slot(name, tuple(name.split(".")[1:]), otherwise)
    near = get_close_matches(name, names, n=1)
    guess = f"; did you mean {{{near[0]}}}?" if near else "."
    known = ", ".join(sorted(names))
    raise TemplateError(f"has the slot {{{name}}}, which is none{guess} There are {known} and data.KEY")


def _fill(slot: _Slot, event: Event, slots: Slots, escape: Escape) -> str:
    value = written(event.field(*slot.path)) if slot.path else slots(slot.name)
    lines = (value,) if isinstance(value, str) else value
    if escape is Escape.URL and (any(lines) or not slot.otherwise):
        # Without a value and a replacement the URL would be another one.
        return url_part(", ".join(lines))
    shown = [line for line in map(one_line, lines) if line]
    if not shown:
        # Written by whoever wrote the template, as is what stands around it.
        return slot.otherwise
    if escape is Escape.HTML:
        return "<br>\n".join(html.escape(line) for line in shown)
    return header_text(", ".join(shown)) if escape is Escape.HEADER else "\n".join(shown)


def written(value: object) -> str:
    """A value of an event's data as text: text as it is, nothing as nothing, all else as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def one_line(value: str, length_max: int = VALUE_MAX) -> str:
    """A value without line breaks, controls and characters that nobody sees, and not too long."""
    clean = "".join(
        char if char.isprintable() else " " if char.isspace() else "" for char in value[: 2 * length_max]
    )
    clean = " ".join(clean.split())
    return clean if len(clean) <= length_max else f"{clean[: length_max - 1]}…"


def header_text(value: str) -> str:
    """What may stand in a header: one line of 200 characters, with no encoded word in it.

    Words that are encoded already are decoded, so that they are cleaned as well; what then still looks like
    one is broken.
    """
    plain = _ENCODED_WORD.sub(_decoded, one_line(value))
    return one_line(one_line(plain).replace("=?", "= ?"), HEADER_MAX)


def url_part(value: str) -> str:
    """A value as one part of a URL. Raises `UnfitValue` for what would not stay one."""
    if value in {"", ".", ".."} or len(value) > VALUE_MAX or not value.isprintable():
        raise UnfitValue(
            "A value from the event cannot be part of a URL: it is empty, dots, or not printable."
        )
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        raise UnfitValue("A value from the event cannot be part of a URL: it is no Unicode text.") from None


def _decoded(found: re.Match[str]) -> str:
    try:
        return "".join(
            part.decode(charset or "ascii") if isinstance(part, bytes) else part
            for part, charset in decode_header(found[0])
        )
    except (HeaderParseError, LookupError, ValueError):  # of an unknown charset, or none of its texts
        return found[0]
