"""Make columns of what the Event Hubs client gives, with as little work per message as can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from azure.eventhub import EventData
from azure.eventhub.amqp import AmqpMessageBodyType

from consumer.errors import SourceUnavailable
from consumer.events import RawBatch

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
