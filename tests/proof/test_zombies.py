"""Workers are frozen with SIGSTOP until others have their partitions, or unnoticed, and wake up again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness.books import discrepancies
from harness.receiver import Effect
from harness.verdict import Verdict
from harness.worlds import Worker, World, open_world

RATE_PER_S = 40.0
SILENT_WITHIN_S = 15.0
TEMPORARY = 75


@dataclass
class Zombie:
    """A worker that slept while its partitions went to others."""

    worker: Worker
    in_flight: int
    """Effects that were under way when it was frozen."""
    lost: set[str]
    """The partitions that others had when it woke up."""
    woke_s: float

    def deeds(self, effects: list[Effect]) -> list[Effect]:
        """What it did after it woke up, for partitions that it had lost and was not given back."""
        back_s = {
            partition: self.worker.assigned_s(partition, self.woke_s) or float("inf")
            for partition in self.lost
        }
        return [
            effect
            for effect in effects
            if effect.pid == self.worker.pid
            and self.woke_s < effect.at_s < back_s.get(effect.position.partition, 0)
        ]


@dataclass
class Life:
    """What became of a world."""

    world: World
    zombies: list[Zombie] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    discrepancies: list[str] = field(default_factory=list)

    def deeds(self) -> list[tuple[Zombie, Effect]]:
        """What zombies did."""
        effects = self.world.receiver.effects
        return [(zombie, effect) for zombie in self.zombies for effect in zombie.deeds(effects)]


async def live(life: Life, rounds: int, asleep_s: tuple[float, float], watched_s: float) -> None:
    """Freeze a worker in the middle of its work, or idle, let the other take over, and wake it up."""
    world, rng = life.world, life.world.rng
    world.receiver.delay_s = lambda: rng.uniform(0.1, 0.4)
    async with world.fed(RATE_PER_S):
        workers = [await world.start() for _ in range(2)]
        for number in range(rounds):
            for worker in workers:
                await world.until(worker.owned, f"worker {worker.pid} has a partition")
            await asyncio.sleep(rng.uniform(0.5, 3))
            life.zombies.append(
                await freeze(world, rng.choice(workers), rng.uniform(*asleep_s), is_idle=number % 3 == 2)
            )
            await asyncio.sleep(watched_s if number == rounds - 1 else rng.uniform(2, 6))
    life.verdict = await world.settled()
    codes = [await worker.stop() for worker in workers]
    life.discrepancies = await discrepancies(world, world.truth())
    # Who slept through a drain has cut work off in its life, and says so at its end.
    life.discrepancies += [f"a worker stopped with {code}" for code in codes if code not in (0, TEMPORARY)]


async def freeze(world: World, worker: Worker, asleep_s: float, *, is_idle: bool) -> Zombie:
    """Freeze a worker for so long, and longer if nobody has taken its partitions yet."""
    if is_idle:
        world.flows.clear()
        await world.until(lambda: not any(world.receiver.under_way.values()), "nothing is in flight")
        await asyncio.sleep(2)
    else:
        await world.until(lambda: world.receiver.under_way[worker.pid], "it is at work")
    frozen_s, owned, in_flight = time.time(), worker.owned(), world.receiver.under_way[worker.pid]
    worker.freeze()
    world.flows.set()

    def taken() -> set[str]:
        others = [each for each in world.workers if each is not worker]
        return {name for name in owned if any(each.assigned_s(name, frozen_s) for each in others)}

    try:
        await asyncio.sleep(asleep_s)
        await world.until(lambda: taken() == owned, "another worker takes over")
    finally:
        worker.thaw()
    return Zombie(worker, in_flight, taken(), time.time())


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_a_worker_that_wakes_up_too_late_falls_silent(
    effort, seed, figure, explain, tmp_path: Path, blob_state
):
    worlds = effort.pick(short=1, full=2, deep=4)
    rounds = effort.pick(short=1, full=5, deep=25)
    asleep_s = effort.pick(short=(7.5, 8.5), full=(10.0, 40.0), deep=(10.0, 40.0))
    lives: list[Life] = []

    async def world(number: int) -> None:
        async with open_world(tmp_path / str(number), seed + number) as opened:
            state = {"checkpoint_interval_s": 0.5}
            # Few lanes and a slow receiver: a worker has more to do than is in flight.
            processor = {"concurrency": 4}
            opened.configure(state=blob_state | state if number % 2 == 0 else state, processor=processor)
            lives.append(Life(opened))
            await live(lives[-1], rounds, asleep_s, effort.pick(short=5, full=SILENT_WITHIN_S, deep=60))

    async with asyncio.TaskGroup() as tasks:
        for number in range(worlds):
            tasks.create_task(world(number))
    verdicts = [life.verdict for life in lives]
    deeds = [deed for life in lives for deed in life.deeds()]
    late = [f"{effect}, {effect.at_s - zombie.woke_s:.1f} s after it woke up" for zombie, effect in deeds]
    explain("\n".join(life.world.trouble(life.verdict.faults + life.discrepancies) for life in lives))
    explain("\n".join(["What zombies did:", *late[-50:]]))
    zombies = [zombie for life in lives for zombie in life.zombies]
    silent_after_s = max((effect.at_s - zombie.woke_s for zombie, effect in deeds), default=0.0)
    figure("zombies", len(zombies), "freezes", ">=", effort.pick(short=1, full=10, deep=100))
    figure("zombies-at-work", sum(zombie.in_flight > 0 for zombie in zombies), "freezes")
    figure("zombies-events", sum(verdict.expected for verdict in verdicts), "events")
    figure("zombies-lost", sum(len(verdict.lost) for verdict in verdicts), "events", "==", 0)
    figure("zombies-unaccounted", sum(len(life.discrepancies) for life in lives), "events", "==", 0)
    figure("zombies-out-of-order", sum(len(v.out_of_order) for v in verdicts), "events", "==", 0)
    figure("zombies-not-called-for", sum(len(v.uncalled) for v in verdicts), "events", "==", 0)
    figure("zombies-repeats", sum(len(verdict.repeats) for verdict in verdicts), "events")
    figure("zombies-effects-after-waking", len(deeds), "effects")
    figure("zombies-silent-after", silent_after_s, "s", "<=", SILENT_WITHIN_S)
    behind = sum(len(v.twice_behind_keys) + len(v.dropped_behind_keys) for v in verdicts)
    figure("zombies-repeats-behind-keys", behind, "events", "==", 0)


@contextmanager
def asleep(who: str, world: World, worker: Worker) -> Iterator[None]:
    """Freeze a worker, or all that the hub says, for as long as the block lasts."""
    if who == "hub":
        with world.hub.faults.stall():
            yield
        return
    worker.freeze()
    try:
        yield
    finally:
        worker.thaw()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("who", ["worker", "hub"])
async def test_what_comes_after_a_sleep_that_nobody_noticed_is_in_turn(
    who, effort, seed, figure, explain, tmp_path: Path
):
    sleeps = effort.pick(short=2, full=8, deep=50)
    async with open_world(tmp_path, seed) as world:
        # It sleeps for longer than its clock stays behind, and nobody is there to take over.
        world.configure(sequence={"window_s": world.window_s, "idle_margin_s": 1.5})
        async with world.fed(4 * RATE_PER_S):
            worker = await world.start()
            await world.until_reading(worker, partitions=4)
            for _ in range(sleeps):
                await asyncio.sleep(world.rng.uniform(0.5, 1.5))
                with asleep(who, world, worker):
                    await asyncio.sleep(world.rng.uniform(2, 4))
        verdict = await world.settled()
        assert await worker.stop() == 0
        found = await discrepancies(world, world.truth())
        explain(world.trouble(verdict.faults + found))
    figure(f"sleeps-of-a-{who}", sleeps, "sleeps")
    figure(f"sleeps-of-a-{who}-events", verdict.expected, "events")
    figure(f"sleeps-of-a-{who}-lost", len(verdict.lost), "events", "==", 0)
    figure(f"sleeps-of-a-{who}-out-of-order", len(verdict.out_of_order), "events", "==", 0)
    figure(f"sleeps-of-a-{who}-not-called-for", len(verdict.uncalled), "events", "==", 0)
    figure(f"sleeps-of-a-{who}-unaccounted", len(found), "events", "==", 0)
