"""What comes of the order when the process sleeps, as a frozen or suspended one does, and nobody notices."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import encode, new_snapshot
from consumer.events import Checkpoint

from .conftest import POLICY, Recorder, batch, partition_id, running, versions


async def test_time_that_was_slept_through_releases_nothing(bench):
    """What came meanwhile has not been read yet: that nothing came does not mean that nothing was there."""
    recorder = Recorder()
    policy = replace(POLICY, sequencer=SequencerLimits(window_ms=200), idle_margin_ms=1_000)
    first, second = versions(2)

    async with bench([running(recorder)], policy=policy) as it:
        await it.source.intake.assigned("0")
        now_ms = time.time_ns() // 1_000_000
        await it.source.intake.received(batch(second, time_ms=now_ms))
        await it.until(lambda: it.engine.status().partitions[0].held == 1)
        time.sleep(1.5)  # noqa: ASYNC251 - the whole process
        await asyncio.sleep(0.05)
        await it.source.intake.received(batch(first, first=1, time_ms=now_ms + 100))
        await it.until(lambda: len(recorder.handled) == 2)

    assert recorder.ids == ["m-1", "m-2"]


async def test_a_partition_that_is_found_to_be_lost_while_it_drains_spoils_no_stop(bench, store):
    """Who wakes up late may be told to give a partition back before it hears that others have it."""
    gate = asyncio.Event()
    async with bench([running(Recorder(before=lambda _: gate.wait()), deadline_s=60)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(2)))
        await it.until(lambda: it.engine.status().partitions[0].in_flight == 2)
        state = await store.load(partition_id("0"))
        theirs = new_snapshot(Checkpoint(99, "99"), "other")
        await store.save(partition_id("0"), theirs.checkpoint, encode(theirs), state.fence)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(it.source.intake.revoked("0", lost=False))
            await it.until(lambda: it.engine.status().partitions[0].state == "draining")
            gate.set()

    assert it.engine.was_clean
