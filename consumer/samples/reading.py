"""The oracle's own reading of a message: from bytes to events, with the standard library alone.

It shares no code with `consumer.core`, on purpose: that two readings agree is worth something only if there
are two. It is written to be checked by eye, not to be fast.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from consumer.events import Reason

BODY_MAX = 1_048_576
"""Bytes."""
ELEMENTS_MAX = 5_000
DEPTH_MAX = 32
"""Nested arrays and objects, the outer array counted as 1."""


class Read(NamedTuple):
    """An element that is an event."""

    id: str
    type: str
    """Case-folded."""
    topic: str
    """Case-folded."""
    subject: str
    ticks: int | None
    """Event time, 100 ns since 1970; None if it has none."""
    data: Any


def read_body(body: bytes) -> list[Read | Reason]:
    """Give an event, or the reason why it is none, for every element of a message."""
    if len(body) > BODY_MAX:
        return [Reason.TOO_LARGE]
    value = _parse(body)
    if isinstance(value, Reason):
        return [value]
    if isinstance(value, dict):
        return [_read_element(value, level=1)]
    if not isinstance(value, list):
        return [Reason.NOT_AN_OBJECT]
    if len(value) > ELEMENTS_MAX:
        return [Reason.TOO_MANY_ELEMENTS]
    return [_read_element(element, level=2) for element in value]


class _KeyTwice(dict[str, Any]):
    """An object of which a key stands twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _KeyTwice(found)


def _parse(text: bytes) -> Any:
    """Parse JSON; gives a `Reason` for what is none."""
    constants: list[str] = []
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_object, parse_constant=constants.append)
    except UnicodeDecodeError:
        return Reason.NOT_UTF8
    except RecursionError:
        return Reason.TOO_DEEP
    except ValueError:
        return Reason.INVALID_JSON
    return Reason.NOT_A_NUMBER if constants else value


def _flaw(value: Any, level: int) -> Reason | None:
    """What is wrong with valid JSON of which the outermost part is `level` levels deep."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return Reason.LONE_SURROGATE
    if _depth(value) + level - 1 > DEPTH_MAX:
        return Reason.TOO_DEEP
    if any(isinstance(part, _KeyTwice) for part in _parts(value)):
        return Reason.DUPLICATE_KEY
    return None


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max((_depth(child) for child in _children(value)), default=0)


def _parts(value: Any) -> Iterator[Any]:
    yield value
    for child in _children(value):
        yield from _parts(child)


def _read_element(element: Any, *, level: int) -> Read | Reason:
    flaw = _flaw(element, level)
    if flaw is not None:
        return flaw
    if not isinstance(element, dict):
        return Reason.NOT_AN_OBJECT
    if "specversion" in element and "eventType" in element:
        return Reason.HYBRID_SCHEMA
    if "eventType" in element:
        return _read_envelope(element, ("id", "eventType", "topic", "subject"), "eventTime")
    if element.get("specversion") == "1.0":
        return _read_envelope(element, ("id", "type", "source", "subject"), "time")
    return Reason.UNKNOWN_SCHEMA


def _read_envelope(element: dict[str, Any], names: tuple[str, ...], time_name: str) -> Read | Reason:
    texts = [element.get(name) for name in names]
    for text in texts:
        if text is None or text == "":
            return Reason.MISSING_FIELD
        if not isinstance(text, str):
            return Reason.WRONG_TYPE
    id_, type_, topic, subject = map(str, texts)
    written = element.get(time_name)
    if written is not None and not isinstance(written, str):
        return Reason.WRONG_TYPE
    ticks = None if written is None else read_time(written)
    if written is not None and ticks is None:
        return Reason.BAD_TIME
    return Read(id_, type_.casefold(), topic.casefold(), subject, ticks, _read_data(element.get("data")))


def _read_data(data: Any) -> Any:
    """Data may be JSON in a string; it is read once, if it can be."""
    if not isinstance(data, str) or not data.startswith(("{", "[")):
        return data
    value = _parse(data.encode())
    return data if isinstance(value, Reason) or _flaw(value, 1) is not None else value


_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))?", re.ASCII
)


def read_time(text: str) -> int | None:
    """The ticks of an RFC 3339 time, which is UTC if it does not say; digits beyond 100 ns are dropped."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    *numbers, fraction, sign, hours, minutes = match.groups()
    try:
        time = datetime(*map(int, numbers), tzinfo=UTC)  # type: ignore[arg-type,misc] # six numbers
    except ValueError:
        return None
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    if sign is not None:
        ahead = timedelta(hours=int(hours), minutes=int(minutes))
        since = since - ahead if sign == "+" else since + ahead
    return (since // timedelta(seconds=1)) * 10_000_000 + int((fraction or "").ljust(7, "0")[:7])


def value_of(data: Any, name: str) -> Any:
    """A value in the data, whatever the case of its key; None if there is none."""
    if not isinstance(data, Mapping):
        return None
    if name in data:
        return data[name]
    return next((value for key, value in data.items() if key.casefold() == name.casefold()), None)
