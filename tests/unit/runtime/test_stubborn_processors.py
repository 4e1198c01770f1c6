"""Processors that swallow cancellation: what they hold up, and what they do not."""

from __future__ import annotations

import asyncio

import pytest

from consumer.core.flights import Delivery
from consumer.core.retry import RetryPolicy
from consumer.runtime.clock import SystemClock

from .conftest import Recorder, batch, body, running, versions


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch):
    monkeypatch.setattr("consumer.runtime.lanes.CUT_OFF_S", 0.1)
    monkeypatch.setattr("consumer.runtime.partition.CUT_OFF_S", 0.1)
    monkeypatch.setattr("consumer.runtime.partition._TICK_S", 0.05)
    monkeypatch.setattr("consumer.runtime.strays._LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("consumer.runtime.strays._LAST_WAIT_S", 0.05)


class Stubborn:
    """Goes on with some events whatever is done to it, until the test lets go."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids
        self.handled: list[str] = []
        self.let_go = asyncio.Event()

    async def __call__(self, event, _context) -> None:
        while event.id in self.ids and not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                continue
        self.handled.append(event.id)


def stubborn(target, **changes):
    return running(target, "stubborn", **({"deadline_s": 0.1, "retry": RetryPolicy(1, 0, 0)} | changes))


async def test_an_order_waits_for_the_end_of_an_attempt_that_cannot_be_cut_off(bench):
    """Its effect may still come: what follows must not come before it."""
    target = Stubborn("m-1")
    async with bench([stubborn(target)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(3)))
        await it.until(lambda: it.engine.status().processors[0].abandoned == 1)
        assert target.handled == []
        reasons = it.engine.status().not_ready
        assert reasons == ["Attempts of the processor stubborn that were cut off and go on all the same: 1."]
        target.let_go.set()
        await it.until(lambda: len(target.handled) == 3)
        await it.until(lambda: it.engine.status().ready)

    assert target.handled == ["m-1", "m-2", "m-3"]


async def test_without_an_order_the_event_is_a_dead_letter_and_its_lane_goes_on(bench, letters):
    target = Stubborn("m-1")
    processor = stubborn(target, delivery=Delivery.ON_ARRIVAL, concurrency=1)
    async with bench([processor]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(3)))
        await it.until(lambda: it.outcomes() == {"handled": 2, "dead_lettered:retries_spent": 1})
        assert it.engine.status().processors[0].abandoned == 1
        target.let_go.set()
        await it.until(lambda: it.engine.status().processors[0].abandoned == 0)

    assert target.handled == ["m-2", "m-3", "m-1"]
    (letter,) = [letter async for letter in letters.letters()]
    assert letter.event_id == "m-1"
    assert "its effect may still come" in letter.error
    assert it.outcomes() == {"handled": 2, "dead_lettered:retries_spent": 1}


async def test_a_stop_does_not_wait_for_it_and_stores_what_is_done(bench, store):
    target, others, again = Stubborn("s-1"), Recorder(), Recorder()
    stuck = asyncio.Event()

    async def on_stuck():
        stuck.set()
        target.let_go.set()  # where a process would end

    bodies = [body("s", 1), *versions(4)]
    async with bench([stubborn(target, concurrency=64), running(others)], on_stuck=on_stuck) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*bodies))
        await it.until(lambda: len(target.handled) == 4 and len(others.handled) == 5)
    assert stuck.is_set()
    assert not it.engine.was_clean

    stored = Recorder()
    async with bench([running(stored, "stubborn"), running(again)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*bodies))
        await it.until(lambda: len(stored.handled) == 1)

    assert stored.ids == ["s-1"]
    assert again.ids == []


async def test_a_stop_that_cuts_off_what_returns_all_the_same_keeps_its_result(bench):
    """A processor may finish what it was doing when it is cancelled: then it is done, and not repeated."""
    entered = asyncio.Event()

    async def finish(_event):
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)

    first, second = Recorder(before=finish), Recorder()
    async with bench([running(first, deadline_s=60)], drain_timeout_s=0.1) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(2)))
        await entered.wait()

    async with bench([running(second)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(2)))
        await it.until(lambda: len(second.handled) == 1)

    assert first.ids == ["m-1"]
    assert second.ids == ["m-2"]


async def test_a_process_with_too_many_of_them_stops_itself(bench, monkeypatch):
    monkeypatch.setattr("consumer.runtime.strays._STRAYS_MAX", 2)
    bodies = [body(f"m{number}", 1) for number in range(40)]
    target = Stubborn(*(f"m{number}-1" for number in range(40)))
    stuck = asyncio.Event()

    async def on_stuck():
        stuck.set()
        target.let_go.set()

    async with bench([stubborn(target, concurrency=16)], on_stuck=on_stuck, drain=None) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*bodies))
        await stuck.wait()

    assert not it.engine.was_clean


async def test_one_that_goes_on_for_too_long_stops_the_process(bench, monkeypatch):
    monkeypatch.setattr("consumer.runtime.strays._STRAYS_MAX_S", 0.3)
    target = Stubborn("m-1")
    stuck = asyncio.Event()

    async def on_stuck():
        stuck.set()
        target.let_go.set()

    async with bench([stubborn(target)], on_stuck=on_stuck, drain=None) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(1)))
        await stuck.wait()


async def test_a_lost_partition_leaves_nobody_waiting_for_it(bench):
    target = Stubborn("m-1")
    async with bench([stubborn(target, deadline_s=60)]) as it:
        intake = it.source.intake
        await intake.assigned("0")
        await intake.received(batch(*versions(2)))
        await it.until(lambda: it.engine.status().processors[0].running == 1)
        await intake.revoked("0", lost=True)
        await it.until(lambda: it.engine.status().processors[0].abandoned == 1)
        await intake.assigned("0")
        assert it.engine.status().partitions[0].epoch == 2
        target.let_go.set()
        await it.until(lambda: it.engine.status().processors[0].abandoned == 0)

    assert target.handled == ["m-1"]  # and nothing after it


class LeapingClock(SystemClock):
    """Goes on by so much at once, as it does for a process that was frozen."""

    ahead_s = 0.0
    looks = 0

    def monotonic_s(self) -> float:
        self.looks += 1
        return super().monotonic_s() + self.ahead_s


async def test_an_attempt_that_was_frozen_with_the_process_is_cut_off_before_it_is_blamed(
    bench, letters, monkeypatch
):
    """After a freeze its deadline is long past, though nobody has told it yet."""
    monkeypatch.setattr("consumer.runtime.lanes.CUT_OFF_S", 20)
    clock, gate = LeapingClock(), asyncio.Event()
    recorder = Recorder(before=lambda _: gate.wait())
    async with bench([running(recorder, delivery=Delivery.ON_ARRIVAL, deadline_s=20)], clock=clock) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(1)))
        await it.until(lambda: it.engine.status().processors[0].running == 1)
        clock.ahead_s = 60
        looked = clock.looks + 20
        await it.until(lambda: clock.looks >= looked)
        assert it.engine.status().processors[0].abandoned == 0
        gate.set()
        await it.until(lambda: it.outcomes() == {"handled": 1})

    assert [letter async for letter in letters.letters()] == []


@pytest.mark.parametrize("attempts_max", [1, 3])
@pytest.mark.parametrize("is_lost", [False, True])
async def test_an_attempt_that_makes_a_fault_of_being_cut_off_is_no_failure_and_is_not_made_again(
    bench, letters, is_lost, attempts_max
):
    """Some clients raise an error of their own when they are cancelled; nothing must begin after that."""
    entered = asyncio.Event()

    async def lose_the_connection(_event):
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ConnectionError("the connection was lost") from None

    target = Recorder(before=lose_the_connection)
    processor = running(target, concurrency=1, retry=RetryPolicy(attempts_max, 0, 0))
    async with bench([processor], drain_timeout_s=0.2) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(2)))
        await entered.wait()
        if is_lost:
            await it.source.intake.revoked("0", lost=True)
            await it.until(lambda: it.engine.status().partitions == [])

    assert target.attempts == [1]
    assert [letter async for letter in letters.letters()] == []
