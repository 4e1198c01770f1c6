"""Collects what a stimulus leads to, so that it leaves in batches."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.core.effects import Dispatch, Letter, PutDeadLetters
from consumer.core.flights import Flight, ProcessorPlan, bits
from consumer.events import Event


class Outbox:
    """Dispatches and dead letters that have not left yet, and how much each processor has."""

    def __init__(self, processors: Sequence[ProcessorPlan]) -> None:
        self._queue_max = [plan.queue_max for plan in processors]
        self._outstanding = [0] * len(processors)
        self._columns: list[tuple[list[Event], list[Flight]]] = [([], []) for _ in processors]
        self._letters: list[Letter] = []
        self._letters_out = 0

    def dispatch(self, flight: Flight, event: Event, mask: int) -> None:
        """Give an event to the processors in the mask."""
        for index in bits(mask):
            events, tickets = self._columns[index]
            events.append(event)
            tickets.append(flight)
            self._outstanding[index] += 1

    def put_aside(self, letter: Letter) -> None:
        """Send a dead letter."""
        self._letters.append(letter)
        self._letters_out += 1

    def stored(self, letters: int) -> None:
        """Note that dead letters are stored."""
        self._letters_out -= letters

    def done(self, processor: int) -> None:
        """Note that a processor is done with one event."""
        assert self._outstanding[processor] > 0, "done more often than dispatched"
        self._outstanding[processor] -= 1

    @property
    def has_work(self) -> bool:
        """Whether anything was given away and has not come back."""
        return self._letters_out > 0 or any(self._outstanding)

    def is_full(self, part: int) -> bool:
        """Whether a processor has the given part (1: all, 2: half) of what it may have."""
        return any(
            count * part >= limit for count, limit in zip(self._outstanding, self._queue_max, strict=True)
        )

    def flush(self) -> list[Dispatch | PutDeadLetters]:
        """Give what has collected."""
        effects: list[Dispatch | PutDeadLetters] = []
        for index, (events, tickets) in enumerate(self._columns):
            if events:
                effects.append(Dispatch(index, events, tickets))
                self._columns[index] = ([], [])
        if self._letters:
            effects.append(PutDeadLetters(self._letters))
            self._letters = []
        return effects
