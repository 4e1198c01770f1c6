"""One lane: what waits in it, and what it is doing."""

from __future__ import annotations

import asyncio
from collections import deque

from consumer.core.flights import Flight
from consumer.events import Event
from consumer.runtime.attempts import Turn


class Lane:
    """Events in columns, taken out in the order in which they were put in."""

    __slots__ = (
        "abandoned_s",
        "events",
        "is_busy",
        "is_replaced",
        "looked_through",
        "overdue",
        "sleeper",
        "task",
        "ticket",
        "tickets",
        "turn",
    )

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.events: deque[Event] = deque()
        self.tickets: deque[Flight] = deque()
        """Of the events, in the same order."""
        self.sleeper: asyncio.Future[None] | None = None
        """What the lane waits for when it has nothing to do."""
        self.task: asyncio.Task[None] | None = None
        self.ticket: Flight | None = None
        """Of the event that is being handled by itself."""
        self.looked_through: Flight | None = None
        """The last one that waited when the superseded ones were taken out."""
        self.is_busy = False
        self.is_replaced = False
        self.abandoned_s: float | None = None
        """When the attempt began that goes on although it was cut off."""
        self.overdue: tuple[float, float] | None = None
        """When the attempt began that is past its deadline, and when that was first seen."""

    async def filled(self) -> None:
        """Return when something waits."""
        while not self.events:
            assert self.task is not None
            self.sleeper = self.task.get_loop().create_future()
            await self.sleeper

    def wake(self) -> bool:
        """Say that something waits; tells whether the lane had nothing to do."""
        sleeper, self.sleeper = self.sleeper, None
        if sleeper is None or sleeper.done():  # it is cancelled with its task
            return False
        sleeper.set_result(None)
        return True

    def take(self, count_max: int) -> tuple[list[Event], list[Flight]]:
        """Take out what waits, up to a number."""
        if len(self.events) <= count_max:
            events, tickets = list(self.events), list(self.tickets)
            self.clear()
        else:
            events = [self.events.popleft() for _ in range(count_max)]
            tickets = [self.tickets.popleft() for _ in range(count_max)]
        return events, tickets

    def clear(self) -> None:
        """Forget what waits."""
        self.events.clear()
        self.tickets.clear()

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
