"""Workers are killed with SIGKILL, at any moment: nothing is lost, nothing comes out of turn."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness.books import discrepancies
from harness.receiver import Effect
from harness.verdict import Verdict
from harness.worlds import Worker, World, open_world

INTERVAL_S = 0.5
"""Between two checkpoints of a partition."""
LATENCY_S = 1.0
"""What a checkpoint may take besides, on a machine with more to do than it can."""
RATE_PER_S = 40.0
PARTITIONS = 4
WORKERS = 2
AT_WORK = 0.8
"""The share of kills that wait until there is work to hit; the others hit starts and take-overs."""


@dataclass
class Life:
    """What became of a world."""

    world: World
    killed: list[Worker] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    discrepancies: list[str] = field(default_factory=list)

    @property
    def bound(self) -> int:
        """How many effects may repeat: those of the last interval and latency before each kill.

        That is the rate times (interval + latency), with what was in flight, counted instead of guessed.
        """
        ends = {worker.pid: worker.ended_s or 0.0 for worker in self.killed}
        return sum(
            effect.at_s >= ends[effect.pid] - INTERVAL_S - LATENCY_S
            for effect in self.world.receiver.effects
            if effect.pid in ends
        )

    def killed_at_work(self) -> int:
        """Workers that had an effect before they were killed."""
        return len(
            {worker.pid for worker in self.killed} & {each.pid for each in self.world.receiver.effects}
        )

    def taken_back_s(self) -> list[float]:
        """Of every repeat, how long before its worker died or lost the partition the effect had happened."""
        ends = {worker.pid: worker.ended_s or 0.0 for worker in self.killed}
        assignments = {worker.pid: worker.assignments() for worker in self.world.workers}
        taken_back = []
        for before, again in self.verdict.repeats:
            lost_s = max(
                at_s
                for partition, at_s in assignments[again.pid]
                if partition == again.position.partition and at_s <= again.at_s
            )
            taken_back.append(min(ends.get(before.pid, lost_s), lost_s) - before.at_s)
        return taken_back

    def after_kills(self) -> list[Effect]:
        """The repeats of what a killed worker had done."""
        pids = {worker.pid for worker in self.killed}
        return [repeat.again for repeat in self.verdict.repeats if repeat.before.pid in pids]


async def live(life: Life, kills: int) -> None:
    """Kill workers, one, one twice within a second, or all at once, and let others take their places."""
    world, rng = life.world, life.world.rng
    world.receiver.delay_s = lambda: rng.uniform(0, 0.03)
    async with world.fed(RATE_PER_S):
        alive = [await world.start() for _ in range(WORKERS)]
        while len(life.killed) < kills:
            await asyncio.sleep(rng.uniform(0.1, 3))
            kind = rng.random()
            if rng.random() < AT_WORK:
                pids = await someone_at_work(world, alive)
                alive.sort(key=lambda worker: worker.pid in pids)
            doomed = list(alive) if kind < 0.15 else [alive[-1]]
            await replace(life, alive, doomed)
            if 0.15 <= kind < 0.35:  # it dies again while it recovers
                await asyncio.sleep(rng.uniform(0.1, 1))
                await replace(life, alive, [alive[-1]])
        for worker in alive:
            await world.until_reading(worker)
    life.verdict = await world.settled()
    codes = [await worker.stop() for worker in alive]
    life.discrepancies = await discrepancies(world, world.truth())
    life.discrepancies += [f"a worker stopped with {code}" for code in codes if code != 0]


async def someone_at_work(world: World, alive: list[Worker]) -> set[int]:
    """Wait until one of them has effects, and gives whose."""
    since_s = time.time()
    pids = {worker.pid for worker in alive}
    await world.until(lambda: pids & world.at_work(since_s), "a worker is at work")
    return pids & world.at_work(since_s)


async def replace(life: Life, alive: list[Worker], doomed: list[Worker]) -> None:
    """Kill workers at once and start as many."""
    for worker in doomed:
        worker.process.kill()
    for worker in doomed:
        alive.remove(worker)
        await worker.kill()
        life.killed.append(worker)
        alive.append(await life.world.start())


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_no_kill_loses_an_event_or_turns_two_round(
    effort, seed, figure, explain, tmp_path: Path, blob_state
):
    kills = effort.pick(short=12, full=200, deep=1_000)
    worlds = effort.pick(short=2, full=2, deep=4)
    lives: list[Life] = []

    async def world(number: int) -> None:
        async with open_world(tmp_path / str(number), seed + number, PARTITIONS) as opened:
            # One of them has its state in Azure Storage, the others on a disk.
            state = {"checkpoint_interval_s": INTERVAL_S}
            opened.configure(state=blob_state | state if number == 0 else state)
            lives.append(Life(opened))
            await live(lives[-1], kills // worlds + (number < kills % worlds))

    async with asyncio.TaskGroup() as tasks:
        for number in range(worlds):
            tasks.create_task(world(number))
    verdicts = [life.verdict for life in lives]
    explain("\n".join(life.world.trouble(life.verdict.faults + life.discrepancies) for life in lives))
    repeats = sum(len(life.after_kills()) for life in lives)
    figure("kills", sum(len(life.killed) for life in lives), "kills", ">=", kills)
    figure("kills-of-a-worker-at-work", sum(life.killed_at_work() for life in lives), "kills")
    figure("kills-events", sum(verdict.expected for verdict in verdicts), "events")
    figure("kills-lost", sum(len(verdict.lost) for verdict in verdicts), "events", "==", 0)
    figure("kills-unaccounted", sum(len(life.discrepancies) for life in lives), "events", "==", 0)
    figure("kills-out-of-order", sum(len(verdict.out_of_order) for verdict in verdicts), "events", "==", 0)
    figure("kills-not-called-for", sum(len(verdict.uncalled) for verdict in verdicts), "events", "==", 0)
    figure("kills-repeats", repeats, "events", "<=", sum(life.bound for life in lives))
    longest_s = max((each for life in lives for each in life.taken_back_s()), default=0.0)
    figure("kills-work-taken-back", longest_s, "s")
    figure("kills-repeats-by-take-overs", sum(len(v.repeats) for v in verdicts) - repeats, "events")
    behind = sum(len(v.twice_behind_keys) + len(v.dropped_behind_keys) for v in verdicts)
    figure("kills-repeats-behind-keys", behind, "events", "==", 0)
