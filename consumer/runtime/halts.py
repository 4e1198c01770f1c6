"""Partitions that wait for an operator: remembered, said once, and asked about seldom."""

from __future__ import annotations

import structlog

from consumer.errors import CorruptState, EventsLost
from consumer.events import RawBatch
from consumer.runtime.clock import Clock

_log = structlog.get_logger("inturn.engine")

_ASK_EVERY_S = 10.0
"""How often the store is asked whether an operator has done something; a source tries far more often."""


class Halts:
    """The halted partitions of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._errors: dict[str, CorruptState] = {}
        self._asked_s: dict[str, float] = {}

    def reasons(self) -> list[str]:
        """Why each of them is halted, for readiness."""
        return [f"Partition {partition} is halted: {error}" for partition, error in self._errors.items()]

    def check(self, partition: str) -> None:
        """Raise what halted the partition, unless it is time to look whether that is mended."""
        error = self._errors.get(partition)
        if error is not None and self._clock.monotonic_s() - self._asked_s[partition] < _ASK_EVERY_S:
            raise error

    def note(self, partition: str, error: CorruptState) -> None:
        """Remember why a partition is halted; it is logged when it is news."""
        if str(self._errors.get(partition)) != str(error):
            _log.error(
                "A partition is halted; nothing was overwritten.", partition=partition, error=str(error)
            )
        self._errors[partition] = error
        self._asked_s[partition] = self._clock.monotonic_s()

    def lost_before(self, partition: str) -> EventsLost | None:
        """The gap that halted a partition, if that was what did."""
        error = self._errors.get(partition)
        return error if isinstance(error, EventsLost) else None

    def clear(self, partition: str) -> None:
        """Forget about a partition: it can be read, or it is not ours."""
        self._errors.pop(partition, None)


def first_gap(batch: RawBatch, after: int) -> tuple[int, int] | None:
    """The first sequence numbers that are missing in a batch, or between `after` and the batch.

    Both ends are included. `after` is the highest number received so far; below 0 nobody knows which one
    comes first.
    """
    for number in batch.sequence_numbers:
        if 0 <= after < number - 1:
            return after + 1, number - 1
        after = max(after, number)
    return None
