"""Find the events in raw messages, and what each is placed by: for topics not keyed by object.

What is too large to be sent on is put aside here: no pipeline will see it.
"""

from __future__ import annotations

from consumer.core.admission import Admission
from consumer.core.arrivals import Arrivals
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Letter
from consumer.core.flights import Flight, Router
from consumer.events import Outcome, PartitionId, RawBatch, Reason
from consumer.runtime.clock import Clock
from consumer.runtime.writers import DeadLetterWriter
from consumer.stores import DeadLetterStore


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

    def letter(self, batch: RawBatch, row: int, element: int, why: str) -> Letter | None:
        """What to put aside of an event that is too large to be sent on; None: it would be ignored anyway.

        What decoding or admission has against it goes before its size, as in a pipeline.
        """
        flight = self._arrivals.exactly(batch, row)[element]
        subject, found = flight.event or flight.rejection, flight.rejection or flight.verdict
        assert subject is not None
        if flight.verdict is not None and flight.verdict.outcome is Outcome.IGNORED:
            return None
        if found is not None:
            return Letter(flight, -1, subject, found.reason, found.error, 0)
        return Letter(flight, -1, subject, Reason.TOO_LARGE, why, 0)

    def _keyed(self, flight: Flight, batch: RawBatch) -> tuple[bytes, bytes]:
        event, rejection = flight.event, flight.rejection
        if event is not None:
            return event.object_key, event.original
        assert rejection is not None
        place = b"%d/%d" % (flight.sequence_number, flight.index)
        return b"%s/%s" % (batch.partition.encode(), place), rejection.original


class Aside:
    """Keeps the dead letters of what is too large to be sent on."""

    def __init__(self, keying: Keying, store: DeadLetterStore, clock: Clock) -> None:
        self._keying = keying
        self._store = store
        self._clock = clock

    async def __call__(
        self, partition: PartitionId, batch: RawBatch, row: int, element: int, why: str
    ) -> bool:
        """Put an event aside, durably, however long that takes; False: it would be ignored anyway."""
        letter = self._keying.letter(batch, row, element, why)
        if letter is None:
            return False
        await DeadLetterWriter(self._store, partition, [], self._clock).write([letter], _at_once)
        return True


async def _at_once() -> None:
    """Who has the partition is for the group to say: what two of them put aside is one letter."""
