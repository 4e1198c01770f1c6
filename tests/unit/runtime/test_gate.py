"""Who may begin an attempt: one at a time while the target is down, and so many a second with a rate."""

from __future__ import annotations

import asyncio

import pytest

from consumer.runtime.breaker import Breaker, BreakerPolicy, BreakerState, Patience
from consumer.runtime.gate import Gate
from consumer.runtime.rate import RatePolicy, TokenBucket


class HandClock:
    """A clock that a test moves; the loop's own timers only make the gate look."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now_ms(self) -> int:
        return int(self.at_s * 1_000)

    def monotonic_s(self) -> float:
        return self.at_s

    def jitter(self) -> float:
        return 0.5


@pytest.fixture
def clock():
    return HandClock()


def opened(clock, **policy):
    """A gate whose breaker has just opened, for a moment."""
    known = {"failures": 1, "open_s": 0.01, "open_max_s": 0.01}
    gate = Gate("mail", clock, Breaker(BreakerPolicy(**(known | policy))))
    gate.failed(0, Patience(5), "refused")
    assert not gate.is_calm
    return gate


async def turns(count: int = 5) -> None:
    """Let everybody go on who can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def let(gate, clock, seconds: float = 0.02) -> None:
    """Let time pass, for the clock and for the gate's timer."""
    clock.at_s += seconds
    gate._look()
    await turns()


async def test_of_many_lanes_that_wait_exactly_one_makes_the_probe_and_its_success_lets_all_in(clock):
    gate = opened(clock)
    async with asyncio.TaskGroup() as tasks:
        lanes = [tasks.create_task(gate.enter(str(number % 4), 1)) for number in range(32)]
        await turns()
        assert (gate.waiting, [each for each in lanes if each.done()]) == (32, [])
        await let(gate, clock)
        (probe,) = [each for each in lanes if each.done()]
        assert gate.breaker.state is BreakerState.HALF_OPEN
        assert probe.result() == 1
        gate.succeeded()
        await turns()
        assert all(each.done() for each in lanes)
    assert gate.is_calm
    assert gate.breaker_waited_s == pytest.approx(32 * 0.02)


async def test_after_a_probe_that_failed_it_is_another_partitions_turn(clock):
    gate = opened(clock)
    probed: list[str] = []

    async def lane(name: str) -> None:
        while len(probed) < 6:
            permit = await gate.enter(name[0], 1)
            probed.append(name)
            gate.failed(permit, Patience(5), "refused")

    async with asyncio.TaskGroup() as tasks:
        for name in ("0a", "0b", "1a"):
            tasks.create_task(lane(name))
        await turns()
        while len(probed) < 6:
            await let(gate, clock)
        for _ in range(3):  # those that are still in line see that it is enough
            await let(gate, clock)
    assert probed[:6] == ["0a", "1a", "0b", "1a", "0a", "1a"]


async def test_whoever_is_cancelled_while_waiting_holds_up_nobody(clock):
    gate = opened(clock)
    async with asyncio.TaskGroup() as tasks:
        first, second = (tasks.create_task(gate.enter("0", 1)) for _ in range(2))
        await turns()
        first.cancel()
        await let(gate, clock)
        assert second.result() == 1
    assert first.cancelled()
    assert gate.waiting == 0


async def test_whoever_is_cancelled_just_after_being_let_in_gives_the_probe_to_the_next(clock):
    gate = opened(clock)
    async with asyncio.TaskGroup() as tasks:
        first, second = (tasks.create_task(gate.enter("0", 1)) for _ in range(2))
        await turns()
        clock.at_s += 0.02
        gate._look()
        first.cancel()  # it has the probe, and has not run since
        await turns()
        assert second.result() == 2
    assert first.cancelled()


async def test_whoever_is_cancelled_just_before_its_turn_does_not_get_it(clock):
    gate = opened(clock)
    async with asyncio.TaskGroup() as tasks:
        first, second = (tasks.create_task(gate.enter("0", 1)) for _ in range(2))
        await turns()
        first.cancel()  # it has not run since, and stands in line
        clock.at_s += 0.02
        gate._look()
        await turns()
        assert second.result() == 1


async def test_the_gate_looks_again_by_itself_when_the_time_has_come():
    gate = Gate("mail", breaker=Breaker(BreakerPolicy(1, 0.01, 0.01)))
    gate.failed(0, Patience(5), "refused")
    async with asyncio.timeout(5):
        assert await gate.enter("0", 1) == 1


async def test_without_a_rate_a_chunk_is_as_long_as_it_may_be():
    assert Gate().chunk_of(100) == 100
    assert Gate().is_calm


async def test_a_chunk_is_cut_to_what_is_allowed_now_and_while_that_is_nothing_to_what_ever_is(clock):
    gate = Gate("mail", clock, bucket=TokenBucket(RatePolicy(10, 1, 20), clock.at_s))
    assert (gate.chunk_of(100), gate.chunk_of(5)) == (20, 5)
    await gate.enter("0", 15)
    assert gate.chunk_of(100) == 5
    await gate.enter("0", 5)
    assert gate.chunk_of(100) == 20


async def test_with_a_rate_who_comes_waits_behind_those_that_wait_and_it_is_counted(clock):
    gate = Gate("mail", clock, bucket=TokenBucket(RatePolicy(1, 1, 1), clock.at_s))
    await gate.enter("0", 1)
    async with asyncio.TaskGroup() as tasks:
        lanes = [tasks.create_task(gate.enter(partition, 1)) for partition in ("0", "0", "1")]
        await turns()
        ends = []
        for _ in range(3):
            await let(gate, clock, 1.0)
            ends.append([index for index, lane in enumerate(lanes) if lane.done()])
    assert ends == [[0], [0, 2], [0, 1, 2]]
    assert gate.rate_waited_s == pytest.approx(1 + 2 + 3)
    assert gate.breaker_waited_s == 0


async def test_while_the_target_is_down_nobody_takes_from_the_rate(clock):
    gate = Gate("mail", clock, Breaker(BreakerPolicy(1, 10, 10)), TokenBucket(RatePolicy(1, 100, 5), 0))
    gate.failed(await gate.enter("0", 1), Patience(5), "refused")
    async with asyncio.TaskGroup() as tasks:
        lanes = [tasks.create_task(gate.enter("0", 1)) for _ in range(3)]
        await let(gate, clock, 11)
        assert sum(lane.done() for lane in lanes) == 1
        gate.succeeded()
        await turns()
    assert gate._bucket.whole(clock.at_s) == 1


async def test_events_that_did_not_begin_after_all_are_given_back(clock):
    gate = Gate("mail", clock, bucket=TokenBucket(RatePolicy(1, 100, 5), 0))
    permit = await gate.enter("0", 4)
    gate.withdrawn(permit, unused=4)
    assert gate.chunk_of(100) == 5
