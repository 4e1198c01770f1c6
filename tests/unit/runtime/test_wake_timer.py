"""Who sleeps until a time that moves wakes for every time that comes, and seldom for nothing."""

from __future__ import annotations

import asyncio

import pytest

from consumer.runtime.wake_timer import WakeTimer


class Hands:
    """A clock that a test moves."""

    def __init__(self):
        self.ms = 1_000_000

    def now_ms(self):
        return self.ms


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def timer(hands):
    return WakeTimer(hands)


async def turns(times=5):
    for _ in range(times):
        await asyncio.sleep(0)


async def test_a_time_that_has_come_is_not_slept_for_and_is_gone_then(timer, hands):
    timer.set(hands.ms - 3)
    assert await timer.sleep(60.0) == -0.003
    assert await timer.sleep(0.01) == 0.01


async def test_without_a_time_it_sleeps_as_long_as_it_may(timer):
    assert await timer.sleep(0.001) == 0.001


async def test_an_earlier_time_wakes_it_at_once_and_is_kept_until_it_has_come(timer, hands):
    timer.set(hands.ms + 50_000)
    async with asyncio.TaskGroup() as tasks:
        sleeping = tasks.create_task(timer.sleep(60.0))
        await turns()
        assert not sleeping.done()

        timer.set(hands.ms + 20_000)
        assert await sleeping == 50.0

    hands.ms += 20_000
    assert await timer.sleep(60.0) == 0.0


async def test_a_later_time_wakes_nobody_and_is_seen_when_the_earlier_one_has_come(timer, hands):
    timer.set(hands.ms + 40)
    async with asyncio.TaskGroup() as tasks:
        sleeping = tasks.create_task(timer.sleep(60.0))
        await turns()

        timer.set(hands.ms + 50_000)
        await turns()
        assert not sleeping.done()

        assert await sleeping == 0.04
    hands.ms += 50_000
    assert await timer.sleep(60.0) == 0.0


async def test_a_clock_that_is_put_back_hides_no_time(timer, hands):
    timer.set(hands.ms + 50_000)
    async with asyncio.TaskGroup() as tasks:
        sleeping = tasks.create_task(timer.sleep(60.0))
        await turns()
        hands.ms -= 3_600_000

        timer.set(hands.ms + 10_000)
        assert await sleeping == 50.0


async def test_what_was_set_while_nobody_slept_does_not_wake_who_sleeps_later(timer, hands):
    timer.set(hands.ms + 1)
    await timer.sleep(60.0)
    timer.set(hands.ms - 1)
    assert await timer.sleep(60.0) == -0.001

    async with asyncio.TaskGroup() as tasks:
        sleeping = tasks.create_task(timer.sleep(0.01))
        await turns()
        assert not sleeping.done()
