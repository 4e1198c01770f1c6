"""The deadline of a lane's attempts: one timer, and still every attempt at its own time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import contextmanager

import pytest

from consumer.runtime.deadline import Deadline


class Alarm:
    """Stands for the loop: its time is the test's, and it keeps the timers that are set."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.timers: list[Timer] = []
        self.set_in_all = 0

    def time(self) -> float:
        return self.now_s

    def call_at(self, when_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self, when_s, callback)
        self.timers.append(timer)
        self.set_in_all += 1
        return timer

    def pass_to(self, now_s: float) -> None:
        """Let time go on, and what is due happen when it is due."""
        while due := [timer for timer in self.timers if timer.when_s <= now_s]:
            first = min(due, key=lambda timer: timer.when_s)
            self.timers.remove(first)
            self.now_s = first.when_s
            first.callback()
        self.now_s = now_s


class Timer:
    def __init__(self, alarm: Alarm, when_s: float, callback: Callable[[], None]) -> None:
        self.alarm, self.when_s, self.callback = alarm, when_s, callback

    def cancel(self) -> None:
        self.alarm.timers.remove(self)


class Worker:
    """Stands for the task: counts how often it was cancelled, and no more than that."""

    cancelled = 0

    def cancel(self) -> bool:
        self.cancelled += 1
        return True

    def uncancel(self) -> int:
        self.cancelled -= 1
        return self.cancelled


@pytest.fixture
def alarm(monkeypatch):
    alarm = Alarm()
    monkeypatch.setattr("consumer.runtime.deadline.asyncio.get_running_loop", lambda: alarm)
    return alarm


@pytest.fixture
def worker(monkeypatch):
    worker = Worker()
    monkeypatch.setattr("consumer.runtime.deadline.asyncio.current_task", lambda _loop: worker)
    return worker


def test_an_attempt_is_cut_off_at_its_own_deadline_and_not_at_the_timer_of_the_one_before(alarm, worker):
    deadline = Deadline()
    deadline.begin(30)
    assert not deadline.end()
    alarm.pass_to(110)
    deadline.begin(30)

    alarm.pass_to(139.999)
    assert worker.cancelled == 0
    alarm.pass_to(140)
    assert worker.cancelled == 1

    assert deadline.end()
    assert worker.cancelled == 0


def test_many_attempts_need_one_timer(alarm, worker):
    deadline = Deadline()
    for attempt in range(10_000):
        deadline.begin(30)
        alarm.pass_to(100 + attempt / 1_000)
        assert not deadline.end()

    assert alarm.set_in_all == 1
    assert worker.cancelled == 0


def test_a_timer_that_finds_nothing_running_is_not_set_again(alarm, worker):
    deadline = Deadline()
    deadline.begin(30)
    deadline.end()

    alarm.pass_to(1_000)

    assert alarm.timers == []
    assert worker.cancelled == 0


def test_an_earlier_deadline_than_that_of_the_timer_is_kept_as_well(alarm, worker):
    deadline = Deadline()
    deadline.begin(30)
    deadline.end()
    deadline.begin(5)

    alarm.pass_to(105)

    assert worker.cancelled == 1
    assert alarm.timers == []


def test_an_attempt_that_goes_on_is_cancelled_once_and_the_next_one_has_its_whole_time(alarm, worker):
    deadline = Deadline()
    deadline.begin(30)
    alarm.pass_to(500)
    assert worker.cancelled == 1
    assert deadline.end()

    deadline.begin(30)
    alarm.pass_to(529)
    assert worker.cancelled == 0
    assert not deadline.end()


def test_a_closed_one_leaves_no_timer(alarm, worker):
    deadline = Deadline()
    deadline.begin(30)
    deadline.end()

    deadline.close()

    assert alarm.timers == []


@contextmanager
def within(deadline: Deadline, after_s: float):
    deadline.begin(after_s)
    try:
        yield
    finally:
        assert deadline.end()


async def test_on_a_real_loop_each_attempt_that_takes_too_long_is_cut_off():
    deadline = Deadline()
    for _ in range(3):
        with pytest.raises(asyncio.CancelledError), within(deadline, 0.01):
            await asyncio.sleep(60)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()


async def test_an_attempt_that_was_slept_through_is_cut_off_before_what_it_waited_for_comes():
    """When a frozen process goes on everything is due at once; what is past its deadline has no effect."""
    deadline, effects = Deadline(), []

    async def lane() -> bool:
        deadline.begin(0.05)  # sets the timer
        assert not deadline.end()
        await asyncio.sleep(0.02)
        deadline.begin(0.05)  # has the timer of the one before
        frozen = asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        try:
            await asyncio.sleep(0.1)
            effects.append("late")
        except asyncio.CancelledError:
            pass
        frozen.cancel()
        return deadline.end()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(lane())
    deadline.close()

    assert task.result(), "it was cut off"
    assert effects == []
