"""A target that is down, a bad event, and a rate, seen from a whole engine."""

from __future__ import annotations

import asyncio
import time

import pytest

from consumer.core.retry import RetryPolicy
from consumer.processor import Reject, Retry
from consumer.runtime.breaker import Breaker, BreakerPolicy, BreakerState
from consumer.runtime.clock import SystemClock
from consumer.runtime.gate import Gate
from consumer.runtime.rate import RatePolicy, TokenBucket

from .conftest import Recorder, batch, body, running, versions

AT_ONCE = RetryPolicy(attempts_max=3, backoff_s=0, backoff_max_s=0)


def gate(open_s: float = 0.01, open_max_s: float = 0.02, **policy) -> Gate:
    known = {"failures": 3, "open_s": open_s, "open_max_s": open_max_s}
    return Gate("mail", SystemClock(), Breaker(BreakerPolicy(**(known | policy))))


def limited(events: int, per_s: float, burst: int) -> Gate:
    clock = SystemClock()
    return Gate("mail", clock, bucket=TokenBucket(RatePolicy(events, per_s, burst), clock.monotonic_s()))


class Target:
    """Something that a processor needs, which can be down."""

    def __init__(self) -> None:
        self.is_up = asyncio.Event()
        self.failed = 0
        self.at_once = self.at_once_max = 0

    def answer(self, _event) -> None:
        if not self.is_up.is_set():
            self.failed += 1
            raise OSError("refused")


async def test_an_outage_makes_no_dead_letters_and_what_waited_is_handled_in_order_after_it(bench):
    """Twice as many events as two lanes could have spent their attempts on, many times over."""
    target = Target()
    recorder = Recorder(before=target.answer)
    processor = running(recorder, retry=AT_ONCE, gate=gate(), concurrency=8)
    async with bench([processor]) as it:
        for partition in ("0", "1"):
            await it.source.intake.assigned(partition)
            bodies = [body(f"{partition}{version % 7}", version) for version in range(1, 101)]
            await it.source.intake.received(batch(*bodies, partition=partition))
        await it.until(lambda: target.failed >= 3 + 5)
        assert processor.gate.breaker.state is not BreakerState.CLOSED
        assert target.failed < 60, "most lanes have never tried"
        target.is_up.set()
        await it.until(lambda: it.outcomes() == {"handled": 200})

    assert processor.counts.dead_lettered == 0
    for partition in "01":
        for model in range(7):
            of_model = [event.id for event in recorder.handled if event.id.startswith(f"{partition}{model}-")]
            assert of_model == sorted(of_model, key=lambda name: int(name.partition("-")[2]))


async def test_exactly_one_event_is_tried_at_a_time_while_the_target_is_down(bench):
    target = Target()
    at_once = [0]
    seen = []

    async def slow(event):
        at_once[0] += 1
        try:
            if processor.gate.breaker.state is not BreakerState.CLOSED:
                seen.append(at_once[0])
            await asyncio.sleep(0.002)
            target.answer(event)
        finally:
            at_once[0] -= 1

    processor = running(Recorder(before=slow), retry=AT_ONCE, gate=gate(failures=8), concurrency=8)
    async with bench([processor]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*(body(f"m{number}", 1) for number in range(100))))
        await it.until(lambda: len(seen) >= 6)
        target.is_up.set()
        await it.until(lambda: it.outcomes() == {"handled": 100})

    assert set(seen) == {1}


async def test_a_bad_event_in_the_only_lane_becomes_a_dead_letter_and_the_next_ones_are_handled(
    bench, letters
):
    def refuse(event):
        if event.id == "m-2":
            raise OSError("cannot digest it")

    recorder = Recorder(before=refuse)
    processor = running(recorder, retry=AT_ONCE, gate=gate(failures=2), concurrency=1)
    async with bench([processor]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(5)))
        await it.until(lambda: it.outcomes() == {"handled": 4, "dead_lettered:retries_spent": 1})
        assert processor.gate.breaker.state is BreakerState.CLOSED

    assert recorder.ids == ["m-1", "m-3", "m-4", "m-5"]
    (letter,) = [letter async for letter in letters.letters()]
    assert (letter.attempts, letter.error) == (2 + 3, "OSError: cannot digest it")


async def test_a_bad_event_keeps_no_other_lane_waiting(bench):
    """Its own lane goes on failing; every success of another one closes the breaker again."""

    def refuse(event):
        if event.id == "bad-1":
            raise OSError("cannot digest it")

    for_ever = RetryPolicy(attempts_max=1_000_000, backoff_s=0.001, backoff_max_s=0.001)
    recorder = Recorder(before=refuse)
    processor = running(recorder, retry=for_ever, gate=gate(failures=2), concurrency=8)
    async with bench([processor]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(body("bad", 1)))
        await it.until(lambda: processor.gate.breaker.opened == 1)
        await it.source.intake.received(batch(*(body(f"m{number}", 1) for number in range(80)), first=1))
        await it.until(lambda: len(recorder.handled) >= 50)
        assert not it.outcomes().get("dead_lettered:retries_spent")


async def test_a_chunk_that_was_bad_for_one_event_costs_that_event_and_no_other(bench, letters):
    class Chunks:
        def __init__(self) -> None:
            self.handled: list[str] = []

        async def process_batch(self, events, _context):
            if any(event.id == "m-3" for event in events):
                raise OSError("cannot digest it")
            self.handled += [event.id for event in events]

    target = Chunks()
    processor = running(target, retry=AT_ONCE, gate=gate(failures=2), concurrency=1)
    async with bench([processor]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(5)))
        await it.until(lambda: it.outcomes() == {"handled": 4, "dead_lettered:retries_spent": 1})

    assert target.handled == ["m-1", "m-2", "m-4", "m-5"]


@pytest.mark.parametrize("error", [OSError("refused"), Retry("later"), TimeoutError()])
async def test_faults_time_outs_and_requests_for_a_retry_count(bench, error):
    def fail(_event):
        raise error

    processor = running(Recorder(before=fail), gate=gate(open_s=60, open_max_s=60), concurrency=1)
    async with bench([processor]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(5)))
        await it.until(lambda: processor.gate.breaker.opened == 1)


async def test_rejected_events_open_nothing(bench):
    def reject(_event):
        raise Reject("no such model")

    processor = running(Recorder(before=reject), gate=gate(failures=1))
    async with bench([processor]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(20)))
        await it.until(lambda: it.outcomes() == {"dead_lettered:rejected": 20})

    assert processor.gate.breaker.opened == 0
    assert processor.gate.is_calm


async def test_a_stop_does_not_wait_for_an_open_breaker_and_the_next_owner_has_the_events(bench):
    target = Target()
    processor = running(Recorder(before=target.answer), gate=gate(open_s=3_600, open_max_s=3_600))
    async with bench([processor], drain_timeout_s=30.0) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*(body(f"m{number}", 1) for number in range(20))))
        await it.until(lambda: processor.gate.waiting > 1)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5
    assert it.engine.was_clean
    assert processor.gate.waiting == 0

    recorder = Recorder()
    async with bench([running(recorder)]) as it:
        assert (await it.source.intake.assigned("0")).sequence_number == -1
        await it.source.intake.received(batch(*(body(f"m{number}", 1) for number in range(20))))
        await it.until(lambda: len(recorder.handled) == 20)


async def test_a_partition_that_goes_while_its_lane_probes_leaves_the_probe_to_another(bench):
    entered = asyncio.Event()
    target = Target()

    async def probe(event):
        if processor.gate.breaker.state is BreakerState.HALF_OPEN and event.partition == "0":
            entered.set()
            await asyncio.Event().wait()
        if not entered.is_set():
            target.answer(event)

    recorder = Recorder(before=probe)
    processor = running(recorder, gate=gate(failures=2), concurrency=1)
    async with bench([processor]) as it:
        intake = it.source.intake
        for partition in ("0", "1"):
            await intake.assigned(partition)
            await intake.received(batch(*versions(2, model=f"m{partition}"), partition=partition))
        await entered.wait()
        await intake.revoked("0", lost=True)
        await it.until(lambda: recorder.ids == ["m1-1", "m1-2"])
        assert processor.gate.breaker.state is BreakerState.CLOSED


# The rate.


async def test_no_more_events_begin_than_the_rate_allows_and_waiting_is_no_attempt(bench):
    began_s: list[float] = []
    recorder = Recorder(before=lambda _event: began_s.append(time.monotonic()))
    processor = running(recorder, gate=limited(100, 1.0, 5), concurrency=8)
    async with bench([processor]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*(body(f"m{number}", 1) for number in range(25))))
        await it.until(lambda: it.outcomes() == {"handled": 25})

    # Not less: it may always be slower than that.
    assert began_s[-1] - began_s[0] >= (25 - 5) / 100 - 0.02
    assert set(recorder.attempts) == {1}
    assert processor.gate.rate_waited_s > 0


async def test_a_chunk_is_cut_to_what_the_rate_allows(bench):
    class Chunks:
        def __init__(self) -> None:
            self.lengths: list[int] = []

        async def process_batch(self, events, _context):
            self.lengths.append(len(events))

    target = Chunks()
    processor = running(target, gate=limited(1_000, 1.0, 7), concurrency=1, chunk_max=100)
    async with bench([processor]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(30)))
        await it.until(lambda: it.outcomes() == {"handled": 30})

    assert max(target.lengths) <= 7
    assert sum(target.lengths) == 30


async def test_a_rate_is_shared_evenly_by_a_partition_with_much_and_one_with_little(bench):
    order: list[str] = []
    recorder = Recorder(before=lambda event: order.append(event.partition))
    processor = running(recorder, gate=limited(500, 1.0, 1), concurrency=4)
    async with bench([processor]) as it:
        intake = it.source.intake
        for partition, objects in (("0", 40), ("1", 1)):
            await intake.assigned(partition)
            each = 10 // min(objects, 10)
            bodies = [body(f"m{number}", v) for number in range(objects) for v in range(1, each + 1)]
            await intake.received(batch(*bodies, partition=partition))
        await it.until(lambda: order.count("1") == 10)
        assert order.count("0") <= 20
        await it.until(lambda: it.outcomes() == {"handled": 50})


async def test_a_stop_does_not_wait_for_the_rate(bench):
    processor = running(Recorder(), gate=limited(1, 3_600.0, 1), concurrency=2)
    async with bench([processor], drain_timeout_s=30.0) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*(body(f"m{number}", 1) for number in range(20))))
        await it.until(lambda: processor.gate.waiting > 0)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5
    assert it.engine.was_clean
