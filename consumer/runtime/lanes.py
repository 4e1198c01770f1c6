"""Lanes: side by side, and within each one event after the other.

An object always takes the same lane, so its events are handled in the order in which they were dispatched,
one at a time. What waits in a lane is bounded by the pipeline, which pauses the source before it grows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice

from consumer.core.flights import Delivery
from consumer.core.stimuli import Result, Verdict
from consumer.events import Event
from consumer.runtime.attempts import Ending, RunningProcessor, run_attempts
from consumer.runtime.clock import Clock

Settle = Callable[[list[Result]], Awaitable[None]]
"""Takes results; returns when what may follow them may begin."""

_REPORT_AFTER_S = 0.005
"""How long results of single events are collected before they are reported."""


class Lanes:
    """The lanes of one processor on one partition."""

    def __init__(
        self, index: int, processor: RunningProcessor, tasks: asyncio.TaskGroup, clock: Clock, settle: Settle
    ) -> None:
        self._index = index
        self._processor = processor
        self._tasks = tasks
        self._clock = clock
        self._settle = settle
        self._lanes: list[_Lane | None] = [None] * processor.concurrency

    def put(self, events: list[Event], tickets: list[int]) -> None:
        """Queue events; never waits."""
        self._processor.counts.queued += len(events)
        count = len(self._lanes)
        for event, ticket in zip(events, tickets, strict=True):
            # Python's hash of text differs from process to process, which no order depends on.
            number = hash(event.object_id) % count
            lane = self._lanes[number]
            if lane is None:
                lane = self._lanes[number] = _Lane()
                name = f"lane {self._processor.plan.name}/{number}"
                lane.task = self._tasks.create_task(self._run(lane), name=name)
            lane.waiting.append((event, ticket))
            lane.is_filled.set()

    async def stop(self) -> None:
        """Forget what waits and cut off what runs; returns when nothing runs any more."""
        running = [lane.task for lane in self._lanes if lane is not None and lane.task is not None]
        for lane in self._lanes:
            if lane is not None:
                self._processor.counts.queued -= len(lane.waiting)
                lane.waiting.clear()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, lane: _Lane) -> None:
        while True:
            if not lane.waiting:
                lane.is_filled.clear()
                await lane.is_filled.wait()
            if self._processor.plan.delivery is Delivery.LATEST:
                await self._skip_superseded(lane)
            if self._processor.takes_batches:
                await self._run_chunk(lane)
            else:
                await self._run_singly(lane)

    async def _run_chunk(self, lane: _Lane) -> None:
        chunk = list(islice(lane.waiting, self._processor.chunk_max))
        self._take(lane, len(chunk))
        endings = await run_attempts(self._processor, [event for event, _ in chunk], self._clock)
        await self._settle(
            [self._result(ticket, ending) for (_, ticket), ending in zip(chunk, endings, strict=True)]
        )

    async def _run_singly(self, lane: _Lane) -> None:
        """Go through what waits, and report in batches: soon, but not for every event."""
        results: list[Result] = []
        reported_s = self._clock.monotonic_s()
        while lane.waiting:
            event, ticket = lane.waiting[0]
            self._take(lane, 1)
            try:
                (ending,) = await run_attempts(self._processor, [event], self._clock)
            except asyncio.CancelledError:
                if results:  # what is done is done: it must not be repeated because the next one was cut off
                    await self._settle(results)
                raise
            results.append(self._result(ticket, ending))
            now_s = self._clock.monotonic_s()
            if (
                ending.verdict is Verdict.FAILED
                or now_s - reported_s > _REPORT_AFTER_S
                or len(results) >= 100
            ):
                await self._settle(results)
                results, reported_s = [], now_s
            if self._processor.plan.delivery is Delivery.LATEST:
                break
        if results:
            await self._settle(results)

    async def _skip_superseded(self, lane: _Lane) -> None:
        """Take out the events after which a later one of the same object waits."""
        last = {event.object_id: ticket for event, ticket in lane.waiting if not event.stale}
        skipped = [ticket for event, ticket in lane.waiting if last.get(event.object_id, ticket) != ticket]
        if not skipped:
            return
        gone = set(skipped)
        lane.waiting = deque((event, ticket) for event, ticket in lane.waiting if ticket not in gone)
        self._processor.counts.queued -= len(skipped)
        await self._settle([Result(ticket, self._index, Verdict.SKIPPED) for ticket in skipped])

    def _take(self, lane: _Lane, count: int) -> None:
        for _ in range(count):
            lane.waiting.popleft()
        self._processor.counts.queued -= count

    def _result(self, ticket: int, ending: Ending) -> Result:
        return Result(ticket, self._index, *ending)


class _Lane:
    """What waits in one lane."""

    __slots__ = ("is_filled", "task", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[Event, int]] = deque()
        self.is_filled = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
