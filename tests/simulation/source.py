"""A hub, who owns which partition of it, and a source that reads it as a client of Event Hubs would.

Ownership is a record with a time, as the client's load balancing keeps it: it expires, it can be stolen, and
its old owner learns of that at its next look. After a reconnect messages come again (D4).
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from property.oracle import Message
from simulation.loop import SimLoop

from consumer.errors import FenceLost, InturnError
from consumer.events import RawBatch
from consumer.runtime.clock import Clock
from consumer.sources import Intake
from consumer.sources.receive_guard import ReceiveGuard

EXPIRES_S = 20.0
BALANCE_EVERY_S = 2.0
_BATCH_MAX = 8
_REPEATS_MAX = 20
"""Messages that a reconnect brings again."""


@dataclass
class Hub:
    """What has been published, by partition."""

    logs: dict[str, list[Message]]
    is_unsteady: bool = True
    """Connections break."""
    is_away: bool = False
    """Nothing is read, and nobody is told why."""
    broken: int = 0

    def read(self, partition: str, first: int, count: int) -> list[Message]:
        return self.logs[partition][max(first, 0) : max(first, 0) + count]


@dataclass
class Record:
    """Who owns a partition."""

    owner: str = ""
    renewed_s: float = -1e9
    is_to_move: bool = False
    """Its owner is asked to hand it over."""


@dataclass
class Ownership:
    """The records of all partitions."""

    loop: SimLoop
    records: dict[str, Record]
    seen_s: dict[str, float] = field(default_factory=dict)
    """When each replica last looked."""

    def claim(self, name: str) -> set[str]:
        """Renew what is ours, and take what is nobody's up to a fair share; gives what is ours."""
        now_s = self.loop.time()
        self.seen_s[name] = now_s
        alive = [other for other, seen_s in self.seen_s.items() if now_s - seen_s < EXPIRES_S]
        fair = -(-len(self.records) // len(alive))
        mine = {partition for partition, record in self.records.items() if record.owner == name}
        for partition in mine:
            self.records[partition].renewed_s = now_s
        for partition, record in self.records.items():
            if len(mine) < fair and record.owner != name and now_s - record.renewed_s > EXPIRES_S:
                self.give(partition, name)
                mine.add(partition)
        return mine

    def give(self, partition: str, name: str) -> None:
        """Write a record."""
        self.records[partition] = Record(name, self.loop.time())

    def release(self, partition: str, name: str) -> None:
        """Give a partition back, so that it can be taken at once."""
        if self.records[partition].owner == name:
            self.records[partition] = Record()

    def is_ours(self, partition: str, name: str) -> bool:
        return self.records[partition].owner == name


class SimSource:
    """The source of one replica."""

    def __init__(
        self, loop: SimLoop, hub: Hub, ownership: Ownership, name: str, chance: random.Random, clock: Clock
    ) -> None:
        self._loop = loop
        self._hub = hub
        self._ownership = ownership
        self._name = name
        self._chance = chance
        self._clock = clock
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._newest: dict[str, int] = {}
        self._asked_ms: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._stopped = False

    def newest(self, partition: str) -> int | None:
        """As last heard."""
        return self._newest.get(partition)

    def asked_ms(self, partition: str) -> int:
        """When that was, by the replica's clock."""
        return self._asked_ms.get(partition, 0)

    def redelivered(self, partition: str) -> int:
        return self._dropped.get(partition, 0)

    async def run(self, intake: Intake) -> None:
        async with asyncio.TaskGroup() as tasks:
            while not self._closing.is_set():
                await self._balance(intake, tasks)
                try:
                    async with asyncio.timeout(BALANCE_EVERY_S * (0.75 + self._chance.random() / 2)):
                        await self._closing.wait()
                except TimeoutError:
                    pass
            for partition in list(self._readers):
                await self._stop(partition)
                await intake.revoked(partition, lost=False)
                self._ownership.release(partition, self._name)
        self._ended.set()

    def stop(self) -> None:
        self._stopped = True

    async def close(self) -> None:
        self.stop()
        self._closing.set()
        await self._ended.wait()

    async def _balance(self, intake: Intake, tasks: asyncio.TaskGroup) -> None:
        await asyncio.sleep(self._chance.random() * 0.05)
        if self._stopped:
            return
        mine = self._ownership.claim(self._name)
        for partition in sorted(set(self._readers) - mine):
            await self._stop(partition)
            await intake.revoked(partition, lost=True)
        for partition in sorted(mine & set(self._readers)):
            if self._ownership.records[partition].is_to_move:
                await self._stop(partition)
                await intake.revoked(partition, lost=False)
                self._ownership.release(partition, self._name)
                mine.discard(partition)
        for partition in sorted(mine - set(self._readers)):
            self._readers[partition] = tasks.create_task(
                self._read(partition, intake), name=f"reader of {partition}"
            )

    async def _stop(self, partition: str) -> None:
        reader = self._readers.pop(partition)
        reader.cancel()
        await asyncio.wait((reader,))

    async def _read(self, partition: str, intake: Intake) -> None:
        """Own a partition, as long as it is ours."""
        while True:
            try:
                after = await intake.assigned(partition)
            except InturnError:
                await asyncio.sleep(0.5 + self._chance.random())
                continue
            try:
                await self._pump(partition, intake, after.sequence_number)
            except FenceLost:
                await intake.revoked(partition, lost=True)
            await asyncio.sleep(0.5 + self._chance.random())

    async def _pump(self, partition: str, intake: Intake, after: int) -> None:
        guard = ReceiveGuard(after)
        cursor = after + 1
        log = self._hub.logs[partition]
        while True:
            await asyncio.sleep(0.002 + self._chance.random() * 0.02)
            if self._stopped:
                await self._closing.wait()
                return
            if intake.is_lost(partition):
                raise FenceLost("given up in there")
            if self._hub.is_unsteady and self._chance.random() < 0.02:
                self._hub.broken += 1
                await asyncio.sleep(self._chance.random() * 2)
                cursor = max(0, cursor - self._chance.randrange(_REPEATS_MAX))
            if self._hub.is_away:
                await asyncio.sleep(0.2)
                continue
            self._newest[partition], self._asked_ms[partition] = len(log) - 1, self._clock.now_ms()
            messages = self._hub.read(partition, cursor, 1 + self._chance.randrange(_BATCH_MAX))
            if not messages:
                # As if the hub pushed: an empty receive looks again soon, and more seldom when it is quiet.
                await asyncio.sleep(0.05 + self._chance.random() * 0.1)
                continue
            cursor = messages[-1].number + 1
            admitted = guard.admit(_as_batch(partition, messages, len(log) - 1))
            self._dropped[partition] = self._dropped.get(partition, 0) + admitted.redelivered
            if admitted.batch is not None:
                await intake.received(admitted.batch)


def _as_batch(partition: str, messages: list[Message], newest: int) -> RawBatch:
    return RawBatch(
        partition,
        [message.body for message in messages],
        [message.number for message in messages],
        [f"at {message.number}" for message in messages],
        [message.time_ms for message in messages],
        ["key"] * len(messages),
        lambda _: {},
        newest,
    )
