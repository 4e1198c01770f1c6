"""A process is told of exactly those that were reaped in its place."""

from __future__ import annotations

import asyncio

from consumer.runtime.clock import SystemClock
from consumer.runtime.restarts import RestartLimits
from consumer.runtime.supervisor import Supervisor, SupervisorLimits
from consumer.succession import FORERUNNERS_MAX
from consumer.telemetry.workers_book import WorkersBook

ALWAYS = RestartLimits(backoff_s=0, backoff_max_s=0)
"""They die together, so these deaths count as one."""


class Starter:
    """Starts processes that die at once, until there were enough."""

    def __init__(self, starts: int, refused: frozenset[int] = frozenset()) -> None:
        self.told: dict[str, list] = {}
        """By place what each process was told, or would have been."""
        self.supervisor: Supervisor | None = None
        self._starts = starts
        self._refused = refused

    async def start(self, worker, now_s, succession):
        told = self.told.setdefault(worker, [])
        told.append(succession)
        if len(told) in self._refused:
            raise OSError("there is no memory")
        if len(told) == self._starts:
            self.supervisor.drain()
        return Process()


class Process:
    """Dies at once, of a signal."""

    pid = 1
    report = None

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.reader.feed_eof()

    async def wait(self) -> int:
        return -9

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


async def run(starter: Starter, *places: str) -> None:
    limits = SupervisorLimits(stop_s=1, restarts=ALWAYS)
    starter.supervisor = Supervisor(places, starter, WorkersBook(), limits, SystemClock())
    async with asyncio.timeout(30):
        await starter.supervisor.run()


async def test_a_process_is_told_of_all_that_died_in_its_place_before_it_and_of_no_other():
    starter = Starter(4)
    await run(starter, "1", "2")
    for told in starter.told.values():
        marks = [each.mark for each in told]
        assert [list(each.dead) for each in told] == [marks[:number] for number in range(len(told))]
    marks = [each.mark for told in starter.told.values() for each in told]
    assert len(set(marks)) == len(marks) > 4


async def test_a_process_that_was_never_started_is_not_among_the_dead():
    starter = Starter(4, refused=frozenset({2}))
    await run(starter, "1")
    first, _, third, fourth = starter.told["1"]
    assert third.dead == (first.mark,)
    assert fourth.dead == (first.mark, third.mark)


async def test_of_many_dead_the_last_are_told():
    starter = Starter(FORERUNNERS_MAX + 4)
    await run(starter, "1")
    told = starter.told["1"]
    assert list(told[-1].dead) == [each.mark for each in told[-1 - FORERUNNERS_MAX : -1]]
