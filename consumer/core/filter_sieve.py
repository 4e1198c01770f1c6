"""Keep from processors what their filters refuse."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.core.admission import Verdict
from consumer.core.flights import Flight, ProcessorPlan, bits
from consumer.errors import BadData
from consumer.events import Event, Outcome


class Sieve:
    """The filters of a pipeline's processors."""

    def __init__(self, processors: Sequence[ProcessorPlan]) -> None:
        self._matches = [plan.matches for plan in processors]
        self.mask = sum([1 << index for index, matches in enumerate(self._matches) if matches is not None])
        """Processors that have a filter, a bit for each."""
        self.refused = [0] * len(processors)
        """Events that a processor's filter refused, by processor."""

    def sift(self, flight: Flight, event: Event) -> bool:
        """Take an event from the processors that refuse it. False: it has a verdict now, and goes no further.

        That is so if a filter asks for data that proves to be unreadable: nobody can say who wants the
        event, so it is dead-lettered as it would have been if decoding had looked that far.
        """
        refused = 0
        try:
            for index in bits((flight.on_arrival | flight.in_turn) & self.mask):
                matches = self._matches[index]
                assert matches is not None
                if not matches(event):
                    refused |= 1 << index
        except BadData as flaw:
            flight.verdict = Verdict(Outcome.DEAD_LETTERED, flaw.reason, str(flaw))
            return False
        for index in bits(refused):
            self.refused[index] += 1
        flight.on_arrival &= ~refused
        flight.in_turn &= ~refused
        return True
