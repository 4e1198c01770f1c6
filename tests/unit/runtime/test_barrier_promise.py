"""What follows a failure or a skip begins only when it is stored that the event was given up or skipped."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from consumer.core.flights import Delivery
from consumer.processor import Reject
from consumer.stores.memory import MemoryStore

from .conftest import Recorder, batch, running, versions


class GatedStore(MemoryStore):
    """Lets writes through only while its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def save(self, *arguments):
        await self.gate.wait()
        return await super().save(*arguments)


class InBatches:
    """The same processor, given what waits at once."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.sizes = []

    async def process_batch(self, events, context):
        self.sizes.append(len(events))
        for event in events:
            await self.recorder(event, context)


async def test_the_next_event_of_an_object_waits_until_the_failure_before_it_is_stored(bench):
    store = GatedStore()

    def refuse_the_first(event):
        if event.id == "m-1":
            store.gate.clear()
            raise Reject("never")

    recorder = Recorder(before=refuse_the_first)
    async with bench([running(recorder)], checkpoints=store) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(3)))
        await it.until(lambda: it.outcomes().get("dead_lettered:rejected") == 1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert recorder.ids == []
        store.gate.set()
        await it.until(lambda: recorder.ids == ["m-2", "m-3"])


@pytest.fixture
def skipping(bench):
    """An engine whose `latest` processor has done m-1 and skipped m-2 and m-3, which is not yet stored."""

    @asynccontextmanager
    async def skipping(recorder, target):
        store, begun = GatedStore(), asyncio.Event()

        async def hold_the_first(event):
            if event.id == "m-1":
                begun.set()
                store.gate.clear()
                await it.until(lambda: it.engine.status().processors[0].queued == 3)

        recorder.before = hold_the_first
        processor = running(target, delivery=Delivery.LATEST, deadline_s=60)
        async with bench([processor], checkpoints=store) as it:
            await it.source.intake.assigned("0")
            await it.source.intake.received(batch(*versions(1)))
            await begun.wait()
            await it.source.intake.received(batch(*versions(3, start=2), first=1))
            await it.until(lambda: it.engine.status().processors[0].stale_skipped == 2)
            yield it, store

    return skipping


@pytest.mark.parametrize("kind", [Recorder, InBatches])
async def test_the_latest_event_of_an_object_waits_until_it_is_stored_that_those_before_it_were_skipped(
    skipping, kind
):
    """Else a crash in between would have an event that was skipped done after the later one."""
    recorder = Recorder()
    target = recorder if kind is Recorder else InBatches(recorder)
    async with skipping(recorder, target) as (it, store):
        for _ in range(20):
            await asyncio.sleep(0)
        assert recorder.ids == ["m-1"]
        store.gate.set()
        await it.until(lambda: recorder.ids == ["m-1", "m-4"])


async def test_a_stop_while_a_skip_is_being_stored_begins_nothing_more(skipping):
    recorder = Recorder()
    target = InBatches(recorder)
    async with skipping(recorder, target) as (it, store):
        it.engine.drain()
        store.gate.set()
    assert recorder.ids == ["m-1"]
    assert target.sizes == [1]
