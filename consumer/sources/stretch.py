"""Read a stretch of a log that is there already, without owning anything and without leaving a trace.

A replay reads so: from a place to a place, and then it has an end. Who owns the partitions meanwhile, and
what is checkpointed, is somebody else's business and stays as it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from consumer.events import NOTHING_DONE, Checkpoint, RawBatch
from consumer.sources.finite import FiniteSource


class Extent(NamedTuple):
    """What a log holds of a partition."""

    partition: str
    begin: int
    """Sequence number of the oldest message that is kept; one above `newest` if none is."""
    newest: int
    """-1 if there never was one."""


class Log(Protocol):
    """Partitions that can be read from anywhere."""

    async def extents(self) -> list[Extent]:
        """What there is. Raises `SourceUnavailable`, `ConfigurationError`."""

    async def before(self, extent: Extent, time: datetime) -> int:
        """The sequence number before the first message enqueued at `time` or later: the newest if none was.

        One below `extent.begin` if all were. Raises `SourceUnavailable`.
        """

    def batches(self, partition: str, after: int, last: int) -> AsyncGenerator[RawBatch]:
        """Messages above `after`, at least to `last`; ends earlier only if the rest is gone for good.

        Raises `SourceUnavailable`.
        """

    async def close(self) -> None:
        """Let go of connections."""


class Stretch(msgspec.Struct, frozen=True):
    """Part of a partition: the messages above `after`, to `last` and with it."""

    partition: str
    after: int
    last: int

    def __len__(self) -> int:
        return max(0, self.last - self.after)


class StretchSource(FiniteSource):
    """Reads stretches of a log side by side, and ends."""

    def __init__(self, log: Log, stretches: Sequence[Stretch]) -> None:
        super().__init__()
        self._log = log
        self._stretches = {stretch.partition: stretch for stretch in stretches}
        self.lasts: dict[str, int] = {each.partition: each.last for each in stretches}
        """The last message of each partition; lower than asked for where the end turned out to be gone."""

    def partitions(self) -> Sequence[str]:
        """Those that there is a stretch of."""
        return list(self._stretches)

    def start_of(self, partition: str) -> Checkpoint:
        """Where a stretch begins. Its offset is not known, and not needed: logs are asked by number."""
        after = self._stretches[partition].after
        return NOTHING_DONE if after < 0 else Checkpoint(after, "")

    async def batches(self, partition: str, after: Checkpoint) -> AsyncGenerator[RawBatch]:
        """What lies behind the checkpoint, to the end of the stretch."""
        last, reached = self._stretches[partition].last, after.sequence_number
        async with aclosing(self._log.batches(partition, reached, last)) as batches:
            async for batch in batches:
                part = _up_to(batch, last)
                if len(part):
                    reached = part.sequence_numbers[-1]
                    yield part
                if batch.sequence_numbers[-1] >= last:
                    break
        self.lasts[partition] = min(last, reached)


def _up_to(batch: RawBatch, last: int) -> RawBatch:
    """The batch without what lies above `last`, which is the newest message as far as anybody is told.

    Below it the silence of a log is no sign that nothing more comes, so that log time does not follow the
    clock: what is released, and in which order, depends on the log alone.
    """
    count = len(batch)
    while count and batch.sequence_numbers[count - 1] > last:
        count -= 1
    return msgspec.structs.replace(
        batch,
        bodies=batch.bodies[:count],
        sequence_numbers=batch.sequence_numbers[:count],
        offsets=batch.offsets[:count],
        enqueued_times_ms=batch.enqueued_times_ms[:count],
        partition_keys=batch.partition_keys[:count],
        newest_sequence_number=last,
    )
