"""Whatever happens to the connections to the hub and the store: nothing is lost, and it soon goes on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import pytest
from harness.beacons import beacons, until_handled_anew
from harness.books import discrepancies
from harness.proxy import FaultProxy, Way, open_proxy
from harness.verdict import Verdict
from harness.worlds import HUB, Worker, World, open_world

PARTITIONS = 4
RATE_PER_S = 20.0
RESUMES_WITHIN_S = 10.0
OUTAGE_S = 25.0
SUFFIX = {"fast": "", "sdk": "-sdk"}
"""Of the figures, by receive path."""

both_paths = pytest.mark.parametrize("receive", ["fast", "sdk"])


class Fault(NamedTuple):
    """What is done to a connection, and for how long; `heal` ends it."""

    name: str
    begin: Callable[[FaultProxy], object]
    lasts_s: tuple[float, float]


def _reset_and_refuse(proxy: FaultProxy) -> None:
    proxy.refuse()
    proxy.reset()


FAULTS = (
    Fault("reset", FaultProxy.reset, (0.0, 0.0)),
    Fault("reset and refuse", _reset_and_refuse, (0.5, 12.0)),
    Fault("refuse new ones", FaultProxy.refuse, (0.5, 4.0)),
    Fault("black hole", FaultProxy.black_hole, (1.0, 12.0)),
    Fault("black hole for good", lambda proxy: proxy.black_hole(for_good=True), (1.0, 12.0)),
    Fault("black hole outwards", lambda proxy: proxy.black_hole([Way.OUT]), (1.0, 8.0)),
    Fault("black hole inwards", lambda proxy: proxy.black_hole([Way.IN], for_good=True), (1.0, 8.0)),
    Fault("half close by the server", lambda proxy: proxy.half_close(Way.IN), (0.0, 0.0)),
    Fault("half close by the client", lambda proxy: proxy.half_close(Way.OUT), (0.0, 0.0)),
    Fault("slow", lambda proxy: proxy.slow(latency_s=0.3, bytes_per_s=4_000), (1.0, 8.0)),
    Fault("cut after 300 bytes", lambda proxy: proxy.cut_after(300), (0.5, 6.0)),
    Fault("cut after 5,000 bytes", lambda proxy: proxy.cut_after(5_000), (0.5, 6.0)),
)


class Resumed(NamedTuple):
    """A fault that was healed."""

    fault: str
    where: str
    lasted_s: float
    took_s: float
    """From the heal until every partition had handled an event that was sent after it."""

    def __str__(self) -> str:
        return f"{self.took_s:.1f} s after {self.fault} of {self.where} for {self.lasted_s:.1f} s"


@dataclass
class Life:
    """What became of a world."""

    world: World
    hub: FaultProxy
    store: FaultProxy
    resumed: list[Resumed] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    discrepancies: list[str] = field(default_factory=list)
    code: int | None = None


async def suffer(life: Life, fault: Fault, where: str) -> None:
    """Let a fault begin, heal it, and note how long it takes until all is well."""
    rng = life.world.rng
    hit = {"the hub": [life.hub], "the store": [life.store], "both": [life.hub, life.store]}[where]
    for proxy in hit:
        fault.begin(proxy)
    lasted_s = rng.uniform(*fault.lasts_s)
    await asyncio.sleep(lasted_s)
    for proxy in hit:
        await proxy.heal()
    life.resumed.append(Resumed(fault.name, where, lasted_s, await until_handled_anew(life.world)))


async def live(life: Life, faults: int, first: int) -> None:
    """Bring faults of all kinds over the connections of a worker, one after the other."""
    world = life.world
    async with world.fed(RATE_PER_S), beacons(world):
        worker = await world.start()
        await world.until_reading(worker, PARTITIONS)
        for number in range(first, first + faults):
            # Every kind in turn, so that few faults are of many kinds, and every place for each.
            where = ("the hub", "the store", "both")[(number + number // len(FAULTS)) % 3]
            await suffer(life, FAULTS[number % len(FAULTS)], where)
            await asyncio.sleep(world.rng.uniform(0.2, 1.5))
    life.verdict = await world.settled(120)
    life.code = await worker.stop()
    life.discrepancies = await discrepancies(world, world.truth())


@asynccontextmanager
async def proxied_world(folder: Path, seed: int, azurite, state: dict, **source) -> AsyncIterator[Life]:
    """A world whose worker reaches hub and store through proxies alone."""
    async with (
        open_world(folder, seed, PARTITIONS) as world,
        open_proxy(world.hub.port) as hub,
        open_proxy(azurite.port) as store,
    ):
        direct = world.hub.connection_string()
        world.configure(
            source={
                "type": "eventhub",
                "hub": HUB,
                "connection_string": direct.replace(f":{world.hub.port};", f":{hub.port};"),
                **source,
            },
            state=state
            | {"connection_string": state["connection_string"].replace(str(azurite.port), str(store.port))},
        )
        assert str(hub.port) in (folder / "inturn.yaml").read_text()
        yield Life(world, hub, store)


@pytest.mark.slow
@both_paths
@pytest.mark.timeout(1_800)
async def test_no_fault_of_a_connection_loses_an_event_and_all_are_soon_got_over(
    effort, seed, figure, explain, tmp_path: Path, azurite, blob_state, receive
):
    name = f"connection-faults{SUFFIX[receive]}"
    faults = effort.pick(short=12, full=100, deep=2_000)
    worlds = effort.pick(short=3, full=6, deep=6)
    each = -(-faults // worlds)
    lives: list[Life] = []

    async def world(number: int) -> None:
        state = blob_state | {"container": f"{blob_state['container']}-{number}"}
        async with proxied_world(
            tmp_path / str(number), seed + number, azurite, state, receive=receive
        ) as life:
            lives.append(life)
            await live(life, each, number * each)

    async with asyncio.TaskGroup() as tasks:
        for number in range(worlds):
            tasks.create_task(world(number))
    verdicts = [life.verdict for life in lives]
    troubles = [f"it stopped with {life.code}" for life in lives if life.code != 0]
    explain("\n".join(life.world.trouble(life.verdict.faults + life.discrepancies) for life in lives))
    resumed = sorted((each for life in lives for each in life.resumed), key=lambda each: each.took_s)
    explain("\n".join(["The slowest:", *map(str, resumed[-15:])]))
    took_s = [each.took_s for each in resumed]
    figure(name, len(resumed), "faults", ">=", faults)
    figure(f"{name}-events", sum(verdict.expected for verdict in verdicts), "events")
    figure(f"{name}-lost", sum(len(v.lost) for v in verdicts), "events", "==", 0)
    figure(
        f"{name}-out-of-order",
        sum(len(v.out_of_order) for v in verdicts),
        "events",
        "==",
        0,
    )
    unaccounted = sum(len(life.discrepancies) for life in lives) + len(troubles)
    figure(f"{name}-unaccounted", unaccounted, "events", "==", 0)
    figure(f"{name}-not-called-for", sum(len(v.uncalled) for v in verdicts), "events", "==", 0)
    figure(f"{name}-repeats", sum(len(v.repeats) for v in verdicts), "events")
    figure(f"{name}-resume-median", median(took_s), "s")
    figure(f"{name}-resume-max", max(took_s), "s")
    goal = effort.pick(short=(), full=("<=", RESUMES_WITHIN_S), deep=("<=", RESUMES_WITHIN_S))
    figure(f"{name}-resume-p99", quantiles(took_s, n=100, method="inclusive")[98], "s", *goal)


def cpu_s(worker: Worker) -> float:
    """Seconds of a core that a process has used."""
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
@both_paths
@pytest.mark.timeout(240)
async def test_a_hub_that_is_away_is_waited_for_at_little_cost(
    effort, seed, figure, tmp_path: Path, azurite, blob_state, receive
):
    name = f"outage{SUFFIX[receive]}"
    async with (
        proxied_world(tmp_path, seed, azurite, blob_state, receive=receive) as life,
        beacons(life.world),
    ):
        worker = await life.world.start()
        await life.world.until_reading(worker, PARTITIONS)
        await until_handled_anew(life.world)
        _reset_and_refuse(life.hub)
        used_s, began_s = cpu_s(worker), time.monotonic()
        await asyncio.sleep(OUTAGE_S)
        share = (cpu_s(worker) - used_s) / (time.monotonic() - began_s)
        await life.hub.heal()
        took_s = await until_handled_anew(life.world)
    goal = effort.pick(short=(), full=("<=", 5), deep=("<=", 5))
    figure(f"{name}-cpu", 100 * share, "%", *goal)
    figure(f"{name}-resume", took_s, "s", "<=", RESUMES_WITHIN_S)
