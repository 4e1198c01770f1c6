"""Stores as seen over a bad network: slow, away, failing before or after they did what was asked.

A request that is under way belongs to nobody: it takes effect although its sender is dead, and it may take
effect after its sender was told that it failed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from simulation.audit import Audit
from simulation.loop import SimLoop
from simulation.records import Place

from consumer.errors import InturnError, StoreUnavailable
from consumer.events import Checkpoint, DeadLetter, PartitionId
from consumer.stores import CopyKind, KeptState, StoredState
from consumer.stores.memory import MemoryDeadLetters, MemoryStore


@dataclass
class Weather:
    """How bad the network to one store is."""

    before: float = 0.0
    """Requests that fail without an effect."""
    after: float = 0.0
    """Requests that take effect and fail for the sender."""
    late: float = 0.0
    """Requests that fail for the sender first and take effect afterwards."""
    slow: float = 0.0
    slow_max_s: float = 4.0
    is_away: bool = False

    def calm(self) -> None:
        """Let nothing fail any more."""
        self.before = self.after = self.late = self.slow = 0.0
        self.is_away = False


class Wire:
    """The way to a store."""

    def __init__(self, loop: SimLoop, chance: random.Random, weather: Weather) -> None:
        self.loop = loop
        self.chance = chance
        self.weather = weather
        self.failed = 0

    async def ask(self, act: Callable[[], Any]) -> Any:
        """Let the store do something; raises `StoreUnavailable` when the result is not known."""
        loop, chance, weather = self.loop, self.chance, self.weather
        future = loop.create_future()
        owner = loop.current_owner()
        there_s, back_s = 0.001 + chance.random() * 0.02, 0.001 + chance.random() * 0.02
        draw = chance.random()
        if draw < weather.slow:
            there_s += chance.random() * weather.slow_max_s
        draw = chance.random()
        result: list[Any] = []

        def reply(*, well: bool) -> None:
            if future.done() or owner.is_dead:
                return
            if not well:
                self.failed += 1
                future.set_exception(StoreUnavailable("The store does not answer."))
            elif isinstance(result[0], InturnError):
                future.set_exception(result[0])
            else:
                future.set_result(result[0])

        def arrive(*, well: bool, replies: bool = True) -> None:
            try:
                result.append(act())
            except InturnError as error:
                result.append(error)
            if replies:
                loop.outside(back_s, lambda: reply(well=well))

        if weather.is_away or draw < weather.before:
            loop.outside(there_s + chance.choice((0.0, 0.5, 3.0)), lambda: reply(well=False))
        elif draw < weather.before + weather.after:
            loop.outside(there_s, lambda: arrive(well=False))
        elif draw < weather.before + weather.after + weather.late:
            loop.outside(there_s, lambda: reply(well=False))
            loop.outside(there_s + chance.random() * 3, lambda: arrive(well=False, replies=False))
        else:
            loop.outside(there_s, lambda: arrive(well=True))
        return await future


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a store in memory has waited")


class SimCheckpoints:
    """A checkpoint store behind a wire."""

    def __init__(self, wire: Wire, audit: Audit) -> None:
        self.server = MemoryStore(clock=wire.loop.time)
        self._wire = wire
        self._audit = audit

    async def load(self, partition: PartitionId) -> StoredState:
        return await self._wire.ask(lambda: at_once(self.server.load(partition)))

    async def save(self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, fence: str) -> str:
        written_by = self._audit.writer()

        def act() -> str:
            new = at_once(self.server.save(partition, checkpoint, snapshot, fence))
            self._audit.saved(partition.partition, checkpoint, snapshot, written_by)
            return new

        return await self._wire.ask(act)

    async def is_current(self, partition: PartitionId, fence: str) -> bool:
        return await self._wire.ask(lambda: at_once(self.server.load(partition)).fence == fence)

    async def keep(
        self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, kind: CopyKind
    ) -> None:
        await self._wire.ask(lambda: at_once(self.server.keep(partition, checkpoint, snapshot, kind)))

    async def kept(self, partition: PartitionId) -> list[KeptState]:
        return await self._wire.ask(lambda: at_once(self.server.kept(partition)))

    async def close(self) -> None:
        await asyncio.sleep(0)


class SimDeadLetters:
    """A dead-letter store behind a wire."""

    is_indexed = True

    def __init__(self, wire: Wire, audit: Audit) -> None:
        self.server = MemoryDeadLetters()
        self._wire = wire
        self._audit = audit

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        def act() -> None:
            at_once(self.server.put(letters))
            self._audit.put_aside(letters)

        await self._wire.ask(act)

    async def holds(self, partition: PartitionId, processor: str, topic: str, object_path: str) -> bool:
        return await self._wire.ask(
            lambda: at_once(self.server.holds(partition, processor, topic, object_path))
        )

    def of(self, partition: str, processor: str, object_path: str) -> list[Place]:
        """The events of a partition whose letters are there, without a wire in between."""
        asked = partition, processor, object_path
        return [
            Place(partition, letter.position.sequence_number, letter.position.index)
            for letter in self.server._letters.values()
            if (letter.position.partition, letter.processor, letter.object_path) == asked
        ]

    async def letters(self, *, limit: int = 1_000) -> AsyncIterator[DeadLetter]:
        async for letter in self.server.letters(limit=limit):
            yield letter

    async def count(self) -> int:
        return await self._wire.ask(lambda: at_once(self.server.count()))

    async def close(self) -> None:
        await asyncio.sleep(0)
