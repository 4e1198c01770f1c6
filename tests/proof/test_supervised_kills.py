"""Workers of one supervisor are killed at work: others soon take over, nothing is lost or out of turn."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from harness.beacons import beacons, until_handled_anew
from harness.books import discrepancies
from harness.verdict import Verdict
from harness.worlds import HUB, Worker, World, open_world

RATE_PER_S = 40.0
WORKERS = 2
KILLS_MAX = 8
"""In one life of a supervisor: with ten deaths in five minutes it would give up."""
IDLE_S = 5.0
"""A worker is started a second after the first death in its place, and has to read two seconds later; the
rest is what a crowded machine takes. Until an ownership expires it would be 12 to 18 s."""


@dataclass
class Life:
    """What became of a world."""

    world: World
    killed: set[int] = field(default_factory=set)
    verdict: Verdict = field(default_factory=Verdict)
    troubles: list[str] = field(default_factory=list)

    def killed_at_work(self) -> int:
        """Workers that had an effect before they were killed."""
        return len(self.killed & {effect.pid for effect in self.world.receiver.effects})


def configure(world: World, **sections: Any) -> None:
    """Have what is started run several workers."""
    config = world.folder / world.configure(**sections)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"workers": WORKERS}))


def pids(supervisor: Worker) -> set[int]:
    """All workers that the supervisor has ever started."""
    return {line["pid"] for line in supervisor.logged("A worker was started.")}


async def live(life: Life, kills: int) -> None:
    """Kill workers, one or all at once, half of them at work, and have the supervisor replace them."""
    world, rng = life.world, life.world.rng
    world.receiver.delay_s = lambda: rng.uniform(0, 0.03)
    supervisor = await world.start()
    async with world.fed(RATE_PER_S):
        await world.until_reading(supervisor, WORKERS)
        while len(life.killed) < kills:
            await asyncio.sleep(rng.uniform(0.1, 3))
            alive = pids(supervisor) - life.killed
            if rng.random() < 0.5:
                since_s = time.time()
                await world.until(lambda: alive & world.at_work(since_s), "a worker is at work")  # noqa: B023
                alive = alive & world.at_work(since_s) or alive
            doomed = alive if rng.random() < 0.15 else {rng.choice(sorted(alive))}
            for pid in doomed:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            life.killed |= doomed
            expected = WORKERS + len(life.killed)
            await world.until(lambda: len(pids(supervisor)) >= expected, "those killed are replaced")  # noqa: B023
        await world.until_reading(supervisor, WORKERS + kills)
    life.verdict = await world.settled()
    code = await supervisor.stop()
    life.troubles = await discrepancies(world, world.truth())
    life.troubles += [f"the supervisor stopped with {code}"] if code else []


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_no_kill_of_a_supervised_worker_loses_an_event_or_turns_two_round(
    effort, seed, figure, explain, tmp_path: Path, blob_state
):
    kills = effort.pick(short=3, full=KILLS_MAX, deep=KILLS_MAX)
    worlds = effort.pick(short=1, full=2, deep=8)
    lives: list[Life] = []
    for number in range(worlds):
        async with open_world(tmp_path / str(number), seed + number) as opened:
            state = {"checkpoint_interval_s": 0.5}
            configure(opened, state=blob_state | state if number == 1 else state)
            lives.append(Life(opened))
            await live(lives[-1], kills)
    verdicts = [life.verdict for life in lives]
    explain("\n".join(life.world.trouble(life.verdict.faults + life.troubles) for life in lives))
    behind = sum(len(v.twice_behind_keys) + len(v.dropped_behind_keys) for v in verdicts)
    figure("supervised-kills", sum(len(life.killed) for life in lives), "kills", ">=", kills * worlds)
    figure("supervised-kills-of-a-worker-at-work", sum(life.killed_at_work() for life in lives), "kills")
    figure("supervised-kills-events", sum(verdict.expected for verdict in verdicts), "events")
    figure("supervised-kills-lost", sum(len(verdict.lost) for verdict in verdicts), "events", "==", 0)
    figure("supervised-kills-unaccounted", sum(len(life.troubles) for life in lives), "events", "==", 0)
    figure("supervised-kills-out-of-order", sum(len(v.out_of_order) for v in verdicts), "events", "==", 0)
    figure("supervised-kills-not-called-for", sum(len(v.uncalled) for v in verdicts), "events", "==", 0)
    figure("supervised-kills-repeats-behind-keys", behind, "events", "==", 0)


def shares(supervisor: Worker) -> Counter[str]:
    """By worker, how many partitions were assigned to it and, since, to no other."""
    owners = {line["partition"]: line["worker"] for line in supervisor.logged("A partition was assigned.")}
    return Counter(owners.values())


async def idle_after_a_kill_s(world: World, supervisor: Worker, worker: str) -> float:
    """Kill a worker once both have their share; gives how long it takes until all partitions are at work."""
    await world.until(lambda: shares(supervisor) == {"1": 2, "2": 2}, "both have a share")
    await until_handled_anew(world)
    started = supervisor.logged("A worker was started.")
    os.kill(next(line["pid"] for line in reversed(started) if line["worker"] == worker), signal.SIGKILL)
    return await until_handled_anew(world)


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_what_a_killed_worker_had_goes_on_as_soon_as_another_has_its_place(
    effort, seed, figure, tmp_path: Path, blob_state
):
    """At the settings that users have: nothing is said of how fast partitions change hands."""
    lives = effort.pick(short=1, full=4, deep=40)
    took_s: list[float] = []
    async with open_world(tmp_path, seed) as world:
        source = {"type": "eventhub", "hub": HUB, "connection_string": world.hub.connection_string()}
        configure(world, source=source, state=blob_state)
        async with beacons(world):
            for _ in range(lives):
                supervisor = await world.start()
                for worker in ("1", "2"):  # once each: a second death in one place is waited for longer
                    took_s.append(await idle_after_a_kill_s(world, supervisor, worker))
                assert await supervisor.stop() == 0
    figure("supervised-kills-idle", median(took_s), "s", "<=", IDLE_S)
    figure("supervised-kills-idle-max", max(took_s), "s")
