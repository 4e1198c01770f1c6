"""Outages of everything that a worker depends on, one after the other: the hub, the store, the receiver and
the dead-letter store. Nothing is lost, it soon goes on, and what waits meanwhile does not fill the memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from harness.books import discrepancies
from harness.proxy import FaultProxy, open_proxy
from harness.verdict import Verdict
from harness.worlds import HUB, Worker, World, open_world

PARTITIONS = 4
RATE_PER_S = 80.0
WARM_S = 5.0
GIVE_UP_S = 60.0
RESUMES_WITHIN_S = 10.0
GROWTH_MAX_MB = 64.0


class Resumed(NamedTuple):
    """An outage that is over."""

    of: str
    took_s: float
    """From its end until every partition had a new effect."""


class Part(NamedTuple):
    """Something that can be away."""

    name: str
    leave: Callable[[], object]
    come_back: Callable[[], Awaitable[object]]


@dataclass
class Life:
    """What became of a world."""

    world: World
    parts: list[Part]
    resumed: list[Resumed] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    """Of the worker, from when it had warmed up."""
    verdict: Verdict = field(default_factory=Verdict)
    discrepancies: list[str] = field(default_factory=list)
    code: int | None = None

    async def suffer(self, part: Part, lasts_s: float) -> None:
        """Let a part be away, and note how long it takes until all is well."""
        part.leave()
        await asyncio.sleep(lasts_s)
        await part.come_back()
        self.resumed.append(Resumed(part.name, await until_going_on(self.world)))

    async def watch_memory(self, worker: Worker) -> None:
        while True:
            self.memory_mb.append(resident_mb(worker))
            await asyncio.sleep(0.25)

    @property
    def growth_mb(self) -> float:
        """How much more memory it needed than when all was well."""
        return max(self.memory_mb) - self.memory_mb[0]


def proxied(name: str, proxy: FaultProxy) -> Part:
    """Something that is reached through a proxy: it is gone, and refuses who knocks."""

    def leave() -> None:
        proxy.refuse()
        proxy.reset()

    return Part(name, leave, proxy.heal)


def receiving(world: World) -> Part:
    """The receiver: it takes nothing, and says so."""
    is_away = [False]
    world.receiver.refuses = lambda: is_away[0]

    async def come_back() -> None:
        is_away[0] = False

    return Part("the receiver", lambda: is_away.__setitem__(0, True), come_back)


def resident_mb(worker: Worker) -> float:
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))) / 1024


async def until_going_on(world: World) -> float:
    """Wait until every partition has an effect that it had not before; gives how long it took."""
    began_s, before = time.monotonic(), world.receiver.positions
    while time.monotonic() - began_s < GIVE_UP_S:
        await asyncio.sleep(0.05)
        new = world.receiver.positions - before
        if len({position.partition for position in new}) == PARTITIONS:
            break
    return time.monotonic() - began_s


async def live(life: Life, rounds: int, lasts_s: float, names: list[str]) -> None:
    """Let one part after the other be away."""
    world = life.world
    async with world.fed(RATE_PER_S), asyncio.TaskGroup() as tasks:
        worker = await world.start()
        await world.until_reading(worker, PARTITIONS)
        await asyncio.sleep(WARM_S)
        watching = tasks.create_task(life.watch_memory(worker))
        for _ in range(rounds):
            for part in life.parts:
                if part.name in names:
                    await life.suffer(part, lasts_s)
                    await asyncio.sleep(1)
        watching.cancel()
    life.verdict = await world.settled(120)
    life.code = await worker.stop()
    life.discrepancies = await discrepancies(world, world.truth())


@pytest.mark.slow
@pytest.mark.timeout(1_200)
async def test_no_outage_loses_an_event_or_fills_the_memory(
    effort, seed, figure, explain, tmp_path: Path, azurite, blob_state
):
    names = ["the hub", "the store", "the receiver", "the dead-letter store"]
    names = effort.pick(short=["the store"], full=names, deep=names)
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(open_world(tmp_path, seed, PARTITIONS))
        hub, store, letters = [
            await stack.enter_async_context(open_proxy(port))
            for port in (world.hub.port, azurite.port, azurite.port)
        ]
        configure(world, azurite.port, blob_state, hub.port, store.port, letters.port)
        parts = [
            proxied("the hub", hub),
            proxied("the store", store),
            receiving(world),
            proxied("the dead-letter store", letters),
        ]
        life = Life(world, parts)
        await live(
            life, effort.pick(short=1, full=1, deep=10), effort.pick(short=5, full=30, deep=300), names
        )
    explain(world.trouble(life.verdict.faults + life.discrepancies) + f"\n{life.resumed}")
    figure("outages", len(life.resumed), "outages", ">=", len(names))
    figure("outages-events", life.verdict.expected, "events")
    figure("outages-lost", len(life.verdict.lost), "events", "==", 0)
    figure("outages-out-of-order", len(life.verdict.out_of_order), "events", "==", 0)
    figure("outages-unaccounted", len(life.discrepancies), "events", "==", 0)
    figure("outages-repeats", len(life.verdict.repeats), "events")
    # Not 0 where partitions had to be given up: the store was away for longer than a lease lasts.
    figure("outages-exit-code", -1 if life.code is None else life.code, "code")
    goal = effort.pick(short=(), full=("<=", RESUMES_WITHIN_S), deep=("<=", RESUMES_WITHIN_S))
    figure("outages-resume-longest", max(each.took_s for each in life.resumed), "s", *goal)
    figure("outages-rss-growth", life.growth_mb, "MB", "<=", GROWTH_MAX_MB)


def configure(world: World, azurite: int, state: dict[str, Any], *proxies: int) -> None:
    """Reach everything through a proxy of its own: hub, store and dead letters."""
    hub, store, letters = proxies
    direct = world.hub.connection_string()
    blob = {key: value for key, value in state.items() if key != "checkpoint_interval_s"}
    world.configure(
        source={
            "type": "eventhub",
            "hub": HUB,
            "connection_string": direct.replace(f":{world.hub.port};", f":{hub};"),
        },
        state=state | {"connection_string": state["connection_string"].replace(str(azurite), str(store))},
        dead_letters=blob
        | {
            "connection_string": state["connection_string"].replace(str(azurite), str(letters)),
            "container": f"{state['container']}-letters",
        },
    )
