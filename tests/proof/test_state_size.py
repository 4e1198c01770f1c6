"""What is remembered takes little room, and no event waits while it is stored."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.figures import Effort
from harness.large_state import START_MS, state_of

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.flights import ProcessorPlan
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import decode, encode
from consumer.events import Checkpoint

TESTS = Path(__file__).parents[1]
STATED = 200_000
"""Objects and identities for which it is said how long a snapshot takes: the default caps."""


@pytest.mark.alone
@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("what", "name", "goal"), [("objects", "object", 120), ("identities", "identity", 40)]
)
def test_a_million_of_them_fit_into_little_memory(
    what: str, name: str, goal: int, effort: Effort, figure: Callable[..., None]
) -> None:
    count = effort.pick(short=200_000, full=1_000_000, deep=1_000_000)
    # In a process of its own, where nothing else has made room before.
    path = os.pathsep.join((str(TESTS), str(TESTS.parent)))
    command = [sys.executable, "-m", "harness.large_state", what, str(count)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )

    figure(f"memory-per-{name}", round(int(done.stdout) / count, 1), "bytes", "<=", goal)


@pytest.mark.alone
async def test_a_snapshot_holds_the_event_loop_for_a_moment_only(
    effort: Effort, figure: Callable[..., None]
) -> None:
    count = effort.pick(short=20_000, full=STATED, deep=STATED)
    limits = SequencerLimits(0, objects_max=count)
    policy = PipelinePolicy(limits, identities_max=count, dedupe_window_ms=10**9)
    state = state_of(count, Checkpoint(0, "0"))
    pipeline = Pipeline(policy, [ProcessorPlan("only")], Admission(None, None), Catalogue(), state)

    took_s = []
    for _ in range(20):
        began_s = time.thread_time()
        snapshot = pipeline.snapshot()
        took_s.append(time.thread_time() - began_s)
    encoded, longest_s = await _longest_turn_during(lambda: encode(snapshot))

    known = decode(encoded)
    assert (len(known.objects), len(known.identities)) == (count, count)
    assert known.watermark_ms == START_MS + count
    goal: tuple[Any, ...] = ("<=", 20) if effort is not Effort.SHORT else ()
    size = f"{count // 1_000}k"
    figure(f"snapshot-loop-hold-{size}", max(took_s) * 1_000, "ms", *goal)
    figure(f"snapshot-longest-turn-while-encoding-{size}", longest_s * 1_000, "ms")
    figure(f"snapshot-size-{size}", round(len(encoded) / 1_048_576, 2), "MiB")


async def _longest_turn_during(work: Callable[[], bytes]) -> tuple[bytes, float]:
    """Run something in a thread, as the writer does; gives the longest time the loop did not turn for."""
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(asyncio.to_thread(work))
        longest_s, before_s = 0.0, time.perf_counter()
        while not working.done():
            await asyncio.sleep(0)
            now_s = time.perf_counter()
            longest_s, before_s = max(longest_s, now_s - before_s), now_s
    return working.result(), longest_s
