"""Turn the body of one message into events, or say why not.

The body is a JSON array in both schemas, of one event today; a bare object, an empty array and more than
one event are taken too. The schema is decided for each element. What cannot be an event becomes a
`Rejection` with a reason from the closed list, and its neighbours go on.

The SDKs' own parsers are not used: they misread time offsets, invent ids that are missing and keep only
the first element of an array.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from consumer.core.catalogue import Catalogue, Reading, identity_of
from consumer.core.digests import XXH3, Digests, data_of
from consumer.core.envelopes import data_alone
from consumer.core.times import parse_time
from consumer.events import Event, Position, RawBatch, Reason, Schema
from consumer.strict_json import DEPTH_MAX, StrictJsonError, loads, split_array

BODY_MAX = 1_048_576
"""Bytes; the largest message that Event Hubs takes."""
ELEMENTS_MAX = 5_000
"""Events in one body; the largest batch that Event Grid makes."""


class Rejection(NamedTuple):
    """What is not an event, and why."""

    position: Position
    enqueued_time_ms: int
    original: bytes
    reason: Reason
    error: str
    event_id: str = ""
    event_type: str = ""
    topic: str = ""
    subject: str = ""


class Decoded(NamedTuple):
    """An event, and what makes another one the same."""

    event: Event
    identity: tuple[str, ...]
    """The first element names the kind (etag, sequencer, id)."""


def decode(batch: RawBatch, row: int, catalogue: Catalogue) -> list[Event | Rejection]:
    """Decode the message in a row of a batch: one entry for each element, in order."""
    entries = decode_exactly(batch, row, catalogue, XXH3)
    return [entry.event if isinstance(entry, Decoded) else entry for entry in entries]


def decode_exactly(
    batch: RawBatch, row: int, catalogue: Catalogue, digests: Digests
) -> list[Decoded | Rejection]:
    """The same, with the identities. All of every event is decoded and checked."""
    body = batch.bodies[row]
    number = batch.sequence_numbers[row]
    if len(body) > BODY_MAX:
        return [_rejected(batch, row, 0, body, Reason.TOO_LARGE, f"{len(body)} bytes, more than {BODY_MAX}")]
    try:
        value = loads(body)
    except StrictJsonError as error:
        return _decode_apart(batch, row, catalogue, digests, error)
    if isinstance(value, dict):
        return [_event(batch, row, Position(batch.partition, number, 0), body, value, catalogue, digests)]
    if not isinstance(value, list):
        message = "the body is neither an array nor an object"
        return [_rejected(batch, row, 0, body, Reason.NOT_AN_OBJECT, message)]
    if len(value) == 1:
        original = body.strip()[1:-1].strip()
        return [
            _event(batch, row, Position(batch.partition, number, 0), original, value[0], catalogue, digests)
        ]
    if not value:
        return []
    if len(value) > ELEMENTS_MAX:
        message = f"{len(value)} events, more than {ELEMENTS_MAX}"
        return [_rejected(batch, row, 0, body, Reason.TOO_MANY_ELEMENTS, message)]
    originals = split_array(body) or []
    return [
        _event(batch, row, Position(batch.partition, number, index), original, element, catalogue, digests)
        for index, (original, element) in enumerate(zip(originals, value, strict=True))
    ]


def _decode_apart(
    batch: RawBatch, row: int, catalogue: Catalogue, digests: Digests, error: StrictJsonError
) -> list[Decoded | Rejection]:
    """Decode each element by itself, since the body as a whole is refused: one bad one costs only itself."""
    body = batch.bodies[row]
    originals = split_array(body)
    if originals is None or not originals:
        return [_rejected(batch, row, 0, body, error.reason, str(error))]
    if len(originals) > ELEMENTS_MAX:
        message = f"{len(originals)} events, more than {ELEMENTS_MAX}"
        return [_rejected(batch, row, 0, body, Reason.TOO_MANY_ELEMENTS, message)]
    entries: list[Decoded | Rejection] = []
    for index, original in enumerate(originals):
        try:
            element = loads(original, depth_max=DEPTH_MAX - 1)
        except StrictJsonError as own:
            entries.append(_rejected(batch, row, index, original, own.reason, str(own)))
            continue
        position = Position(batch.partition, batch.sequence_numbers[row], index)
        entries.append(_event(batch, row, position, original, element, catalogue, digests))
    return entries


def _rejected(
    batch: RawBatch, row: int, index: int, original: bytes, reason: Reason, error: str
) -> Rejection:
    position = Position(batch.partition, batch.sequence_numbers[row], index)
    return Rejection(position, batch.enqueued_times_ms[row], original, reason, error[:1_000])


_NAMES = {
    Schema.EVENT_GRID: ("id", "eventType", "topic", "subject", "eventTime"),
    Schema.CLOUD_EVENTS: ("id", "type", "source", "subject", "time"),
}
"""What id, type, topic, subject and time are called."""


def _event(
    batch: RawBatch,
    row: int,
    position: Position,
    original: bytes,
    element: Any,
    catalogue: Catalogue,
    digests: Digests,
) -> Decoded | Rejection:
    """Make an event of one element."""
    flaw = _flaw_in(element)
    if flaw is not None:
        reason, message = flaw
        shown = _shown(element)
        return Rejection(position, batch.enqueued_times_ms[row], original, reason, message, *shown)
    schema = Schema.CLOUD_EVENTS if "specversion" in element else Schema.EVENT_GRID
    id_, type_, topic, subject, written = [element.get(name) for name in _NAMES[schema]]
    parsed = None if written is None else parse_time(written)
    if parsed is None and written is not None:
        message = f"'{_NAMES[schema][-1]}' is not an RFC 3339 time: {written[:60]!r}"
        shown = _shown(element)
        return Rejection(position, batch.enqueued_times_ms[row], original, Reason.BAD_TIME, message, *shown)
    ticks = None if parsed is None else parsed[1]
    data = data_of(element.get("data"))
    arrival = (position.sequence_number, position.index)
    reading = Reading(type_.casefold(), topic.casefold(), subject, id_, data, ticks, arrival)
    object_id, token = catalogue.classify(reading)
    event = Event(
        id=id_,
        type=type_,
        topic=topic,
        subject=subject,
        schema=schema,
        ticks=ticks,
        enqueued_time_ms=batch.enqueued_times_ms[row],
        partition=position.partition,
        sequence_number=position.sequence_number,
        index=position.index,
        object_key=digests.object_key(*object_id),
        object_topic=object_id.topic,
        object_path=object_id.path,
        ordered_by=token.by,
        order_value=token.value,
        body=original,
        is_wrapped=False,
        content=data,
        partition_key=batch.partition_keys[row],
    )
    return Decoded(event, identity_of(reading, object_id))


def written_data(event: Event) -> bytes:
    """The data of an event as it is written in its bytes; ``null`` where there is none."""
    return bytes(data_alone(event.original).data)


def _flaw_in(element: Any) -> tuple[Reason, str] | None:
    """What keeps an element from being an event, but for the form of its time."""
    if not isinstance(element, dict):
        return Reason.NOT_AN_OBJECT, "the element is not an object"
    is_cloud_event, is_event_grid = "specversion" in element, "eventType" in element
    if is_cloud_event and is_event_grid:
        return Reason.HYBRID_SCHEMA, "both of 'specversion' and 'eventType' are there"
    if not is_cloud_event and not is_event_grid:
        return Reason.UNKNOWN_SCHEMA, "neither of 'specversion' and 'eventType' is there"
    if is_cloud_event and element["specversion"] != "1.0":
        return Reason.UNKNOWN_SCHEMA, "only CloudEvents 1.0 is known"
    *names, time_name = _NAMES[Schema.CLOUD_EVENTS if is_cloud_event else Schema.EVENT_GRID]
    for name in names:
        text = element.get(name)
        if text is None or text == "":
            return Reason.MISSING_FIELD, f"'{name}' is missing"
        if not isinstance(text, str):
            return Reason.WRONG_TYPE, f"'{name}' is not text"
    written = element.get(time_name)
    if written is not None and not isinstance(written, str):
        return Reason.WRONG_TYPE, f"'{time_name}' is not text"
    return None


def _shown(element: Any) -> list[str]:
    """Id, type, topic and subject as far as they are there, to find the event again."""
    if not isinstance(element, dict):
        return []
    schema = Schema.CLOUD_EVENTS if "specversion" in element else Schema.EVENT_GRID
    texts = [element.get(name) for name in _NAMES[schema][:4]]
    return [text[:1_000] if isinstance(text, str) else "" for text in texts]
