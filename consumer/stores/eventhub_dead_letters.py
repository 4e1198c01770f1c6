"""Dead letters in an event hub of their own, where whoever likes can read them.

To put one aside is a send. To look at them, the hub is read from its oldest message to its newest, into an
SQLite file that ends with the process; once read, only what is new is read. A hub cannot delete: a letter
that is removed gets a message that says so, and its bytes stay in the hub until its retention ends. The
retention is also how long a letter waits for somebody: choose it long.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Protocol

from consumer.errors import SourceUnavailable, StoreUnavailable
from consumer.events import DeadLetter, PartitionId, RawBatch
from consumer.stores import LetterFilter
from consumer.stores.eventhub_letters import Assembler, Do, Outgoing, messages_of
from consumer.stores.sqlite_dead_letters import SqliteDeadLetters

_READERS_MAX = 8
"""Partitions that are read side by side."""


class Kept(Protocol):
    """What a hub holds of a partition."""

    @property
    def partition(self) -> str:
        """Its id."""

    @property
    def begin(self) -> int:
        """The oldest sequence number that is kept."""

    @property
    def newest(self) -> int:
        """The newest; below `begin` if nothing is kept."""


class LetterLog(Protocol):
    """The hub as something to read; each call may raise `SourceUnavailable`."""

    async def extents(self) -> Sequence[Kept]:
        """What there is of every partition."""

    def batches(self, partition: str, after: int, last: int) -> AsyncGenerator[RawBatch]:
        """Messages above `after`, at least to `last`."""

    async def close(self) -> None:
        """Let go of connections."""


class LetterSender(Protocol):
    """The hub as something to send to."""

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages, those of one partition key in order. Raises `SourceUnavailable`: any may be sent."""

    async def close(self) -> None:
        """Let go of connections."""


class EventHubDeadLetters:
    """A dead-letter store in a hub. It owns what it is given, and closes it."""

    is_indexed = False
    """Each new reader reads all of the hub, and a partition takes five readers of a group."""

    def __init__(self, log: LetterLog, sender: LetterSender) -> None:
        self._log = log
        self._sender = sender
        self._folder = tempfile.TemporaryDirectory(prefix="inturn-letters-")
        self._mirror = SqliteDeadLetters(path=Path(self._folder.name) / "letters.sqlite")
        self._read_to: dict[str, int] = {}
        self._assemblers: dict[str, Assembler] = {}
        self._reading = asyncio.Lock()
        self._begun = 0
        """How often the hub was looked at."""
        self._readers = asyncio.Semaphore(_READERS_MAX)

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Send letters; one whose key is there already changes nothing when it is read."""
        await self._send(Do.PUT, letters)

    async def replace(self, letter: DeadLetter) -> bool:
        """Send a letter anew that is there."""
        await self._know([letter])
        if not await self._mirror.replace(letter):
            return False
        await self._send(Do.REPLACE, [letter])
        return True

    async def letters(
        self, *, limit: int = 1_000, where: LetterFilter | None = None
    ) -> AsyncIterator[DeadLetter]:
        """The letters that are meant, oldest first."""
        await self._refresh()
        async for letter in self._mirror.letters(limit=limit, where=where):
            yield letter

    async def count(self, where: LetterFilter | None = None) -> int:
        """How many letters are meant; reads what is new in the hub."""
        await self._refresh()
        return await self._mirror.count(where)

    async def remove(self, letters: Sequence[DeadLetter]) -> int:
        """Have letters counted as gone; gives how many were there."""
        await self._know(letters)
        await self._send(Do.REMOVE, letters)
        return await self._mirror.remove(letters)

    async def holds(self, partition: PartitionId, processor: str, topic: str, object_path: str) -> bool:
        """Whether there is a letter of a processor and an object; reads what is new in the hub."""
        await self._refresh()
        return await self._mirror.holds(partition, processor, topic, object_path)

    async def claim(self, owner: str, lasts_s: int) -> bool:  # noqa: ARG002 - a hub cannot tell who asks
        """A hub keeps nobody from redriving."""
        return True

    async def release(self, owner: str) -> None:
        """There is nothing to give back."""

    async def probe(self) -> None:
        """Raise `StoreUnavailable` unless the hub can be reached."""
        with _named():
            await self._log.extents()

    async def close(self) -> None:
        """Close the connections, and forget what was read."""
        await self._sender.close()
        await self._log.close()
        await self._mirror.close()
        await asyncio.to_thread(self._folder.cleanup)

    async def _send(self, do: Do, letters: Sequence[DeadLetter]) -> None:
        if letters:
            with _named():
                await self._sender.send([each for letter in letters for each in messages_of(do, letter)])

    async def _know(self, letters: Sequence[DeadLetter]) -> None:
        """Read what is new, unless all of some letters were read already."""
        for letter in letters:
            if not await self._mirror.has(letter):
                await self._refresh()
                return

    async def _refresh(self) -> None:
        """Read what is new, to the newest message of now; those who wait share the next reading."""
        begun = self._begun
        async with self._reading:
            if self._begun > begun:
                return
            self._begun += 1
            with _named():
                extents = await self._log.extents()
                async with asyncio.TaskGroup() as tasks:
                    reading = [tasks.create_task(self._caught_up(each)) for each in extents]
                for task in reading:
                    if (error := task.result()) is not None:
                        raise error

    async def _caught_up(self, kept: Kept) -> SourceUnavailable | None:
        """Read a partition to its newest message; gives what is wrong, for the others to go on."""
        after = self._read_to.get(kept.partition, kept.begin - 1)
        if kept.newest <= after:
            return None
        async with self._readers:
            try:
                await self._read(kept.partition, after, kept.newest)
            except SourceUnavailable as error:
                return error
        return None

    async def _read(self, partition: str, after: int, last: int) -> None:
        assembler = self._assemblers.setdefault(partition, Assembler())
        async with aclosing(self._log.batches(partition, after, last)) as batches:
            async for batch in batches:
                for row, body in enumerate(batch.bodies):
                    told = assembler.take(body, batch.properties_at(row))
                    if told is not None:
                        await self._apply(told.do, told.letter)
                self._read_to[partition] = batch.sequence_numbers[-1]
                if self._read_to[partition] >= last:
                    return
        self._read_to[partition] = max(last, self._read_to.get(partition, last))  # the rest has left the hub

    async def _apply(self, do: Do, letter: DeadLetter) -> None:
        match do:
            case Do.PUT:
                await self._mirror.put([letter])
            case Do.REPLACE:
                await self._mirror.replace(letter)
            case Do.REMOVE:
                await self._mirror.remove([letter])


@contextmanager
def _named() -> Iterator[None]:
    """A hub that is away is a store that is away."""
    try:
        yield
    except SourceUnavailable as error:
        raise StoreUnavailable(f"Dead letters: {error}") from error
