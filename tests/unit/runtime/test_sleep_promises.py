"""What comes of the order when the process sleeps, as a frozen or suspended one does, and nobody notices."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from consumer.core.sequencer import SequencerLimits

from .conftest import POLICY, Recorder, batch, running, versions


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
