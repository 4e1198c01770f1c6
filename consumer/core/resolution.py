"""What becomes of an event that processors are done with, one way or another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import orjson

from consumer.core import stimuli
from consumer.core.decode import Rejection
from consumer.core.effects import Letter
from consumer.core.endings import Endings
from consumer.core.flights import Flight, FlightTable, ProcessorPlan
from consumer.core.internal_events import InternalEvents, cause_of
from consumer.core.outbox import Outbox
from consumer.core.parking import Answer, ParkedObjects
from consumer.core.storing import Storing
from consumer.events import Event, Reason


class Resolution:
    """Takes results and stored dead letters, and ends events that nobody is left to be done with."""

    def __init__(
        self,
        outbox: Outbox,
        storing: Storing,
        endings: Endings,
        flights: FlightTable,
        internal: InternalEvents,
        parked: ParkedObjects,
        plans: Sequence[ProcessorPlan],
        stale_skipped: list[int],
    ) -> None:
        """`stale_skipped` counts by processor, and is added to."""
        self._outbox = outbox
        self._storing = storing
        self._endings = endings
        self._flights = flights
        self._parked = parked
        self._plans = plans
        self._parks = [plan.parks for plan in plans]
        self._internal = internal
        self._stale_skipped = stale_skipped

    def handled(self, processor: int, flights: list[Flight], emitted: Sequence[stimuli.Emitted]) -> None:
        """One processor handled a chunk of events, and may want others of our own for it."""
        self._storing.is_dirty = True
        self._outbox.done(processor, len(flights))
        others = ~(1 << processor)
        for flight in flights:
            flight.handled = True
            flight.pending &= others
            if not flight.pending:
                self._endings.complete(flight)
        if emitted:
            self._emit(processor, emitted)

    def _emit(self, processor: int, emitted: Sequence[stimuli.Emitted]) -> None:
        numbers: Counter[Flight] = Counter()
        for cause, type_, subject, data in emitted:
            assert cause.event is not None
            numbers[cause] += 1
            named = f"{self._plans[processor].name} {numbers[cause]}"
            self._internal.emit(cause_of(cause.event), named, type_, subject, orjson.Fragment(data))

    def resolve(self, results: list[stimuli.Result]) -> None:
        """Processors are done with events: what failed goes to the dead letters first."""
        for flight, processor, verdict, reason, error, attempts in results:
            assert flight.pending >> processor & 1, "resolved by a processor that was done"
            if verdict is stimuli.Verdict.FAILED or verdict is stimuli.Verdict.PARKED:
                assert flight.event is not None
                assert reason is not None
                flight.failing = {processor: reason, **(flight.failing or {})}
                self._outbox.put_aside(Letter(flight, processor, flight.event, reason, error, attempts))
                if verdict is stimuli.Verdict.PARKED:
                    self._parked.follows(flight, processor)
                elif self._parks[processor]:
                    self._parked.failed(processor)
                continue
            if verdict is stimuli.Verdict.HANDLED:
                flight.handled = True
            else:
                flight.is_stale = True
                self._stale_skipped[processor] += 1
                self._storing.wait_for(flight, processor)
            self._done_by(flight, processor)

    def reject(self, flight: Flight, subject: Event | Rejection, reason: Reason, error: str) -> None:
        """Send what no processor is to see to the dead letters."""
        flight.dead = reason
        self._flights.add(flight)
        self._outbox.put_aside(Letter(flight, -1, subject, reason, error, 0))

    def put_aside(self, letters: list[tuple[Flight, int]]) -> None:
        """Dead letters are stored durably."""
        self._outbox.stored(len(letters))
        for flight, processor in letters:
            if processor < 0:
                self._endings.complete(flight)
                continue
            assert flight.failing is not None
            flight.dead = flight.failing.pop(processor)
            flight.has_letter = True
            # What follows a failure waits until it is stored. What is parked was not decided, it followed.
            if not self._parks[processor] or self._parked.stored(flight, processor):
                self._storing.wait_for(flight, processor)
            self._done_by(flight, processor)

    def look(self, answers: Sequence[Answer]) -> None:
        """The store has said which letters are left: objects without any are not parked any more."""
        if self._parked.answered(answers):
            self._storing.is_dirty = True

    def _done_by(self, flight: Flight, processor: int) -> None:
        self._storing.is_dirty = True
        self._outbox.done(processor, 1)
        flight.pending &= ~(1 << processor)
        if not flight.pending:
            self._endings.complete(flight)
