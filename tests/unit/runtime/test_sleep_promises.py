"""What comes of the order when the process or the hub sleeps, and nobody notices."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import encode, new_snapshot
from consumer.events import Checkpoint
from consumer.runtime.clock import SystemClock
from consumer.runtime.engine import Reader

from .conftest import POLICY, Recorder, batch, partition_id, running, versions


class LeapingClock(SystemClock):
    """Goes on by so much at once, as it does for a process that was frozen."""

    ahead_ms = 0
    looks = 0

    def now_ms(self) -> int:
        self.looks += 1
        return super().now_ms() + self.ahead_ms

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_ms / 1_000


async def test_time_that_was_slept_through_releases_nothing(bench):
    """What came meanwhile has not been read yet: that nothing came does not mean that nothing was there."""
    recorder, clock = Recorder(), LeapingClock()
    policy = replace(POLICY, sequencer=SequencerLimits(window_ms=200), idle_margin_ms=5_000)
    first, second, third = versions(3)

    async with bench([running(recorder)], policy=policy, clock=clock) as it:
        await it.source.intake.assigned("0")
        now_ms = clock.now_ms()
        await it.source.intake.received(batch(second, time_ms=now_ms))
        await it.until(lambda: it.engine.status().partitions[0].held == 1)
        clock.ahead_ms = 60_000
        ticked = clock.looks + 4
        await it.until(lambda: clock.looks >= ticked)
        await it.source.intake.received(batch(first, first=1, time_ms=now_ms + 100))
        await it.source.intake.received(batch(third, first=2, time_ms=now_ms + 60_000))
        await it.until(lambda: len(recorder.handled) >= 2)

    assert recorder.ids == ["m-1", "m-2"]


async def test_no_processor_is_blamed_for_time_that_was_slept_through(bench):
    gate, clock = asyncio.Event(), LeapingClock()
    recorder = Recorder(before=lambda _: gate.wait())
    async with bench([running(recorder, deadline_s=30)], clock=clock) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(1)))
        await it.until(lambda: len(recorder.attempts) == 1)
        ticked = clock.looks + 4
        await it.until(lambda: clock.looks >= ticked)
        clock.ahead_ms = 60_000
        ticked = clock.looks + 2
        await it.until(lambda: clock.looks >= ticked)
        gate.set()
        await it.until(lambda: it.outcomes().get("handled") == 1)

    assert recorder.attempts == [1]
    assert it.engine.was_clean


async def test_silence_of_a_hub_that_does_not_answer_releases_nothing(bench):
    recorder = Recorder()
    policy = replace(POLICY, sequencer=SequencerLimits(window_ms=100), idle_margin_ms=100)
    first, second, third = versions(3)
    questions = []
    answered = {"0": 0}
    reader = Reader(asked_ms=answered.__getitem__, ask=questions.append)

    async with bench([running(recorder)], policy=policy, reader=reader) as it:
        await it.source.intake.assigned("0")
        now_ms = time.time_ns() // 1_000_000
        await it.source.intake.received(batch(second, time_ms=now_ms))
        await it.until(lambda: len(questions) >= 5)
        assert set(questions) == {"0"}
        assert it.engine.status().partitions[0].held == 1
        await it.source.intake.received(batch(first, third, first=1, time_ms=now_ms + 50))
        await it.until(lambda: it.engine.status().partitions[0].held == 3)
        answered["0"] = time.time_ns() // 1_000_000
        await it.until(lambda: len(recorder.handled) == 3)

    assert recorder.ids == ["m-1", "m-2", "m-3"]


async def test_a_partition_that_is_found_to_be_lost_while_it_drains_spoils_no_stop(bench, store):
    """Who wakes up late may be told to give a partition back before it hears that others have it."""
    gate = asyncio.Event()
    async with bench([running(Recorder(before=lambda _: gate.wait()), deadline_s=60)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(2)))
        await it.until(lambda: it.engine.status().partitions[0].in_flight == 2)
        # Or a write of ours that is still under way would hear of the others at once.
        await it.until(lambda: it.engine._runners["0"].pipeline.is_settled)
        state = await store.load(partition_id("0"))
        theirs = new_snapshot(Checkpoint(99, "99"), "other")
        await store.save(partition_id("0"), theirs.checkpoint, encode(theirs), state.fence)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(it.source.intake.revoked("0", lost=False))
            await it.until(lambda: it.engine.status().partitions[0].state == "draining")
            gate.set()

    assert it.engine.was_clean
