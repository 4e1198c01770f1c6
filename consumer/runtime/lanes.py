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
from collections.abc import Awaitable, Callable, Sequence

import structlog

from consumer.core.flights import Delivery, Flight
from consumer.core.parking import Parked
from consumer.core.shares import Shares
from consumer.core.stimuli import Emitted, Result, Verdict
from consumer.events import Event, Reason
from consumer.processor import Emission
from consumer.runtime.attempts import Ending, RunningProcessor, Turn, run_attempts
from consumer.runtime.emissions import emitted_of
from consumer.runtime.lane import Lane
from consumer.runtime.parking import ParkingWatch

_log = structlog.get_logger("inturn.processor")

Settle = Callable[[list[Result]], Awaitable[None]]
"""Takes results; returns when what may follow them may begin."""
Report = Callable[[int, list[Flight], Sequence[Emitted]], None]
"""Takes the processor, the tickets of what it handled, and what it wants emitted for them."""

CUT_OFF_S = 2.0
"""How long an attempt may take to end once it is cut off; then it is abandoned."""
_REPORT_AFTER_S = 0.005
"""How long it is collected which single events were handled before that is reported."""
_REPORT_MAX = 100
"""Handled single events that are collected before they are reported at once."""
_REPORT_CHUNKS_MAX = 1_000
"""The same for chunks: as a rule those of all lanes, if the processor did not wait."""


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
        handled: Report,
        parking: ParkingWatch,
        shares: Shares,
    ) -> None:
        """`shares` is that of all processors of the partition."""
        self._index = index
        self._shares = shares
        self._parking = parking if processor.plan.parks else None
        self._processor = processor
        self._tasks = tasks
        self._new_turn = new_turn
        self._settle = settle
        self._handled = handled
        self._takes_batches = processor.takes_batches
        self._report_max = _REPORT_CHUNKS_MAX if self._takes_batches else _REPORT_MAX
        self._is_latest = processor.plan.delivery is Delivery.LATEST
        self._lanes: list[Lane | None] = [None] * processor.concurrency
        self._strays: list[Lane] = []
        """Lanes that were replaced, as long as their last attempt goes on."""
        self._working = 0
        """Lanes that have something to do, or are about to find out."""
        self._is_stopping = False
        self._is_finishing = False
        self._done: list[Flight] = []
        """What was handled, in any lane, and is not yet reported."""
        self._has_done = asyncio.Event()
        self._reporting = tasks.create_task(self._report(), name=f"report {processor.plan.name}")

    def put(self, events: list[Event], tickets: list[Flight]) -> None:
        """Queue events; never waits, and leaves the columns as they are: others may have them too."""
        if self._is_finishing:
            return
        self._processor.counts.queued += len(events)
        for share in self._shares.of(events, tickets, len(self._lanes)):
            lane = self._lanes[share.lane] or self._begin(share.lane)
            lane.events.extend(share.events)
            lane.tickets.extend(share.tickets)
            self._working += lane.wake()

    @property
    def is_moving(self) -> bool:
        """Whether anything will end by itself, rather than behind an attempt that does not."""
        lanes = [lane for lane in self._lanes if lane is not None and not lane.is_abandoned]
        return bool(self._done) or any(lane.events or lane.is_busy for lane in lanes)

    @property
    def is_amid(self) -> bool:
        """Whether an attempt runs that may still end, or one has just ended."""
        lanes = [lane for lane in self._lanes if lane is not None and not lane.is_abandoned]
        return bool(self._done) or any(lane.turn.started_s is not None for lane in lanes)

    @property
    def has_strays(self) -> bool:
        """Whether an attempt goes on although it was cut off."""
        return any(lane.is_abandoned for lane in self._all())

    def finish(self) -> None:
        """Begin nothing more: what waits is left to the next owner, what runs may end."""
        self._is_finishing = True
        for lane in self._all():
            lane.turn.is_closing = True  # an attempt after one that fails is one more
        self._forget_waiting()

    def _forget_waiting(self) -> None:
        for lane in self._all():
            self._processor.counts.queued -= len(lane.events)
            lane.clear()

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

    def conclude(self) -> None:
        """After `cut_off`, and some time: report what is done, abandon what still runs."""
        self._flush()
        for lane in self._all():
            if lane.task is not None and not lane.task.done() and not lane.is_abandoned:
                self._abandon(lane)

    def _all(self) -> list[Lane]:
        return [lane for lane in (*self._lanes, *self._strays) if lane is not None]

    # One lane.

    def _begin(self, number: int) -> Lane:
        lane = self._lanes[number] = Lane(self._new_turn())
        name = f"{_LANE}{self._processor.plan.name}/{number}"
        lane.task = self._tasks.create_task(self._run(lane), name=name)
        self._working += 1
        return lane

    async def _run(self, lane: Lane) -> None:
        try:
            while not (self._is_stopping or lane.is_replaced):
                lane.is_busy = bool(lane.events)
                if not lane.events:
                    self._working -= 1
                    await lane.filled()
                    continue
                if self._is_latest and lane.tickets[-1] is not lane.looked_through:
                    await self._skip_superseded(lane)
                    if not lane.events:  # forgotten meanwhile
                        continue
                if self._takes_batches:
                    await self._run_chunk(lane)
                else:
                    await self._run_singly(lane)
        finally:
            lane.is_busy = False
            lane.turn.deadline.close()
            self._recover(lane)

    async def _run_chunk(self, lane: Lane) -> None:
        events, tickets = lane.take(self._processor.gate.chunk_of(self._processor.chunk_max))
        self._processor.counts.queued -= len(events)
        if self._parking is not None:
            events, tickets = await self._without_parked(self._parking, events, tickets)
            if not events:
                return
        ending = await run_attempts(self._processor, events, lane.turn)
        if ending is not None and self._parking is not None:  # one that failed was alone
            ending = await self._with_room(self._parking, events[0], lane, ending)
        if ending is None:
            await self._run_one_by_one(lane, events, tickets)
        elif ending.verdict is Verdict.HANDLED:
            self._note(tickets, ending.emitted)
        else:
            await self._fail(tickets[0], ending)
        if lane.events:
            await asyncio.sleep(0)  # a processor that never waits is not to keep the others waiting

    async def _run_one_by_one(self, lane: Lane, events: list[Event], tickets: list[Flight]) -> None:
        """Go through a chunk that could not be done together."""
        for event, ticket in zip(events, tickets, strict=True):
            if self._is_stopping or self._is_finishing:
                return
            await self._run_one(lane, event, ticket)

    async def _run_singly(self, lane: Lane) -> None:
        """Go through what waits; for `latest` one event: others may be superseded by then."""
        counts = self._processor.counts
        while lane.events and not (self._is_stopping or self._is_finishing):
            counts.queued -= 1
            await self._run_one(lane, lane.events.popleft(), lane.tickets.popleft())
            if lane.is_replaced or self._is_latest:
                return

    async def _run_one(self, lane: Lane, event: Event, ticket: Flight) -> None:
        """Handle one event; that it was done is reported soon, but not for every event by itself."""
        lane.ticket = ticket
        if self._parking is not None:
            (parked,) = await self._parking.behind(self._index, [event])
            if parked is not None:
                await self._park([(ticket, parked)])
                return
        ending = await run_attempts(self._processor, [event], lane.turn)
        assert ending is not None, "an event alone has a verdict"
        if self._parking is not None and ending.verdict is Verdict.FAILED:
            ending = await self._with_room(self._parking, event, lane, ending)
        if lane.is_replaced:
            return
        if ending.verdict is not Verdict.HANDLED:
            await self._fail(ticket, ending)
            return
        self._note([ticket], ending.emitted)
        if not self._done:
            await asyncio.sleep(0)  # a processor that never waits is not to keep the others waiting

    async def _skip_superseded(self, lane: Lane) -> None:
        """Take out the events after which a later one of their object waits; returns once that is stored."""
        waiting = list(zip(lane.events, lane.tickets, strict=True))
        last = {event.object_key: ticket for event, ticket in waiting if not event.stale}
        kept = [pair for pair in waiting if last.get(pair[0].object_key, pair[1]) is pair[1]]
        lane.looked_through = lane.tickets[-1]
        if len(kept) == len(waiting):
            return
        skipped = [ticket for event, ticket in waiting if last.get(event.object_key, ticket) is not ticket]
        lane.events = deque(event for event, _ in kept)
        lane.tickets = deque(ticket for _, ticket in kept)
        self._processor.counts.queued -= len(skipped)
        await self._settle([Result(ticket, self._index, Verdict.SKIPPED) for ticket in skipped])

    # Objects of which an event was put aside, and with it what follows.

    async def _without_parked(
        self, parking: ParkingWatch, events: list[Event], tickets: list[Flight]
    ) -> tuple[list[Event], list[Flight]]:
        """Send the events of parked objects after those that they wait for, and give the others."""
        behind = await parking.behind(self._index, events)
        following = [(ticket, parked) for ticket, parked in zip(tickets, behind, strict=True) if parked]
        if not following:
            return events, tickets
        await self._park(following)
        kept = [place for place, parked in enumerate(behind) if parked is None]
        return [events[place] for place in kept], [tickets[place] for place in kept]

    async def _park(self, following: list[tuple[Flight, Parked]]) -> None:
        self._processor.counts.dead_lettered += len(following)
        results = []
        for ticket, parked in following:
            number, index = parked.spot
            error = f"waits behind event {index} of message {number}, which was put aside before it"
            results.append(Result(ticket, self._index, Verdict.PARKED, Reason.PARKED, error, 0))
        await self._settle(results)

    async def _with_room(self, parking: ParkingWatch, event: Event, lane: Lane, ending: Ending) -> Ending:
        """Wait with a failure until its object may be parked; what may still succeed is tried meanwhile."""
        while ending.verdict is Verdict.FAILED and not parking.has_room(self._index):
            if ending.reason is not Reason.RETRIES_SPENT:
                await parking.look_for_room(self._index, None)
                continue
            await parking.look_for_room(self._index, self._processor.retry.backoff_max_s)
            if not parking.has_room(self._index):
                self._processor.counts.dead_lettered -= 1  # it is not given up after all
                again = await run_attempts(self._processor, [event], lane.turn)
                assert again is not None, "an event alone has a verdict"
                ending = again
        return ending

    # Results.

    def _note(self, handled: list[Flight], emitted: Sequence[Emission]) -> None:
        if emitted:
            self._flush()
            self._handled(self._index, handled, emitted_of(emitted, handled))
            return
        done = self._done
        done += handled
        if len(done) >= self._report_max or (self._takes_batches and self._working == 1):
            self._flush()
        elif len(done) == len(handled):
            self._has_done.set()

    def _flush(self) -> None:
        done, self._done = self._done, []
        if done:
            self._handled(self._index, done, ())

    async def _report(self) -> None:
        """Report what is done beside what is being done: the next attempt may take its time.

        Single events end one by one; the chunks of all lanes that never waited have ended in the same turn.
        """
        after_s = 0.0 if self._takes_batches else _REPORT_AFTER_S
        while True:
            await self._has_done.wait()
            if after_s:
                await asyncio.sleep(after_s)
            self._has_done.clear()
            self._flush()

    async def _fail(self, ticket: Flight, ending: Ending) -> None:
        """Report a failure, behind what was done before; returns when what follows it may begin."""
        self._flush()
        await self._settle([Result(ticket, self._index, *ending[:4])])

    # Attempts that do not end.

    @property
    def _may_go_on(self) -> bool:
        """Whether a lane can do without the end of an attempt: no order to keep, nothing to wait for."""
        processor = self._processor
        on_arrival = processor.plan.delivery is Delivery.ON_ARRIVAL
        waits = processor.takes_batches or processor.retry.block or processor.plan.parks
        return on_arrival and not waits

    def _abandon(self, lane: Lane) -> None:
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

    def _recover(self, lane: Lane) -> None:
        """Notice that an abandoned attempt has ended after all."""
        if lane.abandoned_s is not None and lane.abandoned_s != lane.turn.started_s:
            self._processor.counts.strays.remove(lane.abandoned_s)
            lane.abandoned_s = None

    def _replace(self, number: int, lane: Lane) -> None:
        """Let another lane go on with what waits; the event of the attempt becomes a dead letter."""
        lane.is_replaced = True
        self._strays.append(lane)
        self._processor.counts.dead_lettered += 1
        heir = self._begin(number)
        heir.events, heir.tickets = lane.events, lane.tickets
        lane.events, lane.tickets = deque(), deque()
        error = (
            f"no result within the deadline of {self._processor.deadline_s:g} s, and it could not be cut "
            "off: its effect may still come"
        )
        ending = Ending(Verdict.FAILED, Reason.RETRIES_SPENT, error, 1)
        assert lane.ticket is not None
        giving_up = self._fail(lane.ticket, ending)
        self._tasks.create_task(giving_up, name=f"give up an event of {self._processor.plan.name}")
