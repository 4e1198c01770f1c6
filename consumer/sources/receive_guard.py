"""Let every sequence number of a partition pass once and in order, and count what never came.

The client of Event Hubs repeats events after a reconnect, and a partition may have lost its oldest
events to retention. Both are arithmetic on sequence numbers, so both are decided here, without a wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from consumer.events import RawBatch


class Gap(NamedTuple):
    """Sequence numbers that never came: from `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1


class Admitted(NamedTuple):
    """What is left of a batch."""

    batch: RawBatch | None
    """None if nothing of it is new."""
    redelivered: int
    """How many messages were dropped because they had come before."""
    gaps: list[Gap]


class ReceiveGuard:
    """The guard of one assignment of one partition."""

    __slots__ = ("_knows_last", "last")

    def __init__(self, after: int) -> None:
        """`after` is the checkpoint's sequence number; below 0 nobody knows which one comes first."""
        self.last = after
        """The highest sequence number that passed, or what is at or before the checkpoint."""
        self._knows_last = after >= 0

    def admit(self, batch: RawBatch) -> Admitted:
        """Give the part of a batch that is new, in the order it came."""
        numbers = batch.sequence_numbers
        if not numbers:
            return Admitted(None, 0, [])
        first = numbers[0]
        follows = first == self.last + 1 or not self._knows_last
        if follows and numbers == list(range(first, first + len(numbers))):
            self.last = numbers[-1]
            self._knows_last = True
            return Admitted(batch, 0, [])
        return self._pick(batch)

    def _pick(self, batch: RawBatch) -> Admitted:
        fresh: list[int] = []
        gaps: list[Gap] = []
        for index, number in enumerate(batch.sequence_numbers):
            if number <= self.last:
                continue
            if self._knows_last and number > self.last + 1:
                gaps.append(Gap(self.last + 1, number - 1))
            self.last = number
            self._knows_last = True
            fresh.append(index)
        redelivered = len(batch) - len(fresh)
        if not fresh:
            return Admitted(None, redelivered, gaps)
        return Admitted(batch if not redelivered else _picked(batch, fresh), redelivered, gaps)


def _picked(batch: RawBatch, indexes: list[int]) -> RawBatch:
    def properties_at(index: int) -> Mapping[str, object]:
        return batch.properties_at(indexes[index])

    return msgspec.structs.replace(
        batch,
        bodies=[batch.bodies[index] for index in indexes],
        sequence_numbers=[batch.sequence_numbers[index] for index in indexes],
        offsets=[batch.offsets[index] for index in indexes],
        enqueued_times_ms=[batch.enqueued_times_ms[index] for index in indexes],
        partition_keys=[batch.partition_keys[index] for index in indexes],
        properties_at=properties_at,
    )
