"""An event hub for dead letters, in memory: what is sent can be read, and nothing is ever deleted."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Sequence

from consumer.errors import SourceUnavailable
from consumer.events import RawBatch
from consumer.sources.stretch import Extent
from consumer.stores.eventhub_dead_letters import EventHubDeadLetters
from consumer.stores.eventhub_letters import Outgoing

BATCH = 7


class LetterHub:
    """Both what is read and what is sent to; several stores may share it."""

    def __init__(self, partitions: int = 3) -> None:
        self.partitions: dict[str, list[Outgoing]] = {str(number): [] for number in range(partitions)}
        self.begins = dict.fromkeys(self.partitions, 0)
        """Messages below have left the hub."""
        self.is_away = False
        self.read = 0
        """Messages handed out."""

    def open(self) -> EventHubDeadLetters:
        return EventHubDeadLetters(self, self)

    async def extents(self) -> list[Extent]:
        self._check()
        return [Extent(name, self.begins[name], len(kept) - 1) for name, kept in self.partitions.items()]

    async def batches(self, partition: str, after: int, last: int) -> AsyncGenerator[RawBatch]:
        kept = self.partitions[partition]
        for first in range(max(after + 1, self.begins[partition]), len(kept), BATCH):
            self._check()
            rows = kept[first : first + BATCH]
            numbers = list(range(first, first + len(rows)))
            self.read += len(rows)
            yield RawBatch(
                partition,
                [each.body for each in rows],
                numbers,
                [str(number) for number in numbers],
                [0] * len(rows),
                [None] * len(rows),
                lambda row, rows=rows: {
                    name.encode(): value.encode() if isinstance(value, str) else value
                    for name, value in rows[row].properties.items()
                },
            )

    async def send(self, messages: Sequence[Outgoing]) -> None:
        self._check()
        for each in messages:
            place = zlib.crc32(each.partition_key.encode()) % len(self.partitions)
            self.partitions[str(place)].append(each)

    async def close(self) -> None:
        """Others may use it."""

    def _check(self) -> None:
        if self.is_away:
            raise SourceUnavailable("No Event Hub answers.")
