"""A planned hand-over: nothing is repeated, and the checkpoint holds everything that was done."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from consumer.core.flights import Delivery
from consumer.processor import Reject
from consumer.runtime.clock import SystemClock
from consumer.runtime.gate import Gate
from consumer.runtime.rate import RatePolicy, TokenBucket
from consumer.stores.memory import MemoryDeadLetters

from .conftest import POLICY, Recorder, batch, body, partition_id, running, versions

ZERO = partition_id("0")
RARELY = replace(POLICY, checkpoint_interval_ms=10**6)


async def test_what_is_done_is_reported_while_the_next_event_takes_its_time(bench):
    """It used to wait for the next one: a crash would have repeated it although it was long done."""
    gate = asyncio.Event()
    recorder = Recorder(before=lambda event: gate.wait() if event.id == "m-3" else None)
    async with bench([running(recorder, deadline_s=60)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(3)))
        await it.until(lambda: it.engine.status().partitions[0].checkpoint == 1)
        gate.set()


async def test_results_that_are_not_reported_yet_when_the_drain_cuts_off_are_kept(bench, monkeypatch):
    monkeypatch.setattr("consumer.runtime.lanes._REPORT_AFTER_S", 3_600)
    first, second = Recorder(), Recorder()
    first.before = lambda event: asyncio.sleep(60) if event.id == "m-6" else None
    async with bench([running(first, deadline_s=60)], policy=RARELY, drain_timeout_s=0.1) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(8)))
        await it.until(lambda: len(first.attempts) == 6)
        await it.source.intake.revoked("0", lost=False)

    monkeypatch.setattr("consumer.runtime.lanes._REPORT_AFTER_S", 0.005)
    async with bench([running(second)]) as it:
        assert (await it.source.intake.assigned("0")).sequence_number == 4
        await it.source.intake.received(batch(*versions(8)))
        await it.until(lambda: len(second.handled) == 3)

    assert first.ids + second.ids == [f"m-{number}" for number in range(1, 9)]


async def test_the_part_of_a_chunk_that_was_done_one_by_one_is_kept(bench):
    class Halves:
        """Can't do a chunk together, and takes for ever over one event."""

        def __init__(self):
            self.done = []

        async def process_batch(self, events, _context):
            if len(events) > 1:
                raise Reject("not together")
            if events[0].id == "m-4":
                await asyncio.sleep(60)
            self.done.append(events[0].id)

    first, second = Halves(), Recorder()
    async with bench([running(first, deadline_s=60)], drain_timeout_s=0.1) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(6)))
        await it.until(lambda: len(first.done) == 3)
        await it.source.intake.revoked("0", lost=False)

    async with bench([running(second)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(6)))
        await it.until(lambda: len(second.handled) == 3)

    assert first.done + second.ids == [f"m-{number}" for number in range(1, 7)]


async def test_a_batch_that_was_handed_over_and_not_begun_comes_again(bench):
    first, second = Recorder(), Recorder()
    async with bench([running(first)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(4)))
        await it.source.intake.received(batch(*versions(4, start=5), first=4))
        await it.source.intake.revoked("0", lost=False)

    async with bench([running(second)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(8)))
        await it.until(lambda: len(first.handled) + len(second.handled) == 8)

    assert first.ids + second.ids == [f"m-{number}" for number in range(1, 9)]


async def test_letters_on_their_way_are_waited_for(bench, store):
    class Slow(MemoryDeadLetters):
        async def put(self, letters):
            await asyncio.sleep(0.2)
            await super().put(letters)

    slow = Slow()
    async with bench([running(Recorder())], dead_letters=slow, policy=RARELY) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(b"not JSON", *versions(2)))
        await it.until(lambda: it.outcomes().get("handled") == 2)
        await it.source.intake.revoked("0", lost=False)

    assert await slow.count() == 1
    assert (await store.load(ZERO)).checkpoint.sequence_number == 2
    assert it.engine.was_clean


async def test_every_delivery_hands_over_without_a_repetition(bench):
    bodies = [body(f"m{number % 7}", 1 + number // 7) for number in range(70)]
    done: list[tuple[str, str]] = []

    def processors():
        async def note(event, context):
            await asyncio.sleep(0.001)
            done.append((context.processor, event.id))

        return [running(note, each.value, delivery=each) for each in (Delivery.IN_TURN, Delivery.ON_ARRIVAL)]

    while len(done) < 140:
        async with bench(processors()) as it:
            start = (await it.source.intake.assigned("0")).sequence_number + 1
            seen = len(done)
            await it.source.intake.received(batch(*bodies[start:], first=start))
            await it.until(lambda seen=seen: len(done) >= min(seen + 20, 140))
            await it.source.intake.revoked("0", lost=False)

        assert it.engine.was_clean

    assert len(done) == len(set(done)) == 140


async def test_a_stop_right_after_the_last_effect_is_clean(bench, monkeypatch):
    """What was done is known to the lanes alone for a moment; that is not work that was cut off."""
    monkeypatch.setattr("consumer.runtime.lanes._REPORT_AFTER_S", 0.05)
    recorder = Recorder()
    async with bench([running(recorder)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(5)))
        await it.until(lambda: len(recorder.handled) == 5)

    assert it.engine.was_clean


async def test_what_was_cut_off_when_a_partition_was_given_back_does_not_spoil_a_stop_much_later(bench):
    gate = asyncio.Event()
    recorder = Recorder(before=lambda _: gate.wait())
    async with bench([running(recorder, deadline_s=60)], drain_timeout_s=0.2) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(1)))
        await it.until(lambda: len(recorder.attempts) == 1)
        await it.source.intake.revoked("0", lost=False)
        assert it.engine.given_up_unfinished == 1
        gate.set()
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(1)))
        await it.until(lambda: recorder.ids == ["m-1"])

    assert it.engine.was_clean


async def test_what_fails_during_a_drain_is_not_tried_again_but_left_to_the_next_owner(bench):
    """A second attempt may take longer than the drain, and would be cut off half-way."""
    fails = asyncio.Event()

    async def fail_when_told(_event):
        await fails.wait()
        fails.clear()
        raise ConnectionError("away")

    recorder = Recorder(before=fail_when_told)
    async with bench([running(recorder, deadline_s=60)], drain_timeout_s=5.0) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(1)))
        await it.until(lambda: len(recorder.attempts) == 1)
        it.engine.drain()
        await it.until(lambda: it.engine.status().partitions[0].state == "draining")
        fails.set()

    assert len(recorder.attempts) == 1
    assert it.engine.was_clean


async def test_who_waits_for_the_rate_limit_begins_nothing_during_a_drain(bench):
    clock, running_now, release = SystemClock(), [], asyncio.Event()

    async def take_a_while(event):
        running_now.append(event.id)
        await release.wait()

    bucket = TokenBucket(RatePolicy(events=1, per_s=0.05, burst=1), clock.monotonic_s())
    processor = running(
        Recorder(before=take_a_while), concurrency=50, deadline_s=60, gate=Gate("keep", clock, None, bucket)
    )
    async with bench([processor], drain_timeout_s=10.0) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*(body(f"m{number}", 1) for number in range(20))))
        await it.until(lambda: len(running_now) == 1 and processor.gate.waiting > 5)
        it.engine.drain()
        await it.until(lambda: it.engine.status().partitions[0].state == "draining")
        begun = len(running_now)
        await asyncio.sleep(0.3)
        assert len(running_now) == begun
        release.set()

    assert it.engine.was_clean
