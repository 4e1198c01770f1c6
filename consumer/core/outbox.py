"""Collects what a stimulus leads to, so that it leaves in batches."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.core.effects import Dispatch, Letter, PutDeadLetters
from consumer.core.flights import Flight, ProcessorPlan
from consumer.events import Event


class Outbox:
    """Dispatches and dead letters that have not left yet, and how much each processor has.

    Most events go to the same processors as the one before. So they are collected in *runs*, and not for
    each processor by itself; processors share the columns of a run that is alone.
    """

    def __init__(self, processors: Sequence[ProcessorPlan]) -> None:
        self._queue_max = [plan.queue_max for plan in processors]
        self._outstanding = [0] * len(processors)
        self._runs: list[_Run] = []
        self._mask = 0
        self._events: list[Event] = []
        self._flights: list[Flight] = []
        self._letters: list[Letter] = []
        self._letters_out = 0

    def dispatch(self, flight: Flight, event: Event, mask: int) -> None:
        """Give an event to the processors in the mask."""
        if mask != self._mask:
            self._mask, self._events, self._flights = mask, [], []
            self._runs.append(_Run(mask, self._events, self._flights))
        self._events.append(event)
        self._flights.append(flight)

    def put_aside(self, letter: Letter) -> None:
        """Send a dead letter."""
        self._letters.append(letter)
        self._letters_out += 1

    def stored(self, letters: int) -> None:
        """Note that dead letters are stored."""
        self._letters_out -= letters

    def done(self, processor: int, events: int) -> None:
        """Note that a processor is done with so many events."""
        assert self._outstanding[processor] >= events, "done more often than dispatched"
        self._outstanding[processor] -= events

    @property
    def has_work(self) -> bool:
        """Whether anything was given away and has not come back."""
        return self._letters_out > 0 or any(self._outstanding)

    def is_full(self, part: int) -> bool:
        """Whether a processor has the given part (1: all, 2: half) of what it may have."""
        limits = zip(self._outstanding, self._queue_max, strict=True)
        return any(count * part >= limit for count, limit in limits)

    def flush(self) -> list[Dispatch | PutDeadLetters]:
        """Give what has collected."""
        effects: list[Dispatch | PutDeadLetters] = []
        if self._runs:
            runs, self._runs, self._mask = self._runs, [], 0
            for index in range(len(self._outstanding)):
                own = [run for run in runs if run.mask >> index & 1]
                if own:
                    dispatch = _dispatch(index, own)
                    self._outstanding[index] += len(dispatch.events)
                    effects.append(dispatch)
        if self._letters:
            effects.append(PutDeadLetters(self._letters))
            self._letters = []
        return effects


class _Run:
    """Events in a row for the same processors."""

    def __init__(self, mask: int, events: list[Event], flights: list[Flight]) -> None:
        self.mask = mask
        self.events = events
        self.flights = flights


def _dispatch(processor: int, runs: list[_Run]) -> Dispatch:
    if len(runs) == 1:
        return Dispatch(processor, runs[0].events, runs[0].flights)
    events: list[Event] = []
    flights: list[Flight] = []
    for run in runs:
        events.extend(run.events)
        flights.extend(run.flights)
    return Dispatch(processor, events, flights)
