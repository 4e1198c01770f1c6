"""The values that travel through inturn: what came in, what it is, and where it was.

Everything here is frozen data without behaviour that could wait. Times that come from the hub
are *log time*: integers, milliseconds since 1970-01-01 UTC, named ``…_ms``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import force_setattr

from consumer.errors import BadData
from consumer.fields import field
from consumer.reasons import Reason as Reason  # noqa: PLC0414 - everybody else finds it here
from consumer.strict_json import DEPTH_MAX, StrictJsonError, loads


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
    watermarks_ms: list[int] | None = None
    """How far log time is at each message, where that is not the highest enqueued time so far: several logs
    were brought together, and no event is expected any more that was enqueued earlier in any of them."""

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


OrderValue = str | int | tuple[int, int]
"""What is compared of an order token."""


class OrderToken(NamedTuple):
    """What orders an event among those of its object; compare with `consumer.core.order.compare`."""

    by: OrderedBy
    value: OrderValue


class Event(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One decoded Event Grid or CloudEvents event.

    Made for every event of a hub and looked into by few: what can be worked out from the rest is a
    property, and the payload is decoded when it is first asked for.
    """

    id: str
    type: str
    topic: str
    """The Azure resource it came from (``topic`` in Event Grid, ``source`` in CloudEvents), as sent."""
    subject: str
    schema: Schema
    ticks: int | None
    """When the producer says it happened, 100 ns since 1970-01-01 UTC; None where it does not say."""
    enqueued_time_ms: int
    partition: str
    sequence_number: int
    index: int
    """Which element of the message's JSON array, from 0."""
    object_key: bytes
    """A digest that stands for the object: 16 bytes, evenly spread."""
    object_topic: str
    object_path: str
    ordered_by: OrderedBy
    """What the event was ordered by."""
    order_value: OrderValue
    body: bytes
    """What `original` is cut from."""
    is_wrapped: bool
    """Whether the body is the event within the brackets of an array, and not the event itself."""
    content: Any
    """The payload: `msgspec.Raw` before it is decoded. Ask for `data`."""
    partition_key: str | None = None
    stale: bool = False
    """A later event of the same object was released before this one."""
    is_latest: bool = True
    """No later event of the same object was known when this one was handed over."""

    @property
    def data(self) -> Any:
        """The decoded payload. Read its keys with `field`: their case is not stable.

        Raises `BadData` for what shows only now: a key that stands twice in one object within it. Everything
        else that is refused was refused before there was an event (`consumer.core.plain` says what).
        """
        content = self.content
        if type(content) is not msgspec.Raw:
            return content
        try:
            # The payload of an event in an array is on the third level.
            data = loads(bytes(content), DEPTH_MAX - 1 - self.is_wrapped)
        except StrictJsonError as error:
            raise BadData(error.reason, str(error)) from None
        force_setattr(self, "content", data)
        return data

    def field(self, *path: str) -> Any:
        """A value in `data`, without regard to the case of the keys; None if it is not there.

        Raises `BadData`, as `data` does.
        """
        return field(self.data, *path)

    @property
    def original(self) -> bytes:
        """The bytes of this very event as they came, for dead letters and forwarding."""
        return self.body[1:-1] if self.is_wrapped else self.body

    @property
    def position(self) -> Position:
        """Where it was found."""
        return Position(self.partition, self.sequence_number, self.index)

    @property
    def event_time(self) -> datetime | None:
        """When the producer says it happened, in UTC; None where CloudEvents leaves it out."""
        return None if self.ticks is None else _EPOCH + timedelta(microseconds=self.ticks // 10)

    @property
    def object_id(self) -> ObjectId:
        """The thing that it is about."""
        return ObjectId(self.object_topic, self.object_path)

    @property
    def order_token(self) -> OrderToken:
        """Where it stands among the events of its object."""
        return OrderToken(self.ordered_by, self.order_value)

    def __eq__(self, other: object) -> bool:
        """Whether it is the same event from the same place, judged the same, whatever was asked of it."""
        if not isinstance(other, Event):
            return NotImplemented
        mine = (self.position, self.original, self.enqueued_time_ms, self.partition_key)
        theirs = (other.position, other.original, other.enqueued_time_ms, other.partition_key)
        return (
            mine == theirs
            and (self.object_id, self.order_token) == (other.object_id, other.order_token)
            and (self.stale, self.is_latest) == (other.stale, other.is_latest)
        )

    def __hash__(self) -> int:
        return hash((self.partition, self.sequence_number, self.index))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Outcome(StrEnum):
    """How an event ends. Every event of a hub ends in exactly one of these."""

    __hash__ = str.__hash__  # an enumeration's own is slow, and is not that of the text it equals

    HANDLED = "handled"
    DEAD_LETTERED = "dead_lettered"
    DUPLICATE = "duplicate"
    STALE = "stale"
    IGNORED = "ignored"


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
    object_path: str = ""
    """With `topic`, the object: letters of one object and processor are redriven in their order."""
    partition_key: str | None = None
    stale: bool = False
    """A later event of the object was released before this one."""
