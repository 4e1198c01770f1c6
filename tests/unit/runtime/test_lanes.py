"""What waits in the lanes of one processor, and what becomes of it."""

from __future__ import annotations

import asyncio

import pytest

from consumer.core.flights import Delivery
from consumer.processor import Reject
from consumer.runtime import lanes as module

from .conftest import Recorder, batch, body, running, versions


class Chunks:
    """Takes batches; refuses every chunk with a poisonous event in it."""

    def __init__(self, poison=()):
        self.calls = []
        self.handled = []
        self.poison = poison

    async def process_batch(self, events, _context):
        ids = [event.id for event in events]
        self.calls.append(ids)
        if not self.poison.isdisjoint(ids):
            raise Reject("poison")
        self.handled += ids


async def test_every_event_of_a_chunk_that_failed_is_tried_by_itself_for_latest_as_well(bench, letters):
    """For `latest` one event at a time is taken from what waits: a chunk is not what waits any more."""
    target = Chunks(poison={"b-1"})
    async with bench([running(target, delivery=Delivery.LATEST, concurrency=1)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(body("a", 1), body("b", 1), body("c", 1), body("d", 1)))
        await it.until(lambda: it.outcomes() == {"handled": 3, "dead_lettered:rejected": 1})

    assert target.calls[:4] == [["a-1", "b-1", "c-1"], ["a-1"], ["b-1"], ["c-1"]]


async def test_a_chunk_is_no_longer_than_its_limit_and_keeps_the_order(bench):
    target = Chunks(poison=frozenset())
    async with bench([running(target, concurrency=1, chunk_max=4)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(10)))
        await it.until(lambda: it.outcomes() == {"handled": 10})

    assert [len(call) for call in target.calls] == [4, 4, 2]
    assert target.handled == [f"m-{version}" for version in range(1, 11)]


async def test_what_comes_while_a_lane_is_busy_supersedes_what_waits_there(bench):
    gate, entered = asyncio.Event(), asyncio.Event()

    async def wait(_event):
        entered.set()
        await gate.wait()

    recorder = Recorder(before=wait)
    processor = running(recorder, delivery=Delivery.LATEST, concurrency=1)
    async with bench([processor]) as it:
        intake = it.source.intake
        await intake.assigned("0")
        await intake.received(batch(body("m", 1)))
        await entered.wait()
        for version in range(2, 6):
            await intake.received(batch(body("m", version), first=version))
        await it.until(lambda: processor.counts.queued == 4)
        gate.set()
        await it.until(lambda: it.outcomes() == {"handled": 2, "stale": 3})
        assert processor.counts.queued == 0

    assert recorder.ids == ["m-1", "m-5"]


@pytest.mark.parametrize("takes_batches", [False, True])
async def test_a_processor_that_never_waits_does_not_keep_the_others_from_their_events(bench, takes_batches):
    """Between two reports of one processor the other one has its turn."""
    order = []

    class Single:
        def __init__(self, name):
            self.name = name

        async def __call__(self, _event, _context):
            order.append(self.name)

    class Batches(Single):
        process_batch = Single.__call__

    kind = Batches if takes_batches else Single
    both = [running(kind(name), name, concurrency=1, chunk_max=100) for name in ("first", "second")]
    async with bench(both) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(300)))
        await it.until(lambda: it.outcomes() == {"handled": 300})

    per_report = 1 if takes_batches else module._REPORT_MAX
    assert order[: 2 * per_report] == ["first"] * per_report + ["second"] * per_report


@pytest.mark.parametrize("takes_batches", [False, True])
async def test_data_that_shows_its_flaw_when_it_is_asked_for_costs_only_its_own_event(
    bench, letters, takes_batches
):
    class Single:
        def __init__(self):
            self.versions = []

        async def __call__(self, event, _context):
            self.versions.append(event.data["modelVersion"])

    class Batches(Single):
        async def process_batch(self, events, _context):
            versions = [event.data["modelVersion"] for event in events]
            self.versions += versions

    # Without blanks, as Event Grid writes: then nobody looks into the data before somebody asks for it.
    bare = body("m", 2).replace(b" ", b"")
    flawed = bare.replace(b'"modelVersion":2', b'"modelVersion":2,"a":{"b":1,"b":1}')
    target = Batches() if takes_batches else Single()
    async with bench([running(target, concurrency=1)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(body("m", 1), flawed, body("m", 3)))
        await it.until(lambda: it.outcomes() == {"handled": 2, "dead_lettered:duplicate_key": 1})

    assert target.versions == [1, 3]
    (letter,) = [letter async for letter in letters.letters()]
    assert letter.processor == "keep"
    assert letter.attempts == 1
    assert letter.original == flawed[1:-1]
