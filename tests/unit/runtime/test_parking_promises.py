"""After a failure that was put aside, a processor that parks gets nothing of the object until a redrive."""

from __future__ import annotations

import asyncio

import pytest

from consumer.core.flights import Delivery
from consumer.core.retry import RetryPolicy
from consumer.errors import StoreUnavailable
from consumer.events import Reason
from consumer.processor import Reject
from consumer.stores.memory import MemoryDeadLetters

from .conftest import Recorder, batch, body, running, versions


@pytest.fixture(autouse=True)
def asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.runtime.parking._ASK_EVERY_S", 0.01)
    monkeypatch.setattr("consumer.runtime.parking._ASKING_SHARE", 0)


def refusing(*ids):
    def refuse(event):
        if event.id in ids:
            raise Reject("never")

    return refuse


def parks(recorder, **changes):
    return running(recorder, parks=True, **changes)


async def kept(letters):
    return [letter async for letter in letters.letters()]


async def redrive(letters):
    """Others handle what is in the dead letters, and remove it."""
    await letters.remove(await kept(letters))


async def give(it, *bodies, first=0):
    await it.source.intake.received(batch(*bodies, first=first))


class Batches(Recorder):
    async def process_batch(self, events, context):
        for event in events:
            await self(event, context)


class AwayWhenAsked(MemoryDeadLetters):
    is_away = False
    asked = 0

    async def holds(self, *question):
        self.asked += 1
        if self.is_away:
            raise StoreUnavailable("not now")
        return await super().holds(*question)


@pytest.mark.parametrize("delivery", list(Delivery))
@pytest.mark.parametrize("kind", [Recorder, Batches])
async def test_later_events_of_the_object_follow_it_in_order_and_unattempted(bench, letters, delivery, kind):
    recorder = kind(before=refusing("m-2"))

    async with bench([parks(recorder, delivery=delivery)]) as it:
        await it.source.intake.assigned("0")
        await give(it, body("m", 1), first=0)
        await it.until(lambda: recorder.ids == ["m-1"])
        await give(it, body("m", 2), first=1)
        await it.until(lambda: it.outcomes().get("dead_lettered:rejected") == 1)
        for version in (3, 4):
            await give(it, body("m", version), first=version - 1)
            await it.until(lambda version=version: it.outcomes().get("dead_lettered:parked") == version - 2)
        await give(it, body("other", 1), first=4)
        await it.until(lambda: recorder.ids[-1:] == ["other-1"])

    put_aside = await kept(letters)
    assert recorder.ids == ["m-1", "other-1"]
    assert [letter.event_id for letter in put_aside] == ["m-2", "m-3", "m-4"]
    assert [letter.reason for letter in put_aside] == [Reason.REJECTED, Reason.PARKED, Reason.PARKED]
    assert [letter.attempts for letter in put_aside] == [1, 0, 0]
    assert {letter.object_path for letter in put_aside} == {"models/m"}
    assert put_aside[1].error == "waits behind event 0 of message 1, which was put aside before it"


@pytest.mark.parametrize("kind", [Recorder, Batches])
async def test_what_waits_in_the_lane_already_follows_too(bench, letters, kind):
    recorder = kind(before=refusing("m-2"))

    async with bench([parks(recorder, concurrency=1, chunk_max=3)]) as it:
        await it.source.intake.assigned("0")
        await give(it, *versions(9), body("other", 1), body("m", 10))
        await it.until(lambda: it.outcomes().get("dead_lettered:parked") == 8)
        await it.until(lambda: it.outcomes().get("handled") == 2)

    assert list(dict.fromkeys(recorder.ids)) == ["m-1", "other-1"]
    assert [letter.event_id for letter in await kept(letters)] == [f"m-{n}" for n in range(2, 11)]


async def test_a_processor_that_continues_goes_on_and_so_does_another_one(bench):
    parking, going_on = Recorder(before=refusing("m-1")), Recorder(before=refusing("m-1"))

    async with bench([parks(parking), running(going_on, "other")]) as it:
        await it.source.intake.assigned("0")
        await give(it, *versions(3))
        await it.until(lambda: sum(it.outcomes().values()) == 3)

    assert parking.ids == []
    assert going_on.ids == ["m-2", "m-3"]


async def test_once_the_letters_are_gone_the_object_goes_on(bench, letters):
    recorder = Recorder(before=refusing("m-1"))

    async with bench([parks(recorder)]) as it:
        await it.source.intake.assigned("0")
        await give(it, *versions(2))
        await it.until(lambda: it.outcomes().get("dead_lettered:parked") == 1)
        assert it.engine.status().processors[0].parked == 1
        await redrive(letters)
        await it.until(lambda: it.engine.status().processors[0].parked == 0)
        await give(it, body("m", 3), first=2)
        await it.until(lambda: recorder.ids == ["m-3"])


async def test_as_long_as_one_letter_is_left_the_object_stays_parked(bench, letters):
    recorder = Recorder(before=refusing("m-1"))

    async with bench([parks(recorder)], dead_letters=(store := AwayWhenAsked())) as it:
        await it.source.intake.assigned("0")
        await give(it, *versions(2))
        await it.until(lambda: it.outcomes().get("dead_lettered:parked") == 1)
        await store.remove((await kept(store))[:1])
        asked = store.asked
        await it.until(lambda: store.asked > asked + 3)
        await give(it, body("m", 3), first=2)
        await it.until(lambda: it.outcomes().get("dead_lettered:parked") == 2)

    assert recorder.ids == []


@pytest.mark.parametrize("drain", [True, False])
async def test_another_owner_knows_what_is_parked(bench, letters, drain):
    first, second = Recorder(before=refusing("m-1")), Recorder()
    async with bench([parks(first)], drain=drain) as it:
        await it.source.intake.assigned("0")
        await give(it, *versions(2))
        await it.until(lambda: it.outcomes().get("dead_lettered:parked") == 1)

    async with bench([parks(second)]) as it:
        checkpoint = await it.source.intake.assigned("0")
        await give(it, *versions(4)[checkpoint.sequence_number + 1 :], first=checkpoint.sequence_number + 1)
        await it.until(lambda: it.engine.status().partitions[0].checkpoint == 3)

    assert second.ids == []
    assert [letter.event_id for letter in await kept(letters)] == ["m-1", "m-2", "m-3", "m-4"]


async def test_what_was_redriven_while_nobody_had_the_partition_is_not_parked_again(bench, letters):
    first, second = Recorder(before=refusing("m-1")), Recorder()
    async with bench([parks(first)]) as it:
        await it.source.intake.assigned("0")
        await give(it, *versions(2))
        await it.until(lambda: it.outcomes().get("dead_lettered:parked") == 1)
    await redrive(letters)

    async with bench([parks(second)]) as it:
        await it.source.intake.assigned("0")
        await give(it, *versions(4)[2:], first=2)
        await it.until(lambda: second.ids == ["m-3", "m-4"])

    assert await kept(letters) == []


async def test_while_the_store_cannot_say_what_was_parked_before_waits(bench):
    store = AwayWhenAsked()
    first, second = Recorder(before=refusing("m-1")), Recorder()
    async with bench([parks(first)], dead_letters=store) as it:
        await it.source.intake.assigned("0")
        await give(it, *versions(1))
        await it.until(lambda: it.outcomes().get("dead_lettered:rejected") == 1)

    store.is_away, store.asked = True, 0
    async with bench([parks(second)], dead_letters=store) as it:
        await it.source.intake.assigned("0")
        others = [body(f"other{number}", 1) for number in range(5)]
        await give(it, *versions(3)[1:], *others, first=1)
        await it.until(lambda: bool(second.ids) and store.asked > 2)
        assert "dead_lettered:parked" not in it.outcomes()
        store.is_away = False
        await it.until(lambda: it.outcomes().get("dead_lettered:parked") == 2)
        await it.until(lambda: len(second.ids) == len(others))

    assert not {"m-2", "m-3"} & set(second.ids)


async def test_at_the_limit_what_may_still_succeed_is_tried_again_in_its_lane(bench, letters):
    is_away = True

    def fail(event):
        if is_away:
            raise ConnectionError("away")

    recorder = Recorder(before=fail)
    retry = RetryPolicy(attempts_max=2, backoff_s=0, backoff_max_s=0.01)
    async with bench([parks(recorder, parked_max=2, concurrency=50, retry=retry)]) as it:
        await it.source.intake.assigned("0")
        await give(it, *(body(f"m{number}", 1) for number in range(8)))
        await it.until(lambda: it.outcomes().get("dead_lettered:retries_spent") == 2)
        seen = len(recorder.attempts)
        await it.until(lambda: len(recorder.attempts) > seen + 20)
        is_away = False
        await it.until(lambda: it.outcomes().get("handled") == 6)
        assert it.engine.status().processors[0].dead_lettered == 2

    assert len(await kept(letters)) == 2


async def test_at_the_limit_what_was_rejected_waits_until_a_redrive_has_made_room(bench, letters):
    recorder = Recorder(before=refusing("a-1", "b-1"))
    async with bench([parks(recorder, parked_max=1, concurrency=1)]) as it:
        await it.source.intake.assigned("0")
        await give(it, body("a", 1), body("b", 1))
        await it.until(lambda: len(recorder.attempts) == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert [letter.event_id for letter in await kept(letters)] == ["a-1"]
        await redrive(letters)
        await it.until(lambda: it.outcomes().get("dead_lettered:rejected") == 2)

    assert [letter.event_id for letter in await kept(letters)] == ["b-1"]


@pytest.mark.parametrize("kind", [Recorder, Batches])
async def test_the_limit_holds_for_what_is_alone_in_its_chunk_too(bench, letters, kind):
    recorder = kind(before=refusing("a-1", "b-1"))
    async with bench([parks(recorder, parked_max=1, concurrency=1)]) as it:
        await it.source.intake.assigned("0")
        await give(it, body("a", 1))
        await it.until(lambda: it.outcomes().get("dead_lettered:rejected") == 1)
        await give(it, body("b", 1), first=1)
        await it.until(lambda: len(recorder.attempts) == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert it.engine.status().processors[0].parked == 1
        assert [letter.event_id for letter in await kept(letters)] == ["a-1"]


async def test_letters_of_a_row_of_parked_events_are_stored_together(bench):
    """One by one, at the pace of a store far away, they would have the source paused for everybody."""

    class Counting(MemoryDeadLetters):
        def __init__(self):
            super().__init__()
            self.puts = []

        async def put(self, letters):
            self.puts.append(len(letters))
            await super().put(letters)

    store = Counting()
    async with bench([parks(Recorder(before=refusing("m-1")))], dead_letters=store) as it:
        await it.source.intake.assigned("0")
        await give(it, *versions(251))
        await it.until(lambda: it.outcomes().get("dead_lettered:parked") == 250)

    assert store.puts == [1, 100, 100, 50]
    assert [letter.event_id for letter in await kept(store)] == [f"m-{n}" for n in range(1, 252)]
