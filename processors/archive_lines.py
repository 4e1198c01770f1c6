"""How an event is kept in an archive: as one line of JSON."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from consumer.events import Event


class Line(NamedTuple):
    """An event as it is kept."""

    event: Event
    key: str
    text: bytes
    """With its line break."""


def line_of(event: Event, idempotency_key: str) -> bytes:
    """One event as a line: where it was, what it was ordered by, and under ``data`` the event as it came.

    What did not come as one valid JSON value is kept under ``data_base64`` instead.
    """
    record: dict[str, Any] = {
        "id": event.id,
        "type": event.type,
        "topic": event.topic,
        "subject": event.subject,
        "time": _utc(event.event_time) if event.event_time else None,
        "enqueued_time": _utc(datetime.fromtimestamp(event.enqueued_time_ms / 1000, UTC)),
        "partition": event.position.partition,
        "sequence_number": event.position.sequence_number,
        "index": event.position.index,
        "ordered_by": event.ordered_by.value,
        "stale": event.stale,
        "idempotency_key": idempotency_key,
    }
    try:
        orjson.loads(event.original)
    except orjson.JSONDecodeError:
        record["data_base64"] = base64.b64encode(event.original).decode()
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    # Inside valid JSON a raw line break is only white space: without it the line is one line.
    record["data"] = orjson.Fragment(event.original.replace(b"\n", b" ").replace(b"\r", b" "))
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
