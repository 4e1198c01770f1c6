"""What follows a failure begins only when it is stored that the failure was given up."""

from __future__ import annotations

import asyncio

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
