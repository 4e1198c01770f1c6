"""Find the events in raw messages, and what each is placed by: for topics not keyed by object."""

from __future__ import annotations

from consumer.core.admission import Admission
from consumer.core.arrivals import Arrivals
from consumer.core.catalogue import Catalogue
from consumer.core.flights import Flight, Router
from consumer.events import RawBatch


class Keying:
    """Decodes with the code of the pipelines, so that both mean the same object."""

    def __init__(self, catalogue: Catalogue, admission: Admission) -> None:
        self._arrivals = Arrivals(catalogue, admission, Router(()))

    def __call__(self, batch: RawBatch) -> list[list[tuple[bytes, bytes]]]:
        """For every message its events: the object's key, and the event's original bytes.

        What is not admitted is given too, and what is no event with the place where it was found as its key:
        their outcome is the pipeline's to say.
        """
        return [[self._keyed(flight, batch) for flight in flights] for flights in self._arrivals.of(batch)]

    def _keyed(self, flight: Flight, batch: RawBatch) -> tuple[bytes, bytes]:
        event, rejection = flight.event, flight.rejection
        if event is not None:
            return event.object_key, event.original
        assert rejection is not None
        place = b"%d/%d" % (flight.sequence_number, flight.index)
        return b"%s/%s" % (batch.partition.encode(), place), rejection.original
