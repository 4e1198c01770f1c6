"""What an engine promises about who owns a partition and where it goes on, with real parts in memory."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from consumer.core.snapshot import decode, encode, new_snapshot
from consumer.errors import CorruptState, FenceLost, StoreUnavailable
from consumer.events import Checkpoint
from consumer.runtime.clock import SystemClock
from consumer.stores.memory import MemoryStore

from .conftest import Recorder, batch, partition_id, running, versions

ZERO = partition_id("0")


async def stored_number(store):
    state = await store.load(ZERO)
    return state.checkpoint.sequence_number if state.checkpoint else None


async def test_a_new_owner_fences_the_old_one_which_falls_silent(bench, store):
    recorder = Recorder()
    async with bench([running(recorder)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(2)))
        await it.until(lambda: len(recorder.handled) == 2)
        state = await store.load(ZERO)
        theirs = new_snapshot(Checkpoint(99, "99"), "other")
        await store.save(ZERO, theirs.checkpoint, encode(theirs), state.fence)
        await it.source.intake.received(batch(*versions(2, start=3), first=2))
        await it.until(lambda: it.engine.status().partitions[0].state == "draining")
        with pytest.raises(FenceLost):  # so that the source lets go, and may take the partition anew
            await it.source.intake.received(batch(*versions(2, start=5), first=4))

    assert "m-5" not in recorder.ids
    assert await stored_number(store) == 99


async def test_every_assignment_is_a_new_epoch_with_its_owner(bench, store):
    for epoch in (1, 2, 3):
        async with bench([running(Recorder())]) as it:
            await it.source.intake.assigned("0")
            snapshot = decode((await store.load(ZERO)).snapshot)
            assert (snapshot.epoch, snapshot.owner.partition("#")[0]) == (epoch, "tester")


async def test_a_write_whose_answer_was_lost_is_recognised_and_not_fenced_by_itself(bench):
    class Losing(MemoryStore):
        lost = 0

        async def save(self, partition, checkpoint, snapshot, fence):
            new = await super().save(partition, checkpoint, snapshot, fence)
            if fence and checkpoint.sequence_number >= 0 and self.lost < 3:
                self.lost += 1
                raise StoreUnavailable("no answer")
            return new

    store = Losing()
    recorder = Recorder()
    async with bench([running(recorder)], checkpoints=store) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(5)))
        await it.until(lambda: store.lost == 3)
        await it.source.intake.received(batch(*versions(5, start=6), first=5))
        await it.until(lambda: len(recorder.handled) == 10)

    assert await stored_number(store) == 9


async def test_a_checkpoint_store_that_is_away_does_not_stop_the_work(bench):
    class Away(MemoryStore):
        is_away = False

        async def save(self, *arguments):
            if self.is_away:
                raise StoreUnavailable("away")
            return await super().save(*arguments)

    store = Away()
    recorder = Recorder()
    async with bench([running(recorder)], checkpoints=store) as it:
        await it.source.intake.assigned("0")
        store.is_away = True
        await it.source.intake.received(batch(*versions(5)))
        await it.until(lambda: len(recorder.handled) == 5)
        assert await stored_number(store) == -1
        store.is_away = False

    assert await stored_number(store) == 4


async def test_a_checkpoint_that_another_client_moved_forward_is_gone_on_from(bench, store):
    recorder = Recorder()
    async with bench([running(Recorder())]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(3)))
        await it.until(lambda: it.outcomes().get("handled") == 3)
    state = await store.load(ZERO)
    await store.save(ZERO, Checkpoint(7, "700"), state.snapshot, state.fence)

    async with bench([running(recorder)]) as it:
        assert await it.source.intake.assigned("0") == Checkpoint(7, "700")
        await it.source.intake.received(batch(*versions(12)))
        await it.until(lambda: len(recorder.handled) == 4)

    assert recorder.ids == ["m-9", "m-10", "m-11", "m-12"]


async def test_what_is_released_and_not_done_is_not_stale_when_the_checkpoint_was_moved(bench, store):
    events = batch(*versions(4), time_ms=SystemClock().now_ms())  # older objects are not remembered
    stuck = Recorder(before=lambda event: event.id == "m-1" or asyncio.Event().wait())

    async def has_stored():
        state = await store.load(ZERO)
        return state.checkpoint.sequence_number == 0 and decode(state.snapshot).released

    async with bench([running(stuck, deadline_s=60)], drain=False) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(events)
        async with asyncio.timeout(10):
            while not await has_stored():  # noqa: ASYNC110 - a store sets no event
                await asyncio.sleep(0.005)
    state = await store.load(ZERO)
    await store.save(ZERO, Checkpoint(1, "100"), state.snapshot, state.fence)

    recorder = Recorder()
    async with bench([running(recorder)]) as it:
        assert await it.source.intake.assigned("0") == Checkpoint(1, "100")
        await it.source.intake.received(events)
        await it.until(lambda: len(recorder.handled) == 2)

    assert recorder.ids == ["m-3", "m-4"]


async def test_a_checkpoint_that_another_client_moved_back_means_once_more(bench, store):
    again = Recorder()
    async with bench([running(Recorder())]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(6)))
        await it.until(lambda: it.outcomes().get("handled") == 6)
    state = await store.load(ZERO)
    await store.save(ZERO, Checkpoint(2, "200"), state.snapshot, state.fence)

    async with bench([running(again)]) as it:
        assert await it.source.intake.assigned("0") == Checkpoint(2, "200")
        await it.source.intake.received(batch(*versions(6)))
        await it.until(lambda: len(again.handled) == 3)

    assert again.ids == ["m-4", "m-5", "m-6"]


async def test_a_checkpoint_without_state_is_gone_on_from(bench, store):
    """That is what another SDK leaves."""
    await store.save(ZERO, Checkpoint(4, "400"), b"", "")
    recorder = Recorder()

    async with bench([running(recorder)]) as it:
        state = await store.load(ZERO)
        assert state.snapshot in (b"", None)
        if state.snapshot == b"":
            store.load = lambda _: _none_for_empty(state)  # type: ignore[method-assign]
        assert await it.source.intake.assigned("0") == Checkpoint(4, "400")
        await it.source.intake.received(batch(*versions(6)))
        await it.until(lambda: len(recorder.handled) == 1)

    assert recorder.ids == ["m-6"]


async def _none_for_empty(state):
    return msgspec.structs.replace(state, snapshot=None)


async def test_damaged_state_halts_the_partition_and_overwrites_nothing(bench, store):
    await store.save(ZERO, Checkpoint(4, "400"), b"inturn\0 rubbish", "")
    before = await store.load(ZERO)

    async with bench([running(Recorder())]) as it:
        with pytest.raises(CorruptState):
            await it.source.intake.assigned("0")
        status = it.engine.status()
        assert not status.ready
        assert any("Partition 0 is halted" in reason for reason in status.not_ready)

    assert await store.load(ZERO) == before


async def test_a_lost_partition_is_abandoned_without_a_write(bench, store):
    gate = asyncio.Event()
    recorder = Recorder(before=lambda _: gate.wait())
    async with bench([running(recorder, deadline_s=60)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(3)))
        await it.until(lambda: len(recorder.attempts) == 1)
        fence = (await store.load(ZERO)).fence
        await it.source.intake.revoked("0", lost=True)
        fence = (await store.load(ZERO)).fence
        gate.set()
        await asyncio.sleep(0.02)

        assert (await store.load(ZERO)).fence == fence
    assert recorder.handled == []
