"""Workers are asked to stop at any moment: they finish what they began, repeat nothing, and lose nothing."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness.books import discrepancies
from harness.verdict import Verdict
from harness.worlds import Worker, World, open_world

RATE_PER_S = 40.0
STOPS_WITHIN_S = 20.0
BACK_PRESSURE = {"in_flight_max": 6}
"""Few enough that a receiver which does not answer soon makes the source pause."""


@dataclass
class Stop:
    """One worker that was asked to stop."""

    moment: str
    code: int
    took_s: float


@dataclass
class Life:
    """What became of a world."""

    world: World
    stops: list[Stop] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    discrepancies: list[str] = field(default_factory=list)


Moment = Callable[[World, Worker], Awaitable[None]]


async def while_it_starts(world: World, worker: Worker) -> None:
    """From when it can hear a signal at all."""
    await world.until(worker.hears_sigterm, "it hears SIGTERM")
    await asyncio.sleep(world.rng.uniform(0, 0.8))


async def while_it_is_assigned(world: World, worker: Worker) -> None:
    await world.until_reading(worker)
    await asyncio.sleep(world.rng.uniform(0, 0.1))


async def at_work(world: World, worker: Worker) -> None:
    await world.until_reading(worker)
    await asyncio.sleep(world.rng.uniform(0, 1.5))
    await world.until(lambda: world.receiver.under_way[worker.pid], "something is in flight", 15)


async def while_it_is_paused(world: World, worker: Worker) -> None:
    """Nothing is answered until the limit is reached; it has to finish all the same."""
    await world.until_reading(worker)
    world.receiver.takes.clear()
    try:
        await world.until(lambda: world.receiver.under_way[worker.pid], "something waits", 15)
        await asyncio.sleep(world.rng.uniform(1, 2.5))
    finally:
        asyncio.get_running_loop().call_later(world.rng.uniform(0.1, 1), world.receiver.takes.set)


async def while_retries_wait(world: World, worker: Worker) -> None:
    """The receiver takes nothing for a while, and goes on so while the worker is stopping."""
    await world.until_reading(worker)
    well_again_s = time.monotonic() + world.rng.uniform(1, 3)
    world.receiver.refuses = lambda: time.monotonic() < well_again_s
    await asyncio.sleep(world.rng.uniform(0.2, 1))


async def while_a_checkpoint_is_written(world: World, worker: Worker) -> None:
    """A database that another holds makes the write last; for other stores, aim at where it should be."""
    await world.until_reading(worker)
    done = len(world.receiver.effects)
    await world.until(lambda: len(world.receiver.effects) > done, "an effect", 15)
    await asyncio.sleep(0.5 * world.rng.random())
    file = world.folder / "state.sqlite"
    if not file.exists():
        return
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    await asyncio.sleep(0.6)  # longer than the interval: now every partition wants to write

    def let_go() -> None:
        holder.execute("ROLLBACK")
        holder.close()

    asyncio.get_running_loop().call_later(world.rng.uniform(0.1, 0.5), let_go)


async def while_another_takes_over(world: World, worker: Worker) -> None:
    """Another one has just come, and is taking its share."""
    await world.until_reading(worker)
    other = await world.start()
    await world.until(lambda: other.owned() or other.has_ended, "the other one has a share")
    await asyncio.sleep(world.rng.uniform(0, 0.5))


MOMENTS: list[Moment] = [
    at_work,
    while_another_takes_over,
    while_retries_wait,
    while_it_is_paused,
    while_it_starts,
    while_a_checkpoint_is_written,
    while_it_is_assigned,
    at_work,
]
OF_A_START = (while_it_starts, while_it_is_assigned)
"""Moments for a worker that is started for it, beside another if there is one."""


async def live(life: Life, stops: int) -> None:
    """Stop a worker at one moment after the other; the next one begins where it ended."""
    world, rng = life.world, life.world.rng
    world.receiver.delay_s = lambda: rng.uniform(0.01, 0.1)
    async with world.fed(RATE_PER_S):
        offset = rng.randrange(len(MOMENTS))
        for number in range(stops):
            moment = MOMENTS[(number + offset) % len(MOMENTS)]
            worker = None if moment in OF_A_START else running(world)
            worker = worker or await world.start()
            await moment(world, worker)
            # Until it can finish what it does, Ctrl-C ends with the code that shells expect.
            is_terminal = moment is not while_it_starts and rng.random() < 0.25
            life.stops.append(
                await stop(worker, moment.__name__, signal.SIGINT if is_terminal else signal.SIGTERM)
            )
        last = running(world) or await world.start()
        await world.until_reading(last)
    life.verdict = await world.settled()
    for worker in world.workers:
        if not worker.has_ended:
            life.stops.append(await stop(worker, "idle", signal.SIGTERM))
    life.discrepancies = await discrepancies(world, world.truth())


def running(world: World) -> Worker | None:
    """The worker that has run longest."""
    return next((each for each in world.workers if not each.has_ended), None)


async def stop(worker: Worker, moment: str, number: signal.Signals) -> Stop:
    began_s = time.monotonic()
    code = await worker.stop(number)
    return Stop(moment.replace("_", " "), code, time.monotonic() - began_s)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_a_stop_finishes_what_was_begun_and_repeats_nothing(
    effort, seed, figure, explain, tmp_path: Path, blob_state
):
    stops = effort.pick(short=8, full=100, deep=500)
    worlds = effort.pick(short=2, full=2, deep=4)
    lives: list[Life] = []

    async def world(number: int) -> None:
        state = {"checkpoint_interval_s": 0.5}
        kept = blob_state | state if number == 0 else state
        async with open_world(tmp_path / str(number), seed + number) as opened:
            opened.configure(state=kept, limits=BACK_PRESSURE)
            lives.append(Life(opened))
            await live(lives[-1], stops // worlds)

    async with asyncio.TaskGroup() as tasks:
        for number in range(worlds):
            tasks.create_task(world(number))
    done = [stop for life in lives for stop in life.stops]
    verdicts = [life.verdict for life in lives]
    repeats = [repeat for verdict in verdicts for repeat in verdict.repeats]
    for life in lives:
        faults = [f"repeated: {each.again} after {each.before}" for each in life.verdict.repeats]
        faults += [f"ended with {each.code}: {each}" for each in life.stops if each.code]
        explain(life.world.trouble(life.verdict.faults + life.discrepancies + faults))
    explain(str(Counter(stop.moment for stop in done)))
    figure("stops", len(done), "stops", ">=", stops)
    figure("stops-events", sum(verdict.expected for verdict in verdicts), "events")
    figure("stops-exit-0", 100 * sum(stop.code == 0 for stop in done) / len(done), "%", "==", 100)
    figure("stops-longest", max(stop.took_s for stop in done), "s", "<=", STOPS_WITHIN_S)
    figure("stops-lost", sum(len(verdict.lost) for verdict in verdicts), "events", "==", 0)
    figure("stops-unaccounted", sum(len(life.discrepancies) for life in lives), "events", "==", 0)
    figure("stops-out-of-order", sum(len(verdict.out_of_order) for verdict in verdicts), "events", "==", 0)
    figure("stops-not-called-for", sum(len(verdict.uncalled) for verdict in verdicts), "events", "==", 0)
    figure("stops-repeats", len(repeats), "events", "==", 0)
