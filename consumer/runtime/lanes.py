"""Lanes: side by side, and within each one event after the other.

An object always takes the same lane, so its events are handled in the order in which they were dispatched,
one at a time. What waits in a lane is bounded by the pipeline, which pauses the source before it grows.

An attempt that goes on although it was cut off at its deadline is *abandoned*: said, counted, and waited for
by nobody but its lane. Its effect may still come, so in a lane that keeps an order nothing follows before it
has ended. Where no order was promised (`on_arrival`) the event becomes a dead letter and the lane goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice

import structlog

from consumer.core.flights import Delivery, Flight
from consumer.core.stimuli import Result, Verdict
from consumer.events import Event, Reason
from consumer.runtime.attempts import Ending, RunningProcessor, Turn, run_attempts

_log = structlog.get_logger("inturn.processor")

Settle = Callable[[list[Result]], Awaitable[None]]
"""Takes results; returns when what may follow them may begin."""

CUT_OFF_S = 2.0
"""How long an attempt may take to end once it is cut off; then it is abandoned."""
_REPORT_AFTER_S = 0.005
"""How long results of single events are collected before they are reported."""
_REPORT_MAX = 100
"""Results that are collected at most."""


_LANE = "lane "


def processor_of(task: str) -> str | None:
    """The processor whose lane a task is, by the task's name."""
    return task.removeprefix(_LANE).rpartition("/")[0] if task.startswith(_LANE) else None


class Lanes:
    """The lanes of one processor on one partition."""

    def __init__(
        self,
        index: int,
        processor: RunningProcessor,
        tasks: asyncio.TaskGroup,
        new_turn: Callable[[], Turn],
        settle: Settle,
    ) -> None:
        self._index = index
        self._processor = processor
        self._tasks = tasks
        self._new_turn = new_turn
        self._settle = settle
        self._lanes: list[_Lane | None] = [None] * processor.concurrency
        self._strays: list[_Lane] = []
        """Lanes that were replaced, as long as their last attempt goes on."""
        self._is_stopping = False
        self._is_finishing = False
        self._has_results = asyncio.Event()
        self._reporting = tasks.create_task(self._report(), name=f"report {processor.plan.name}")

    def put(self, events: list[Event], tickets: list[Flight]) -> None:
        """Queue events; never waits."""
        if self._is_finishing:
            return
        self._processor.counts.queued += len(events)
        count = len(self._lanes)
        for event, ticket in zip(events, tickets, strict=True):
            # Python's hash of text differs from process to process, which no order depends on.
            number = hash(event.object_id) % count
            lane = self._lanes[number] or self._begin(number, deque())
            lane.waiting.append((event, ticket))
            lane.is_filled.set()

    @property
    def is_moving(self) -> bool:
        """Whether anything will end by itself, rather than behind an attempt that does not."""
        lanes = [lane for lane in self._lanes if lane is not None and not lane.is_abandoned]
        return any(lane.waiting or lane.is_busy or lane.results for lane in lanes)

    @property
    def is_amid(self) -> bool:
        """Whether an attempt runs that may still end, or one has just ended."""
        lanes = [lane for lane in self._lanes if lane is not None and not lane.is_abandoned]
        return any(lane.turn.started_s is not None or lane.results for lane in lanes)

    @property
    def has_strays(self) -> bool:
        """Whether an attempt goes on although it was cut off."""
        return any(lane.is_abandoned for lane in self._all())

    def finish(self) -> None:
        """Begin nothing more: what waits is left to the next owner, what runs may end."""
        self._is_finishing = True
        self._forget_waiting()

    def _forget_waiting(self) -> None:
        for lane in self._all():
            self._processor.counts.queued -= len(lane.waiting)
            lane.waiting.clear()

    def look(self, now_s: float) -> None:
        """Notice attempts that do not end; call it every second or so."""
        self._strays = [lane for lane in self._strays if lane.is_abandoned]
        for number, lane in enumerate(self._lanes):
            if lane is None:
                continue
            self._recover(lane)
            if lane.is_abandoned:
                continue
            if lane.was_cut_off_before(now_s - CUT_OFF_S, self._processor.deadline_s, now_s):
                self._abandon(lane)
                if self._may_go_on:
                    self._replace(number, lane)

    def cut_off(self) -> list[asyncio.Task[None]]:
        """Forget what waits and cut off what runs; gives the tasks that are to end now, soon."""
        if not self._is_stopping:
            self._is_stopping = True
            self._reporting.cancel()
            self._forget_waiting()
            for lane in self._all():
                if lane.task is not None:
                    lane.task.cancel()  # once: what a processor tidies up is not to be interrupted
        patient = [lane.task for lane in self._all() if not lane.is_abandoned]
        return [task for task in patient if task is not None and not task.done()]

    async def conclude(self) -> None:
        """After `cut_off`, and some time: report what is done, abandon what still runs."""
        for lane in self._all():
            await self._flush(lane)
            if lane.task is not None and not lane.task.done() and not lane.is_abandoned:
                self._abandon(lane)

    def _all(self) -> list[_Lane]:
        return [lane for lane in (*self._lanes, *self._strays) if lane is not None]

    # One lane.

    def _begin(self, number: int, waiting: deque[tuple[Event, Flight]]) -> _Lane:
        lane = self._lanes[number] = _Lane(self._new_turn(), waiting)
        name = f"{_LANE}{self._processor.plan.name}/{number}"
        lane.task = self._tasks.create_task(self._run(lane), name=name)
        return lane

    async def _run(self, lane: _Lane) -> None:
        try:
            while not (self._is_stopping or lane.is_replaced):
                lane.is_busy = bool(lane.waiting)
                if not lane.waiting:
                    lane.is_filled.clear()
                    await lane.is_filled.wait()
                    continue
                if self._processor.plan.delivery is Delivery.LATEST:
                    await self._skip_superseded(lane)
                if self._processor.takes_batches:
                    await self._run_chunk(lane)
                else:
                    await self._run_singly(lane, lane.waiting)
        finally:
            lane.is_busy = False
            self._recover(lane)

    async def _run_chunk(self, lane: _Lane) -> None:
        chunk = deque(islice(lane.waiting, self._processor.chunk_max))
        for _ in chunk:
            self._take(lane.waiting)
        ending = await run_attempts(self._processor, [event for event, _ in chunk], lane.turn)
        if ending is None:
            await self._run_singly(lane, chunk)
        else:
            await self._settle([self._result(ticket, ending) for _, ticket in chunk])

    async def _run_singly(self, lane: _Lane, queue: deque[tuple[Event, Flight]]) -> None:
        """Go through a queue; what was done is reported soon, but not for every event by itself."""
        while queue and not (self._is_stopping or self._is_finishing):
            event, ticket = self._take(queue) if queue is lane.waiting else queue.popleft()
            lane.ticket = ticket
            ending = await run_attempts(self._processor, [event], lane.turn)
            assert ending is not None, "an event alone has a verdict"
            if lane.is_replaced:
                return
            lane.results.append(self._result(ticket, ending))
            if ending.verdict is Verdict.FAILED or len(lane.results) >= _REPORT_MAX:
                await self._flush(lane)
            else:
                self._has_results.set()
            if self._processor.plan.delivery is Delivery.LATEST:
                return

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

    def _take(self, waiting: deque[tuple[Event, Flight]]) -> tuple[Event, Flight]:
        self._processor.counts.queued -= 1
        return waiting.popleft()

    # Results.

    async def _report(self) -> None:
        """Report what is done beside what is being done: the next attempt may take its time."""
        while True:
            await self._has_results.wait()
            await asyncio.sleep(_REPORT_AFTER_S)
            self._has_results.clear()
            for lane in self._lanes:
                if lane is not None:
                    await self._flush(lane)

    async def _flush(self, lane: _Lane) -> None:
        results, lane.results = lane.results, []
        if results:
            await self._settle(results)

    def _result(self, ticket: Flight, ending: Ending) -> Result:
        return Result(ticket, self._index, *ending)

    # Attempts that do not end.

    @property
    def _may_go_on(self) -> bool:
        """Whether a lane can do without the end of an attempt: no order to keep, nothing to block for."""
        processor = self._processor
        on_arrival = processor.plan.delivery is Delivery.ON_ARRIVAL
        return on_arrival and not processor.takes_batches and not processor.retry.block

    def _abandon(self, lane: _Lane) -> None:
        lane.abandoned_s = lane.turn.started_s
        if lane.abandoned_s is None:  # it does not run, it waits for its results to be stored
            return
        strays = self._processor.counts.strays
        strays.append(lane.abandoned_s)
        _log.error(
            "A processor goes on although it was cut off: it swallows cancellation, and must not.",
            processor=self._processor.plan.name,
            ran_s=round(lane.turn.clock.monotonic_s() - lane.abandoned_s, 1),
            deadline_s=self._processor.deadline_s,
            abandoned=len(strays),
        )

    def _recover(self, lane: _Lane) -> None:
        """Notice that an abandoned attempt has ended after all."""
        if lane.abandoned_s is not None and lane.abandoned_s != lane.turn.started_s:
            self._processor.counts.strays.remove(lane.abandoned_s)
            lane.abandoned_s = None

    def _replace(self, number: int, lane: _Lane) -> None:
        """Let another lane go on with what waits; the event of the attempt becomes a dead letter."""
        lane.is_replaced = True
        self._strays.append(lane)
        self._processor.counts.dead_lettered += 1
        self._begin(number, lane.waiting)
        lane.waiting = deque()
        error = (
            f"no result within the deadline of {self._processor.deadline_s:g} s, and it could not be cut "
            "off: its effect may still come"
        )
        ending = Ending(Verdict.FAILED, Reason.RETRIES_SPENT, error, 1)
        assert lane.ticket is not None
        lane.results.append(self._result(lane.ticket, ending))
        self._tasks.create_task(self._flush(lane), name=f"give up an event of {self._processor.plan.name}")


class _Lane:
    """What waits in one lane, and what it is doing."""

    __slots__ = (
        "abandoned_s",
        "is_busy",
        "is_filled",
        "is_replaced",
        "overdue",
        "results",
        "task",
        "ticket",
        "turn",
        "waiting",
    )

    def __init__(self, turn: Turn, waiting: deque[tuple[Event, Flight]]) -> None:
        self.turn = turn
        self.waiting = waiting
        self.is_filled = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.results: list[Result] = []
        """What is done and not yet reported."""
        self.ticket: Flight | None = None
        """Of the event that is being handled by itself."""
        self.is_busy = False
        self.is_replaced = False
        self.abandoned_s: float | None = None
        """When the attempt began that goes on although it was cut off."""
        self.overdue: tuple[float, float] | None = None
        """When the attempt began that is past its deadline, and when that was first seen."""

    def was_cut_off_before(self, limit_s: float, deadline_s: float, now_s: float) -> bool:
        """Whether the attempt was seen past its deadline before a moment.

        Seen, and not: began so long ago. The time-out of a process that was frozen fires when it wakes up.
        """
        started_s = self.turn.started_s
        if started_s is None or now_s - started_s <= deadline_s:
            self.overdue = None
            return False
        if self.overdue is None or self.overdue[0] != started_s:
            self.overdue = (started_s, now_s)
        return self.overdue[1] < limit_s

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for what it is doing."""
        return self.abandoned_s is not None
