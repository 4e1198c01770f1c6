"""Give every event its outcome, once, and tell all who have waited for that."""

from __future__ import annotations

from consumer.core.checkpoint import CheckpointTracker
from consumer.core.deduplicator import Deduplicator
from consumer.core.flights import Flight, FlightTable
from consumer.core.internal_events import InternalEvents
from consumer.core.policy import DUPLICATE, HANDLED, Counts
from consumer.core.release_order import ReleaseOrder
from consumer.core.storing import Storing
from consumer.events import Outcome, Reason


class Endings:
    """Where events end."""

    def __init__(
        self,
        counts: Counts,
        tracker: CheckpointTracker,
        flights: FlightTable,
        deduplicator: Deduplicator,
        released: ReleaseOrder,
        storing: Storing,
        internal: InternalEvents,
    ) -> None:
        self._counts = counts
        self._tracker = tracker
        self._flights = flights
        self._deduplicator = deduplicator
        self._released = released
        self._storing = storing
        self._internal = internal

    def complete(self, flight: Flight) -> None:
        """Everybody is done with an event: it has its outcome, and is remembered."""
        self._flights.discard(flight)
        if flight.print:
            self._deduplicator.remember(flight.print, flight.enqueued_time_ms)
        self._released.resolve(flight)
        if flight.dead is None and flight.handled:
            self.end(flight, HANDLED, None)
        else:
            outcome, reason = flight.outcome()
            self.end(flight, outcome, reason)
        if flight.followers is not None:
            for follower in flight.followers:
                self.end(follower, DUPLICATE, None)

    def end(self, flight: Flight, outcome: Outcome, reason: Reason | None) -> None:
        """Count an outcome; the checkpoint may pass the event."""
        self._storing.is_dirty = True
        slot = flight.slot
        if slot is None:  # it is not of the hub
            self._internal.ended(flight, outcome)
            return
        self._counts.note(outcome, reason)
        self._tracker.resolve(slot, flight.index)
