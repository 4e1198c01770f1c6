"""Whoever is against the replicas: kills, freezes, steals, outages, at moments drawn from the seed."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from simulation.loop import Owner
from simulation.processors import KINDS
from simulation.servers import Weather

if TYPE_CHECKING:
    from simulation.world import Replica, World


class Plan(NamedTuple):
    """How much of what, in one run."""

    lasts_s: float = 180.0
    kills: int = 6
    freezes: int = 2
    steals: int = 2
    moves: int = 1
    restarts: int = 1
    store_outages: int = 2
    letter_outages: int = 1
    processor_outages: int = 3
    hub_outages: int = 1
    bad_weather: float = 0.04
    """Requests that fail before, and that many that fail after they took effect."""


QUIET = Plan(
    kills=0, freezes=0, steals=0, moves=3, restarts=4, store_outages=0, letter_outages=0, processor_outages=0,
    hub_outages=0, bad_weather=0.0,
)  # fmt: skip
"""Only graceful stops and hand-overs: nothing may repeat."""


@dataclass
class Faults:
    """What was done."""

    kills: int = 0
    freezes: int = 0
    steals: int = 0
    moves: int = 0
    restarts: int = 0
    outages: int = 0
    failed_requests: int = 0


class Nemesis:
    """Goes through its plan, and ends it before it says that it is through."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._plan: Plan = world.setup.plan
        self._begin_s = 8.0
        self._end_s = self._plan.lasts_s - 20.0

    async def rage(self) -> None:
        """Do everything in the plan; returns when all of it is over."""
        world, plan, loop = self._world, self._plan, self._world.loop
        for weather in (world.store_weather, world.letters_weather):
            weather.before = weather.after = plan.bad_weather
            weather.late = weather.slow = plan.bad_weather / 2
        actions = [
            (self._kill, plan.kills),
            (self._freeze, plan.freezes),
            (self._steal, plan.steals),
            (self._move, plan.moves),
            (self._restart, plan.restarts),
            (self._store_outage, plan.store_outages),
            (self._letter_outage, plan.letter_outages),
            (self._processor_outage, plan.processor_outages),
            (self._hub_outage, plan.hub_outages),
        ]
        moments = sorted(
            (self._chance.uniform(self._begin_s, self._end_s), number, action)
            for number, (action, count) in enumerate(actions)
            for _ in range(count)
        )
        async with asyncio.TaskGroup() as tasks:
            for at_s, _, action in moments:
                await asyncio.sleep(max(0.0, at_s - loop.time()))
                tasks.create_task(action())
        await asyncio.sleep(max(0.0, plan.lasts_s - loop.time()))
        world.faults.failed_requests = world.store._wire.failed + world.letters._wire.failed

    def _running(self) -> list[Replica]:
        return [
            replica
            for replica in self._world.replicas
            if replica.owner is not None and not replica.owner.is_dead and not replica.is_ended
        ]

    async def _victim(self) -> Replica:
        """A replica that runs; waits until there is one."""
        while True:
            running = [
                replica
                for replica in self._running()
                if replica.owner and not replica.owner.is_frozen and replica.owner.kill_after is None
            ]
            if running:
                return self._chance.choice(running)
            await asyncio.sleep(0.5)

    async def _kill(self) -> None:
        world, loop = self._world, self._world.loop
        replica = await self._victim()
        owner = replica.owner
        assert owner is not None
        wait_s = self._chance.choice((0.1, 1.0, 4.0, 25.0))

        def start_again(_: Owner) -> None:
            world.faults.kills += 1
            loop.outside(wait_s, lambda: None if replica.owner is not owner else world.start(replica))

        owner.on_kill = start_again
        owner.kill_after = self._chance.randrange(200)
        await asyncio.sleep(2)
        loop.kill(owner)
        await asyncio.sleep(wait_s)

    async def _freeze(self) -> None:
        loop = self._world.loop
        replica = await self._victim()
        owner = replica.owner
        assert owner is not None
        self._world.faults.freezes += 1
        since_s = loop.time()
        loop.freeze(owner)
        await asyncio.sleep(
            self._chance.choice((3.0, 8.0, 16.0, 30.0, 45.0)) * self._chance.uniform(0.8, 1.2)
        )
        self._world.audit.thawed(owner.name, since_s)
        loop.thaw(owner)

    async def _steal(self) -> None:
        partition = self._chance.choice(list(self._world.ownership.records))
        holder = self._world.ownership.records[partition].owner
        others = [replica.name for replica in self._running() if replica.name != holder]
        if not others:
            await asyncio.sleep(1)
            return await self._steal()
        self._world.faults.steals += 1
        self._world.ownership.give(partition, self._chance.choice(others))
        return None

    async def _move(self) -> None:
        records = self._world.ownership.records
        partition = self._chance.choice(list(records))
        records[partition].is_to_move = True
        self._world.faults.moves += 1

    async def _restart(self) -> None:
        replica = await self._victim()
        self._world.faults.restarts += 1
        owner = replica.owner
        await self._world.stop(replica)
        if replica.owner is owner and replica.is_ended:
            await asyncio.sleep(self._chance.uniform(0.1, 3))
            if replica.owner is owner:  # two may have stopped it, and one has started it again
                self._world.start(replica)

    async def _store_outage(self) -> None:
        await self._outage(self._world.store_weather, (2.0, 6.0, 25.0))

    async def _letter_outage(self) -> None:
        await self._outage(self._world.letters_weather, (2.0, 10.0, 25.0))

    async def _outage(self, weather: Weather, lengths_s: tuple[float, ...]) -> None:
        self._world.faults.outages += 1
        weather.is_away = True
        await asyncio.sleep(self._chance.choice(lengths_s) * self._chance.uniform(0.8, 1.2))
        weather.is_away = False

    async def _hub_outage(self) -> None:
        self._world.faults.outages += 1
        self._world.hub.is_away = True
        await asyncio.sleep(self._chance.choice((4.0, 12.0, 20.0)) * self._chance.uniform(0.8, 1.2))
        self._world.hub.is_away = False

    async def _processor_outage(self) -> None:
        name = self._chance.choice(KINDS).name
        self._world.faults.outages += 1
        self._world.moods.away.add(name)
        await asyncio.sleep(self._chance.choice((3.0, 8.0, 20.0)) * self._chance.uniform(0.8, 1.2))
        self._world.moods.away.discard(name)
