"""What an owner does that may not be one any more: frozen, cut off from its store, overtaken."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from consumer.core.snapshot import encode, new_snapshot
from consumer.errors import FenceLost, StoreUnavailable
from consumer.events import Checkpoint
from consumer.runtime.clock import SystemClock
from consumer.stores.memory import MemoryDeadLetters, MemoryStore

from .conftest import NO_WAIT, POLICY, Recorder, batch, partition_id, running, versions

ZERO = partition_id("0")
RARELY = replace(POLICY, checkpoint_interval_ms=10**6)
"""No checkpoint gets in the way: only the lease asks the store."""


class Watched(MemoryStore):
    """A store that counts looks, and can be away or mute."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.is_away = False

    async def is_current(self, partition, fence):
        self.looks += 1
        self._check()
        return await super().is_current(partition, fence)

    async def save(self, *arguments):
        self._check()
        return await super().save(*arguments)

    async def load(self, partition):
        self._check()
        return await super().load(partition)

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable("away")

    async def taken_by_another(self) -> None:
        state = await MemoryStore.load(self, ZERO)
        theirs = new_snapshot(Checkpoint(99, "99"), "other")
        await MemoryStore.save(self, ZERO, theirs.checkpoint, encode(theirs), state.fence)


class Skipping(SystemClock):
    """A clock that jumps, as it does for a process that was stopped and is continued."""

    skipped_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.skipped_s


async def test_an_owner_that_was_frozen_begins_no_effect_once_another_one_has_written(bench):
    store, clock, recorder = Watched(), Skipping(), Recorder()
    async with bench([running(recorder)], checkpoints=store, policy=RARELY, clock=clock) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(3)))
        await it.until(lambda: len(recorder.handled) == 3)
        assert store.looks == 0
        clock.skipped_s = 40
        await store.taken_by_another()
        await it.source.intake.received(batch(*versions(3, start=4), first=3))
        await it.until(lambda: it.source.intake.is_lost("0"))
        with pytest.raises(FenceLost):
            await it.source.intake.received(batch(*versions(3, start=7), first=6))

    assert len(recorder.attempts) == 3
    assert store.looks <= 1, "a write that is refused first says the same"


async def test_an_owner_that_was_frozen_goes_on_after_one_look_if_nobody_has_taken_its_partition(bench):
    store, clock, recorder = Watched(), Skipping(), Recorder()
    async with bench([running(recorder)], checkpoints=store, policy=RARELY, clock=clock) as it:
        await it.source.intake.assigned("0")
        clock.skipped_s = 40
        await it.source.intake.received(batch(*versions(50)))
        await it.until(lambda: len(recorder.handled) == 50)

        assert store.looks == 1


async def test_a_retry_asks_as_well(bench):
    """The wait between two attempts may be the very time in which the partition changes hands."""
    store, clock = Watched(), Skipping()
    recorder = Recorder(before=lambda _: fail())
    retry = replace(NO_WAIT, attempts_max=9)

    def fail():
        clock.skipped_s += 40
        raise OSError("cut")

    async with bench([running(recorder, retry=retry)], checkpoints=store, policy=RARELY, clock=clock) as it:
        await it.source.intake.assigned("0")
        await store.taken_by_another()
        await it.source.intake.received(batch(*versions(1)))
        await it.until(lambda: it.source.intake.is_lost("0"))

    assert recorder.attempts == [1]


async def test_a_store_that_does_not_answer_ends_the_ownership_and_what_runs_is_cut_off(bench):
    store, cut = Watched(), []

    async def hang(event):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cut.append(event.id)
            raise

    first, second = Recorder(before=hang), Recorder()
    async with bench([running(first)], checkpoints=store, fence_after_s=1.0) as it:
        intake = it.source.intake
        await intake.assigned("0")
        store.is_away = True
        await intake.received(batch(*versions(3)))
        await it.until(lambda: intake.is_lost("0"))
        await it.until(lambda: cut == ["m-1"])
        with pytest.raises(FenceLost):
            await intake.received(batch(*versions(1, start=4), first=3))
        await intake.revoked("0", lost=True)
        with pytest.raises(StoreUnavailable):
            await intake.assigned("0")
        store.is_away = False
        assert (await intake.assigned("0")).sequence_number == -1

    async with bench([running(second)], checkpoints=store) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(3)))
        await it.until(lambda: len(second.handled) == 3)

    assert len(first.attempts) == 1


async def test_a_store_that_is_away_keeps_an_idle_partition_and_its_late_checkpoint(bench):
    store, recorder = Watched(), Recorder()
    async with bench([running(recorder)], checkpoints=store, fence_after_s=0.5) as it:
        await it.source.intake.assigned("0")
        store.is_away = True
        await it.source.intake.received(batch(*versions(3)))
        await it.until(lambda: len(recorder.handled) == 3)
        await asyncio.sleep(2.2)  # more than two looks after the lease has ended
        assert not it.source.intake.is_lost("0")
        store.is_away = False
        await it.until(lambda: it.engine.status().partitions[0].checkpoint == 2)

    state = await store.load(ZERO)
    assert state.checkpoint == Checkpoint(2, "200")


async def test_dead_letters_are_not_written_for_a_partition_that_may_be_another_owners(bench):
    store, clock = Watched(), Skipping()
    tried = []

    class Away(MemoryDeadLetters):
        async def put(self, letters):
            tried.append(len(letters))
            clock.skipped_s += 40
            raise StoreUnavailable("away")

    parts = {"checkpoints": store, "dead_letters": Away(), "policy": RARELY, "clock": clock}
    async with bench([running(Recorder())], **parts) as it:
        await it.source.intake.assigned("0")
        await store.taken_by_another()
        await it.source.intake.received(batch(b"not JSON"))
        await it.until(lambda: it.source.intake.is_lost("0"))

    assert tried == [1]


async def test_a_processor_is_told_the_epoch_that_rises_with_every_owner(bench, store):
    epochs = []

    async def note(_event, context):
        epochs.append(context.epoch)

    for owner in range(3):
        async with bench([running(note)]) as it:
            await it.source.intake.assigned("0")
            await it.source.intake.received(batch(*versions(1, start=owner), first=owner))

    assert epochs == [1, 2, 3]
