"""How long an owner trusts itself, with a clock that only moves when it is told to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from consumer.errors import FenceLost, StoreUnavailable
from consumer.runtime.lease import Lease


class Hands:
    """A clock whose hands a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def now_ms(self) -> int:
        return round(self.now_s * 1_000)

    def monotonic_s(self) -> float:
        return self.now_s

    def jitter(self) -> float:
        return 0.0


class Store:
    """What is asked whether the partition is still ours."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.error: Exception | None = None

    async def prove(self) -> None:
        self.asked += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def stored() -> Store:
    return Store()


@pytest.fixture
def lease(hands, stored) -> Lease:
    return Lease("0", stored.prove, hands, proved_s=hands.now_s, lasts_s=15)


@asynccontextmanager
async def kept(lease):
    async with asyncio.TaskGroup() as tasks:
        keeper = tasks.create_task(lease.keep())
        yield keeper
        keeper.cancel()


async def turn(times=20):
    for _ in range(times):
        await asyncio.sleep(0)


def pass_time(hands, lease, seconds, *, is_busy=True):
    """Let time pass as a loop that turns sees it: a look every second. Says whether to give up."""
    for _ in range(seconds):
        hands.now_s += 1
        if lease.look(is_busy=is_busy):
            return True
    return False


async def test_nothing_is_asked_while_the_lease_lasts(hands, stored, lease):
    async with kept(lease):
        hands.now_s += 14.9
        await lease.hold()

    assert stored.asked == 0


async def test_an_idle_partition_costs_no_access(hands, stored, lease):
    async with kept(lease):
        assert not pass_time(hands, lease, 3_600, is_busy=False)
        await turn()

    assert stored.asked == 0


async def test_all_lanes_wait_for_one_look(hands, stored, lease):
    stored.answers.clear()
    async with kept(lease), asyncio.TaskGroup() as tasks:
        hands.now_s += 40  # the process was frozen
        waiting = [tasks.create_task(lease.hold()) for _ in range(20)]
        await turn()
        assert not any(task.done() for task in waiting)
        stored.answers.set()

    assert stored.asked == 1
    assert lease.is_valid


async def test_a_frozen_owner_whose_partition_was_taken_begins_nothing(hands, stored, lease):
    stored.error = FenceLost("another owner")
    hands.now_s += 40

    async def wait_and_look():
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(lease.hold())
            try:
                await lease.keep()
            finally:
                await turn()
                assert not waiting.done()
                waiting.cancel()

    with pytest.raises(ExceptionGroup) as caught:
        await wait_and_look()

    assert caught.group_contains(FenceLost)


async def test_the_lease_counts_from_the_start_of_the_access_not_from_its_end(hands, stored, lease):
    stored.answers.clear()
    async with kept(lease):
        pass_time(hands, lease, 6)
        await turn()
        began_s = hands.now_s
        hands.now_s += 8
        stored.answers.set()
        await turn()

    assert lease.remaining_s == pytest.approx(began_s + 15 - hands.now_s)


async def test_a_busy_partition_has_its_lease_renewed_before_it_ends(hands, stored, lease):
    async with kept(lease):
        for _ in range(60):
            assert not pass_time(hands, lease, 1)
            await turn()
            assert lease.is_valid

    assert 5 <= stored.asked <= 15


async def test_a_store_that_takes_ten_seconds_for_every_write_interrupts_nothing(hands, stored, lease):
    async with kept(lease):
        stored.answers.clear()
        for _ in range(12):
            began_s = hands.now_s
            assert not pass_time(hands, lease, 10)
            await turn()
            lease.proved(began_s)

    assert lease.trouble is None


async def test_a_store_that_takes_ten_seconds_for_every_look_delays_and_no_more(hands, stored, lease):
    async with kept(lease):
        for _ in range(8):
            stored.answers.clear()
            assert not pass_time(hands, lease, 10)
            stored.answers.set()
            await turn()


async def test_a_busy_owner_without_an_answer_is_silent_when_the_lease_ends(hands, stored, lease):
    stored.answers.clear()
    async with kept(lease):
        pass_time(hands, lease, 5)
        await turn()
        assert not pass_time(hands, lease, 9)
        assert pass_time(hands, lease, 2)
        assert not lease.is_valid


async def test_a_store_that_is_away_is_asked_again_and_said_to_be_away(hands, stored, lease, monkeypatch):
    monkeypatch.setattr("consumer.runtime.lease._ASK_AGAIN_S", 0.0)
    stored.error = StoreUnavailable("no route")
    async with kept(lease), asyncio.TaskGroup() as tasks:
        hands.now_s += 20
        waiting = tasks.create_task(lease.hold())
        await turn(60)
        assert stored.asked > 3
        assert lease.trouble == "no route"
        assert not waiting.done()
        stored.error = None

    assert lease.is_valid
    assert lease.trouble is None


async def test_time_that_the_process_slept_through_is_not_held_against_the_store(hands, stored, lease):
    """It was asked, then the process was frozen: the answer may be there and has not been read yet."""
    stored.answers.clear()
    async with kept(lease):
        pass_time(hands, lease, 6)
        await turn()
        hands.now_s += 600
        assert not lease.look(is_busy=True)
        stored.answers.set()
        await turn()
        assert not pass_time(hands, lease, 1)


async def test_only_work_is_given_up_not_a_checkpoint_that_is_late(hands, lease):
    lease.failed(hands.now_s)

    assert not pass_time(hands, lease, 600, is_busy=False)
