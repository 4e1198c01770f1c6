"""Find in an event what the key of an advanced filter names.

The envelope is read by the names of either schema, whichever the event came in: ``eventType`` and ``type``,
``topic`` and ``source``, ``id`` and ``eventId``. Every other name at the first level is a member of the
envelope: ``dataVersion``, or an extension attribute of CloudEvents. ``data.a.b`` is in the data, at any
depth.

Names are found without regard to case, as everywhere in inturn. Event Grid's documentation does not say
how it looks for them, but its own examples write ``Data.Key1`` and ``Subject`` for what events spell
``data.key1`` and ``subject``. As there, a name with a dot in it cannot be written, and no path leads into an
array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from consumer.events import Event
from consumer.fields import field

Read = Callable[[Event], Any]
"""Gives the value of a key; None where there is none, or null."""

_DATA = "data"


def reads_data(key: str) -> bool:
    """Whether a key leads into the data, which may prove unreadable (`BadData`)."""
    return key.partition(".")[0].casefold() == _DATA


def reader_of(key: str, *, as_text: bool) -> Read:
    """Make what reads a key. It raises `BadData` if the key is in the data, and that is unreadable.

    `as_text`: give numbers and truth values of the envelope as CloudEvents writes them, in text. So an
    operator for text can be used on an extension attribute like ``"priority": 5``, as in Event Grid's
    documentation.
    """
    first, *rest = key.split(".")
    path = tuple(rest)
    if reads_data(key):
        return _in_data(path)
    known = _ENVELOPE.get(first.casefold())
    if known is not None and not path:
        return known
    read = _in_envelope((_MEMBERS.get(first.casefold(), first), *path))
    return _as_text(read) if as_text else read


def _id(event: Event) -> Any:
    return event.id


def _topic(event: Event) -> Any:
    return event.topic


def _subject(event: Event) -> Any:
    return event.subject


def _type(event: Event) -> Any:
    return event.type


_ENVELOPE: dict[str, Read] = {
    "id": _id,
    "eventid": _id,
    "topic": _topic,
    "source": _topic,
    "subject": _subject,
    "eventtype": _type,
    "type": _type,
}
"""What an `Event` has at hand, by its names in the two schemas and in filters for CloudEvents."""

_MEMBERS = {"eventtypeversion": "dataVersion"}
"""What a member of the envelope is called in filters for CloudEvents, and what it is."""


def _in_data(path: tuple[str, ...]) -> Read:
    if len(path) == 1:
        name = path[0]

        def member(event: Event) -> Any:
            return field(event.data, name)

        return member

    def value(event: Event) -> Any:
        return field(event.data, *path)

    return value


def _in_envelope(path: tuple[str, ...]) -> Read:
    def value(event: Event) -> Any:
        # It was parsed strictly when the event was decoded; what an `Event` keeps of it are the bytes.
        return field(orjson.loads(event.original), *path)

    return value


def _as_text(read: Read) -> Read:
    def text(event: Event) -> Any:
        value = read(event)
        if value is True or value is False:
            return "true" if value else "false"
        return str(value) if isinstance(value, int) else value

    return text
