"""Make batches of what the client or the fast path gives, with as little work per message as can be."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from azure.eventhub import EventData
from azure.eventhub.amqp import AmqpMessageBodyType

from consumer.errors import SourceUnavailable
from consumer.events import RawBatch
from consumer.sources.amqp_columns import Columns
from consumer.sources.amqp_properties import properties_in
from consumer.sources.amqp_values import MalformedError, decode

_SEQUENCE_NUMBER = b"x-opt-sequence-number"
_OFFSET = b"x-opt-offset"
_ENQUEUED_TIME = b"x-opt-enqueued-time"
_PARTITION_KEY = b"x-opt-partition-key"


def raw_batch(partition: str, events: Sequence[EventData], newest: int | None) -> RawBatch:
    """Columns of a client's batch. Raises `SourceUnavailable` if a message has no sequence number."""
    # The annotations are read directly: each accessor of EventData would decode or build a value anew,
    # and `enqueued_time` makes a datetime of the milliseconds that are wanted.
    annotations: list[dict[Any, Any]] = [event.raw_amqp_message.annotations or {} for event in events]
    properties = [event.properties for event in events]
    try:
        sequence_numbers = [int(each[_SEQUENCE_NUMBER]) for each in annotations]
    except KeyError:
        raise SourceUnavailable(f"Partition {partition}: a message came without a sequence number.") from None

    def properties_at(index: int) -> Mapping[str, object]:
        return {_text(key): _plain(value) for key, value in (properties[index] or {}).items()}

    return RawBatch(
        partition=partition,
        bodies=[_body(event) for event in events],
        sequence_numbers=sequence_numbers,
        offsets=[_text(each.get(_OFFSET, b"")) for each in annotations],
        enqueued_times_ms=[int(each.get(_ENQUEUED_TIME, 0)) for each in annotations],
        partition_keys=[
            None if (key := each.get(_PARTITION_KEY)) is None else _text(key) for each in annotations
        ],
        properties_at=properties_at,
        newest_sequence_number=newest,
    )


def told_newest(columns: Columns) -> int | None:
    """The newest sequence number in the partition, if the hub told it with what came."""
    if not columns.told:
        return None
    try:
        told = decode(columns.told, 0, len(columns.told))[0]
    except MalformedError:
        return None
    newest = told.get("last_enqueued_sequence_number") if isinstance(told, dict) else None
    return newest if type(newest) is int else None


def batch_of_columns(partition: str, columns: Columns, newest: int | None) -> RawBatch:
    """A batch of what the fast path has parsed. Raises `SourceUnavailable` if nobody can decode a body."""
    for row, message in columns.odd:
        columns.bodies[row] = _odd_body(partition, message)
    return RawBatch(
        partition=partition,
        bodies=columns.bodies,
        sequence_numbers=columns.sequence_numbers,
        offsets=columns.offsets,
        enqueued_times_ms=columns.enqueued_times_ms,
        partition_keys=columns.partition_keys,
        properties_at=properties_in(columns.properties),
        newest_sequence_number=newest,
    )


def _odd_body(partition: str, message: bytes) -> bytes:
    """A body that is no plain bytes, as the client reads it."""
    # Not there with every release of the client; the fast path is only used with one where it is.
    from azure.eventhub._pyamqp._decode import decode_payload  # noqa: PLC0415

    try:
        return _body(EventData._from_message(decode_payload(memoryview(message))))  # noqa: SLF001 - as it does
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        raise SourceUnavailable(
            f"Partition {partition}: a message's body cannot be decoded: {error!r}."
        ) from error


def _body(event: EventData) -> bytes:
    if event.body_type is AmqpMessageBodyType.DATA:
        body: Any = event.body
        return b"".join(body)
    # Not what Event Grid sends. The text is handed on, so that decoding can say what is wrong with it.
    return event.body_as_str().encode("utf-8", "surrogatepass")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def _plain(value: object) -> object:
    return _text(value) if isinstance(value, bytes) else value
