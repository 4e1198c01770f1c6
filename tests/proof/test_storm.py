"""Rebalance storms: workers come and go every few seconds, while the events go on coming.

One world has its state in Azure Storage and every setting as it is by default; there workers join and leave
as one wishes, and no partition may stand still for long. Only at the end some are killed: what they had is
nobody's until their ownership has expired, which takes six load balancing intervals.

The other has its state on a disk and balances load at its fastest. There workers are killed in the middle of
the storm, and still no partition may stand still for long after that.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from harness.books import discrepancies
from harness.standstills import Standstill, standstills
from harness.verdict import Verdict
from harness.worlds import HUB, Worker, World, open_world

PARTITIONS = 8
WORKERS_MAX = 5
RATE_PER_S = 50.0
IDLE_MAX_S = 10.0


class Weather(NamedTuple):
    """How hard it storms."""

    changes: int
    """How many joins and leaves."""
    pause_s: tuple[float, float]
    """Between two of them."""
    killed: float
    """The share of those that leave."""
    kills_afterwards: int = 0


@dataclass
class Storm:
    """What became of a world."""

    world: World
    alive: list[Worker] = field(default_factory=list)
    deeds: list[str] = field(default_factory=list)
    """For a person."""
    changes: int = 0
    over_s: float = 0.0
    """When it was over, and only kills came, in seconds since 1970."""
    killed: list[Worker] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    discrepancies: list[str] = field(default_factory=list)

    async def rage(self, weather: Weather) -> None:
        """Let workers join and leave: one to five of them are there."""
        rng = self.world.rng
        async with asyncio.TaskGroup() as leaving:
            while self.changes < weather.changes:
                await asyncio.sleep(rng.uniform(*weather.pause_s))
                joins = rng.random() < (WORKERS_MAX - len(self.alive)) / (WORKERS_MAX - 1)
                who = None if joins else self.dispensable()
                if who is None and len(self.alive) == WORKERS_MAX:
                    continue
                self.changes += 1
                if who is None:
                    await self.join()
                elif rng.random() < weather.killed:
                    await self.kill(who)
                else:
                    leaving.create_task(self.leave(who))
                    await asyncio.sleep(0)

    def dispensable(self) -> Worker | None:
        """Someone who can leave while another is at work.

        On a busy machine a worker takes long to start. Nobody can take over where nobody is there; and one
        that does not yet hear a signal would not leave but be killed by it.
        """
        at_work = [each for each in self.alive if each.owned()]
        ripe = [
            each for each in self.alive if each.hears_sigterm() and any(each is not one for one in at_work)
        ]
        return self.world.rng.choice(ripe) if ripe else None

    async def join(self) -> None:
        self.alive.append(await self.world.start())
        self.note("joins", self.alive[-1])

    async def kill(self, worker: Worker) -> None:
        self.alive.remove(worker)
        await worker.kill()
        self.killed.append(worker)
        self.note("is killed", worker)

    async def leave(self, worker: Worker) -> None:
        self.alive.remove(worker)
        self.note("leaves", worker)
        self.codes.append(await worker.stop())

    def note(self, what: str, worker: Worker) -> None:
        self.deeds.append(f"{time.time():.1f}: worker {worker.pid} {what}, {len(self.alive)} are there")

    async def until_all_are_read(self) -> None:
        await self.world.until(
            lambda: sum(len(each.owned()) for each in self.alive) == PARTITIONS, "all partitions are read"
        )

    def standstills(self) -> list[Standstill]:
        return standstills(self.world, self.killed)

    def by_hand_over(self) -> int:
        """Repeats of what a worker did that was not killed."""
        pids = {worker.pid for worker in self.killed}
        return sum(repeat.before.pid not in pids for repeat in self.verdict.repeats)

    def story(self) -> str:
        """What happened, for a person."""
        faults = [f"a worker ended with {code}" for code in self.codes if code]
        longest = [str(each) for each in self.standstills()[:8]]
        faults += [f"repeated: {each.again} after {each.before}" for each in self.verdict.repeats[:10]]
        trouble = self.world.trouble(self.verdict.faults + self.discrepancies + faults)
        return "\n".join([trouble, *self.deeds, *longest])


async def live(storm: Storm, weather: Weather) -> None:
    """Let it come, rage and go."""
    world = storm.world
    await storm.join()
    await storm.join()
    async with world.fed(RATE_PER_S):
        await storm.until_all_are_read()
        await storm.rage(weather)
        await storm.until_all_are_read()
        storm.over_s = time.time()
        for _ in range(weather.kills_afterwards):
            await storm.join()
            await world.until(lambda: all(each.owned() for each in storm.alive), "every worker has a share")
            await storm.kill(world.rng.choice(storm.alive))
            await storm.until_all_are_read()
    storm.verdict = await world.settled()
    for worker in storm.alive:
        storm.codes.append(await worker.stop())
    storm.discrepancies = await discrepancies(world, world.truth())


def by_default(world: World) -> dict[str, Any]:
    """The source with every setting as it is when nobody says anything."""
    return {"type": "eventhub", "hub": HUB, "connection_string": world.hub.connection_string()}


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_workers_come_and_go_and_no_partition_waits(
    effort, seed, figure, explain, tmp_path: Path, blob_state
):
    changes = effort.pick(short=6, full=50, deep=500)
    pause_s = effort.pick(short=(1.5, 4.0), full=(2.0, 8.0), deep=(0.5, 10.0))
    wished = Weather(changes, pause_s, killed=0.0, kills_afterwards=effort.pick(short=1, full=3, deep=10))
    fierce = Weather(changes, pause_s, killed=0.4)
    del blob_state["checkpoint_interval_s"]
    async with (
        open_world(tmp_path / "wished", seed, PARTITIONS) as first,
        open_world(tmp_path / "fierce", seed + 1, PARTITIONS) as second,
    ):
        first.configure(source=by_default(first), state=blob_state)
        second.configure()
        storms = Storm(first), Storm(second)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(live(storms[0], wished))
            tasks.create_task(live(storms[1], fierce))
    for storm in storms:
        explain(storm.story())
    state_figures(figure, storms, changes)
    # A few changes on a busy machine say little about time: then it is only printed.
    idle_goal = effort.pick(short=(), full=("<=", IDLE_MAX_S), deep=("<=", IDLE_MAX_S))
    state_idle_figures(figure, idle_goal, *storms)


def state_figures(figure, storms: tuple[Storm, Storm], changes: int) -> None:
    """Of both worlds together, but for what depends on how long an ownership lasts."""
    verdicts = [storm.verdict for storm in storms]
    figure("storm-joins-and-leaves", min(storm.changes for storm in storms), "changes", ">=", changes)
    figure("storm-kills", sum(len(storm.killed) for storm in storms), "kills")
    figure("storm-events", sum(verdict.expected for verdict in verdicts), "events")
    figure("storm-lost", sum(len(verdict.lost) for verdict in verdicts), "events", "==", 0)
    figure("storm-out-of-order", sum(len(verdict.out_of_order) for verdict in verdicts), "events", "==", 0)
    figure("storm-not-called-for", sum(len(verdict.uncalled) for verdict in verdicts), "events", "==", 0)
    figure("storm-unaccounted", sum(len(storm.discrepancies) for storm in storms), "events", "==", 0)
    behind = sum(len(v.twice_behind_keys) + len(v.dropped_behind_keys) for v in verdicts)
    figure("storm-repeats-behind-keys", behind, "events", "==", 0)
    figure("storm-repeats", sum(len(verdict.repeats) for verdict in verdicts), "events")
    figure("storm-repeats-by-hand-overs", sum(storm.by_hand_over() for storm in storms), "events", "==", 0)
    figure("storm-exits-not-0", sum(code != 0 for storm in storms for code in storm.codes), "workers")


def state_idle_figures(figure, goal, wished: Storm, fierce: Storm) -> None:
    """How long partitions stood still; when a second worker is killed with one, the waiting begins anew."""
    planned = [each.took_s for each in wished.standstills() if each.from_s < wished.over_s]
    after = [each.since_kill_s for each in wished.standstills() if each.from_s >= wished.over_s]
    figure("storm-longest-idle", max(planned, default=0.0), "s", *goal)
    figure("storm-longest-idle-after-kill", max(after, default=0.0), "s")
    amid_kills = [each.since_kill_s for each in fierce.standstills()]
    figure("storm-longest-idle-fastest-with-kills", max(amid_kills, default=0.0), "s", *goal)
