"""What an engine does about events that were removed before it could read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import CorruptState, EventsLost
from consumer.events import Checkpoint
from consumer.runtime.halts import first_gap

from .conftest import Recorder, batch, partition_id, running, versions

ZERO = partition_id("0")


async def test_missing_events_are_counted_exactly_and_the_partition_goes_on(bench):
    recorder = Recorder()
    async with bench([running(recorder)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(2), first=10))
        await it.source.intake.received(batch(*versions(2, start=3), first=15))
        await it.until(lambda: len(recorder.handled) == 4)

        assert it.engine.status().partitions[0].gaps == 3


async def test_events_missing_between_the_checkpoint_and_the_first_one_are_counted_after_a_restart(bench):
    async with bench([running(Recorder())]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(5)))
        await it.until(lambda: it.outcomes().get("handled") == 5)

    async with bench([running(Recorder())]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(1, start=6), first=25))
        await it.until(lambda: it.outcomes().get("handled") == 1)

        assert it.engine.status().partitions[0].gaps == 20


async def test_told_to_halt_it_finishes_what_it_has_and_waits_for_an_operator(bench, store, monkeypatch):
    monkeypatch.setattr("consumer.runtime.halts._ASK_EVERY_S", 0.0)
    recorder = Recorder()
    async with bench([running(recorder)], halts_on_gap=True) as it:
        intake = it.source.intake
        await intake.assigned("0")
        await intake.received(batch(*versions(3)))
        with pytest.raises(EventsLost, match="The events 3 to 6 of partition 0 are gone"):
            await intake.received(batch(*versions(1, start=4), first=7))
        await intake.revoked("0", lost=False)
        with pytest.raises(EventsLost):
            await intake.assigned("0")
        assert any("Partition 0 is halted" in reason for reason in it.engine.status().not_ready)
        assert len(recorder.handled) == 3

        state = await store.load(ZERO)  # as `inturn checkpoint rewind --to earliest` does
        await store.save(ZERO, Checkpoint(6, "600"), state.snapshot, state.fence)
        assert (await intake.assigned("0")).sequence_number == 6
        await intake.received(batch(*versions(1, start=4), first=7))
        await it.until(lambda: len(recorder.handled) == 4)
        assert it.engine.status().ready


async def test_a_halted_partition_is_asked_about_seldom(bench, store):
    await store.save(ZERO, Checkpoint(4, "400"), b"inturn\0 rubbish", "")
    loads = []
    load = store.load

    async def counted(partition):
        loads.append(partition)
        return await load(partition)

    store.load = counted
    async with bench([running(Recorder())]) as it:
        for _ in range(20):
            with pytest.raises(CorruptState):
                await it.source.intake.assigned("0")

    assert len(loads) == 1


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.integers(-1, 12))
def test_the_first_gap_is_the_first_run_of_numbers_that_nobody_has_seen(numbers, after):
    """Numbers that came before may come again, in front of new ones."""
    numbers.sort()
    raw = batch(*[b"{}"] * len(numbers))
    raw.sequence_numbers[:] = numbers
    begin = after if after >= 0 else numbers[0]
    unseen = [each for each in range(begin + 1, numbers[-1]) if each not in numbers]
    last = next((each - 1 for each in numbers if unseen and each > unseen[0]), None)

    assert first_gap(raw, after) == ((unseen[0], last) if unseen else None)
