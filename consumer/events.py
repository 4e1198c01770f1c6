"""The values that travel through inturn: what came in, what it is, and where it was.

Everything here is frozen data without behaviour that could wait. Times that come from the hub
are *log time*: integers, milliseconds since 1970-01-01 UTC, named ``…_ms``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec


class Position(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where an event was found; comparable within one partition only."""

    partition: str
    sequence_number: int
    index: int
    """Which element of the message's JSON array, from 0."""


class Checkpoint(NamedTuple):
    """The last sequence number of a partition with nothing unfinished at or before it.

    It names the last one *done*, as Event Hubs does; Kafka's "next one" is converted where Kafka is.
    """

    sequence_number: int
    offset: str
    """The broker's opaque cursor for the same place; never compared, never calculated with."""


NOTHING_DONE = Checkpoint(-1, "-1")
"""The checkpoint of a partition of which nothing is done: a reader starts at the earliest event.

Other clients of the same checkpoint blob, and KEDA, read these two values the same way.
"""


class PartitionId(NamedTuple):
    """A partition as a store names it."""

    namespace: str
    """The fully qualified namespace (``contoso.servicebus.windows.net``, or ``127.0.0.1:5672``)."""
    hub: str
    group: str
    partition: str


class RawBatch(msgspec.Struct, frozen=True, gc=False):
    """Messages of one partition as the source received them, in columns of equal length.

    Sequence numbers rise strictly within a batch and from batch to batch of one assignment.
    """

    partition: str
    bodies: list[bytes]
    sequence_numbers: list[int]
    offsets: list[str]
    enqueued_times_ms: list[int]
    partition_keys: list[str | None]
    properties_at: Callable[[int], Mapping[str, object]]
    """The application properties of the message at an index, decoded only when asked for."""
    newest_sequence_number: int | None = None
    """The newest event in the partition as far as the source knows, for the lag."""

    def __len__(self) -> int:
        return len(self.bodies)


class Schema(StrEnum):
    """Which envelope an event came in."""

    __hash__ = str.__hash__  # an enumeration's own is slow, and is not that of the text it equals

    EVENT_GRID = "eventgrid"
    CLOUD_EVENTS = "cloudevents"


class ObjectId(NamedTuple):
    """The thing whose events must stay in order."""

    topic: str
    """The resource id of the event's source, case-folded."""
    path: str
    """What the catalogue says identifies the object within its topic."""


class OrderedBy(StrEnum):
    """What kind of token orders an event; tokens of different kinds are not comparable."""

    __hash__ = str.__hash__  # an enumeration's own is slow, and is not that of the text it equals

    SEQUENCER = "sequencer"
    SEQUENCE_NUMBER = "sequence_number"
    SYNC_TOKEN = "sync_token"
    VERSION = "version"
    STATUS = "status"
    WINDOW_END = "window_end"
    EVENT_TIME = "event_time"
    ARRIVAL = "arrival"


class OrderToken(NamedTuple):
    """What orders an event among those of its object; compare with `consumer.core.order.compare`."""

    by: OrderedBy
    value: str | int | tuple[int, int]


class Event(msgspec.Struct, frozen=True, gc=False):
    """One decoded Event Grid or CloudEvents event."""

    position: Position
    enqueued_time_ms: int
    schema: Schema
    id: str
    type: str
    topic: str
    """The Azure resource it came from (``topic`` in Event Grid, ``source`` in CloudEvents), as sent."""
    subject: str
    event_time: datetime | None
    """When the producer says it happened, in UTC; None where CloudEvents leaves it out."""
    data: Any
    """The decoded payload. Read its keys with `consumer.core.catalogue.field`: their case is not stable."""
    original: bytes
    """The bytes of this very event as they came, for dead letters and forwarding."""
    object_id: ObjectId
    order_token: OrderToken
    identity: tuple[str, ...]
    """What makes two events the same; the first element names the kind (etag, sequencer, id)."""
    partition_key: str | None = None
    stale: bool = False
    """A later event of the same object was released before this one."""
    is_latest: bool = True
    """No later event of the same object was known when this one was handed over."""

    @property
    def ordered_by(self) -> OrderedBy:
        """What the event was ordered by."""
        return self.order_token.by


class Outcome(StrEnum):
    """How an event ends. Every event of a hub ends in exactly one of these."""

    __hash__ = str.__hash__  # an enumeration's own is slow, and is not that of the text it equals

    HANDLED = "handled"
    DEAD_LETTERED = "dead_lettered"
    DUPLICATE = "duplicate"
    STALE = "stale"
    IGNORED = "ignored"


class Reason(StrEnum):
    """Why an event was ignored or dead-lettered: a closed list, safe as a metric label."""

    __hash__ = str.__hash__  # an enumeration's own is slow, and is not that of the text it equals

    # ignored
    TOPIC = "topic"
    TYPE = "type"
    CONTROL = "control"
    # dead-lettered by decoding
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY_ELEMENTS = "too_many_elements"
    INVALID_JSON = "invalid_json"
    NOT_UTF8 = "not_utf8"
    LONE_SURROGATE = "lone_surrogate"
    NOT_A_NUMBER = "not_a_number"
    DUPLICATE_KEY = "duplicate_key"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_SCHEMA = "unknown_schema"
    HYBRID_SCHEMA = "hybrid_schema"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    BAD_TIME = "bad_time"
    # dead-lettered by admission
    SPOOFED_TYPE = "spoofed_type"
    # dead-lettered by a processor
    REJECTED = "rejected"
    RETRIES_SPENT = "retries_spent"


class DeadLetter(msgspec.Struct, frozen=True):
    """An event, or what could not become one, put aside with everything needed to redrive it."""

    key: str
    """Names it for ever: a failure written twice is one dead letter. URL-safe, at most 64 characters."""
    partition: PartitionId
    position: Position
    reason: Reason
    error: str
    """One line for a person, at most 1,000 characters; never a secret, never the body."""
    original: bytes
    enqueued_time_ms: int
    dead_lettered_at_ms: int
    """Processing time, milliseconds since 1970."""
    processor: str | None = None
    """The processor that failed; None when no processor was to see it."""
    attempts: int = 0
    event_id: str = ""
    event_type: str = ""
    topic: str = ""
    subject: str = ""
