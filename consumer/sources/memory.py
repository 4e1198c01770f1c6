"""Read events that are in memory: for tests and the simulation."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

from consumer.events import Checkpoint, RawBatch
from consumer.sources.finite import FiniteSource
from consumer.sources.receive_guard import ReceiveGuard


class MemorySource(FiniteSource):
    """Gives the batches it was given, partition by partition.

    With `endless` it waits for more (`feed`) instead of ending; `end` makes it end all the same.
    """

    def __init__(self, batches: Mapping[str, Iterable[RawBatch]], *, endless: bool = False) -> None:
        super().__init__()
        self._batches = {partition: list(given) for partition, given in batches.items()}
        self._endless = endless
        self._fed = asyncio.Condition()

    async def feed(self, batch: RawBatch) -> None:
        """Append a batch to its partition, which must be one that was given at the start."""
        async with self._fed:
            self._batches[batch.partition].append(batch)
            self._fed.notify_all()

    async def end(self) -> None:
        """Wait for no more: the partitions end behind what they have."""
        async with self._fed:
            self._endless = False
            self._fed.notify_all()

    def partitions(self) -> Sequence[str]:
        """The partitions that were given."""
        return list(self._batches)

    async def batches(self, partition: str, after: Checkpoint) -> AsyncGenerator[RawBatch]:
        """What lies behind the checkpoint; of a batch that it cuts, the rest."""
        guard = ReceiveGuard(after.sequence_number)
        given = self._batches[partition]
        for index in itertools.count():
            if not await self._has(given, index):
                return
            admitted = guard.admit(given[index])
            if admitted.batch is not None:
                yield admitted.batch

    async def _has(self, given: list[RawBatch], index: int) -> bool:
        async with self._fed:
            await self._fed.wait_for(lambda: index < len(given) or not self._endless)
        return index < len(given)
