"""Workers of one supervisor are killed at work: others take their places, nothing is lost or out of turn."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness.books import discrepancies
from harness.verdict import Verdict
from harness.worlds import Worker, World, open_world

RATE_PER_S = 40.0
WORKERS = 2
KILLS_MAX = 8
"""In one life of a supervisor: with ten deaths in five minutes it would give up."""


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
            opened.configure(state=blob_state | state if number == 1 else state)
            config = opened.folder / "inturn.yaml"
            config.write_text(json.dumps(json.loads(config.read_text()) | {"workers": WORKERS}))
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
