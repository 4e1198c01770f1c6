"""The log of one partition: events in the order they came, numbered, and trimmed at the front.

Positions in it are plain sequence numbers. They start at 0 and are never given twice, trimmed or
not; a reader whose place was trimmed goes on at the first event that is kept.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from consumer.hub.messages import Incoming, outgoing
from consumer.hub.performatives import AmqpError

_COMPACT_AT = 1_024
"""Trimmed events are dropped from the list once there are this many and they are the larger half."""
_OVERHEAD_BYTES = 200
"""What an event costs in memory besides its bytes, about."""


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with its place in the log."""

    sequence_number: int
    offset: int
    """Goes out as text; bytes of the log before this event, so that it differs from the sequence number."""
    enqueued_time_ms: int
    partition_key: str | None
    message: bytes
    """What a receiver gets after the transfer performative."""


class Column(StrEnum):
    """What a start position is compared with."""

    OFFSET = "x-opt-offset"
    SEQUENCE_NUMBER = "x-opt-sequence-number"
    ENQUEUED_TIME = "x-opt-enqueued-time"


class StartPosition(NamedTuple):
    """Where a receiver begins: at the first event whose column is above `value`, or equal if inclusive."""

    column: Column
    value: int
    inclusive: bool


LATEST = StartPosition(Column.SEQUENCE_NUMBER, 2**63 - 1, inclusive=False)
"""After whatever is the last event."""
EARLIEST = StartPosition(Column.SEQUENCE_NUMBER, -1, inclusive=False)


class PartitionProperties(NamedTuple):
    """What the service tells of a partition; an empty one has -1 for its numbers and "-1" for its offset."""

    begin_sequence_number: int
    last_sequence_number: int
    last_offset: str
    last_enqueued_time_ms: int
    is_empty: bool


class Journal(Protocol):
    """Where appended events are kept over restarts."""

    @property
    def next_sequence_number(self) -> int:
        """The number of the first event, if none is kept."""

    def append(self, events: list[StoredEvent]) -> None:
        """Write events down. Raises `OSError`."""

    def trim(self, begin: int) -> None:
        """Forget events before the sequence number `begin`, as far as that is cheap."""


class PartitionLog:
    """The events of one partition."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._journal: Journal | None = None
        self._events: list[StoredEvent] = []
        self._head = 0  # events before this index are trimmed
        self._begin = 0  # sequence number of the event at `_head`
        self._last: StoredEvent | None = None
        self._next_offset = 0
        self.bytes = 0
        """Memory taken by the events that are kept."""
        self.trimmed = 0
        """Events that retention took, since the start."""
        self.on_append: dict[object, Callable[[], None]] = {}
        """Called after every append, by whoever asked for it; keyed so that asking twice is one call."""

    @property
    def begin(self) -> int:
        """The sequence number of the first event that is kept."""
        return self._begin

    @property
    def end(self) -> int:
        """The sequence number that the next event will get."""
        return self._begin + len(self._events) - self._head

    @property
    def oldest_enqueued_time_ms(self) -> int | None:
        """When the first event that is kept was enqueued; None if none is kept."""
        return self._events[self._head].enqueued_time_ms if self._head < len(self._events) else None

    def restore(self, events: list[StoredEvent], journal: Journal) -> None:
        """Take over what a journal kept, before the first append, and write to it from now on."""
        self._journal = journal
        self._begin = journal.next_sequence_number
        if events:
            self._events = events
            self._begin = events[0].sequence_number
            self._last = events[-1]
            self._next_offset = _offset_after(events[-1])
            self.bytes = sum(_cost(event) for event in events)

    def append(self, incoming: list[Incoming], enqueued_time_ms: int | None = None) -> list[StoredEvent]:
        """Add events; all get one enqueued time, the clock's unless given, never below the one before.

        Raises `OSError` if the journal cannot be written; then none was added.
        """
        time_ms = self._now_ms() if enqueued_time_ms is None else enqueued_time_ms
        if self._last is not None:
            time_ms = max(time_ms, self._last.enqueued_time_ms)
        sequence_number, offset = self.end, self._next_offset
        stored: list[StoredEvent] = []
        for event in incoming:
            message = outgoing(event, sequence_number, str(offset), time_ms)
            stored.append(StoredEvent(sequence_number, offset, time_ms, event.partition_key, message))
            sequence_number += 1
            offset = _offset_after(stored[-1])
        if not stored:
            return stored
        if self._journal is not None:
            self._journal.append(stored)
        self._events += stored
        self._last = stored[-1]
        self._next_offset = offset
        self.bytes += sum([_cost(event) for event in stored])
        self.wake()
        return stored

    def wake(self) -> None:
        """Tell readers that there is something to look at."""
        for call in list(self.on_append.values()):
            call()

    def read(self, sequence_number: int, count: int, bytes_max: int) -> list[StoredEvent]:
        """Events from `sequence_number` on, or from the first one kept: up to `count`, about `bytes_max`."""
        first = self._head + max(sequence_number - self._begin, 0)
        found = self._events[first : first + count]
        size = 0
        for index, event in enumerate(found):
            size += len(event.message)
            if size > bytes_max:
                return found[: index + 1]
        return found

    def locate(self, start: StartPosition) -> int:
        """The sequence number that a receiver begins at. Raises `AmqpError` for a place beyond the end."""
        self._expect_within(start)
        search = bisect_left if start.inclusive else bisect_right
        index = search(self._events, start.value, lo=self._head, key=_COLUMNS[start.column])
        return self._begin + index - self._head

    def _expect_within(self, start: StartPosition) -> None:
        """The service refuses an offset or number that was never given, as after a hub was recreated."""
        if start == LATEST or start.column is Column.ENQUEUED_TIME:
            return
        told = self.properties()
        last = told.last_sequence_number if start.column is Column.SEQUENCE_NUMBER else int(told.last_offset)
        if start.value > last:
            what = start.column.removeprefix("x-opt-").replace("-", " ")
            raise AmqpError(
                "com.microsoft:argument-error",
                f"The supplied {what} '{start.value}' is invalid. The last {what} in the system is '{last}'.",
            )

    def trim_oldest(self, bytes_wanted: int, not_after_ms: int) -> int:
        """Trim events enqueued at or before `not_after_ms` until `bytes_wanted` are free.

        At least one event goes, and the newest one never does. Gives the bytes that were freed.
        """
        head, freed, last = self._head, 0, len(self._events) - 1
        while head < last and freed < bytes_wanted:
            event = self._events[head]
            if freed and event.enqueued_time_ms > not_after_ms:
                break
            freed += _cost(event)
            head += 1
        self._forget(head, freed)
        return freed

    def trim_before(self, sequence_number: int) -> None:
        """Trim every event below `sequence_number`."""
        head = min(self._head + max(sequence_number - self._begin, 0), len(self._events))
        self._forget(head, sum(_cost(event) for event in self._events[self._head : head]))

    def _forget(self, head: int, freed: int) -> None:
        count = head - self._head
        self._begin += count
        self.trimmed += count
        self.bytes -= freed
        self._head = head
        if head >= _COMPACT_AT and 2 * head >= len(self._events):
            del self._events[:head]
            self._head = 0
        if count and self._journal is not None:
            self._journal.trim(self._begin)

    def properties(self) -> PartitionProperties:
        """What `$management` tells of the partition."""
        last = self._last
        if last is None:
            return PartitionProperties(-1, -1, "-1", 0, is_empty=True)
        empty = self.begin == self.end
        return PartitionProperties(
            self.begin, last.sequence_number, str(last.offset), last.enqueued_time_ms, is_empty=empty
        )


def _offset_after(event: StoredEvent) -> int:
    return event.offset + len(event.message)


def _cost(event: StoredEvent) -> int:
    return len(event.message) + _OVERHEAD_BYTES


_COLUMNS: dict[Column, Callable[[StoredEvent], int]] = {
    Column.OFFSET: lambda event: event.offset,
    Column.SEQUENCE_NUMBER: lambda event: event.sequence_number,
    Column.ENQUEUED_TIME: lambda event: event.enqueued_time_ms,
}
