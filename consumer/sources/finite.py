"""Run a source that has an end: what the file source and the memory source have in common."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from consumer.events import Checkpoint, RawBatch
from consumer.sources import Intake


class FiniteSource(ABC):
    """Reads its partitions side by side; says what they are and what is in them."""

    def __init__(self) -> None:
        self._stopped = False
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()

    @abstractmethod
    def partitions(self) -> Sequence[str]:
        """The partitions, all of them. Raises `ConfigurationError` if there is nothing to read."""

    @abstractmethod
    def batches(self, partition: str, after: Checkpoint) -> AsyncGenerator[RawBatch]:
        """The messages of a partition behind a checkpoint, in order, to the end of it."""

    def start_of(self, partition: str) -> Checkpoint | None:  # noqa: ARG002 - for those that begin elsewhere
        """After which message to begin where nothing is stored; None: with the first."""
        return None

    async def run(self, intake: Intake) -> None:
        """Read every partition to its end, or until `close`. Raises what `Intake.assigned` raises."""
        if self._closing.is_set():
            return
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read_all(intake))
                closing = tasks.create_task(self._closing.wait())
                await asyncio.wait((reading, closing), return_when=asyncio.FIRST_COMPLETED)
                closing.cancel()
                reading.cancel()
        except BaseExceptionGroup as group:
            # One partition's error is told as it is; the others were given back because of it.
            raise _first(group) from None
        finally:
            self._ended.set()

    def stop(self) -> None:
        """Hand over nothing new from now on."""
        self._stopped = True

    async def close(self) -> None:
        """Give every partition back; `run` has ended when this returns."""
        self.stop()
        self._closing.set()
        await self._ended.wait()

    async def _read_all(self, intake: Intake) -> None:
        async with asyncio.TaskGroup() as tasks:
            for partition in self.partitions():
                tasks.create_task(self._read(partition, intake))

    async def _read(self, partition: str, intake: Intake) -> None:
        after = await intake.assigned(partition, start=self.start_of(partition))
        try:
            async with aclosing(self.batches(partition, after)) as batches:
                async for batch in batches:
                    if self._stopped:
                        await self._closing.wait()
                        return
                    await intake.received(batch)
            if self._stopped:
                await self._closing.wait()
                return
            await intake.ended(partition)
        finally:
            await intake.revoked(partition, lost=False)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
