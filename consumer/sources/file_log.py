"""Files as a log to read stretches of: counted and searched by reading them through."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

from consumer.errors import ConfigurationError
from consumer.events import NOTHING_DONE, Checkpoint, RawBatch
from consumer.sources.file import PARTITION, STANDARD_INPUT, FileSource
from consumer.sources.stretch import Extent


class FileLog:
    """The messages of some files: one partition, numbered from 0."""

    def __init__(self, *paths: str | Path) -> None:
        """Raises `ConfigurationError` for standard input, which cannot be read a second time."""
        if STANDARD_INPUT in map(str, paths):
            raise ConfigurationError(
                "A replay cannot be resumed from standard input: put the events into a file."
            )
        self._files = FileSource(*paths)

    async def extents(self) -> list[Extent]:
        """The one partition, counted. Raises `ConfigurationError` if there is no such file."""
        self._files.files()
        newest = -1
        async with aclosing(self._files.batches(PARTITION, NOTHING_DONE)) as batches:
            async for batch in batches:
                newest = batch.sequence_numbers[-1]
        return [Extent(PARTITION, 0, newest)]

    async def before(self, extent: Extent, time: datetime) -> int:
        """The number before the first message of `time` or later, by the time that its event happened."""
        time_ms = time.timestamp() * 1_000
        async with aclosing(self._files.batches(PARTITION, NOTHING_DONE)) as batches:
            async for batch in batches:
                for number, happened_ms in zip(batch.sequence_numbers, batch.enqueued_times_ms, strict=True):
                    if happened_ms >= time_ms:
                        return number - 1
        return extent.newest

    def batches(self, partition: str, after: int, last: int) -> AsyncGenerator[RawBatch]:  # noqa: ARG002 - a reader stops by itself
        """The messages above `after`."""
        return self._files.batches(partition, Checkpoint(after, str(after)))

    async def close(self) -> None:
        """Nothing to let go of."""
