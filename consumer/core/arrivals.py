"""What came in, made ready for the pipeline a batch at a time: decode, admit, digest.

Nothing in here depends on the state of the partition, so a whole batch goes through before its first event
is looked at by the rest, and what is the same for many events is worked out once.
"""

from __future__ import annotations

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.decode import Rejection, decode
from consumer.core.deduplicator import IDENTITY_BYTES, fingerprint
from consumer.core.flights import Flight, Router
from consumer.core.object_table import object_key
from consumer.core.packed_token import pack
from consumer.events import Event, RawBatch


class Arrivals:
    """Turns the messages of one partition into flights."""

    def __init__(self, catalogue: Catalogue, admission: Admission, router: Router) -> None:
        self._catalogue = catalogue
        self._admission = admission
        self._router = router

    def of(self, batch: RawBatch, first: int = 0) -> list[list[Flight]]:
        """The events of every message from row `first` on, in order; what is no event is a flight too."""
        return [self._of_row(batch, row) for row in range(first, len(batch))]

    def _of_row(self, batch: RawBatch, row: int) -> list[Flight]:
        entries = decode(batch, row, self._catalogue)
        return [self._flight(batch, row, index, entry) for index, entry in enumerate(entries)]

    def _flight(self, batch: RawBatch, row: int, index: int, entry: Event | Rejection) -> Flight:
        flight = Flight(batch.sequence_numbers[row], index, batch.enqueued_times_ms[row])
        if isinstance(entry, Rejection):
            flight.rejection = entry
            return flight
        flight.event = entry
        flight.verdict = self._admission.check(entry, batch.properties_at(row).get("aeg-event-type"))
        if flight.verdict is not None:
            return flight
        flight.print = fingerprint(entry)
        flight.identity = flight.print[:IDENTITY_BYTES]
        flight.object_key = object_key(entry.object_id)
        flight.packed = pack(entry.order_token)
        flight.size = len(entry.original)
        flight.event_type = entry.type
        route = self._router.route(entry.type)
        flight.on_arrival = route.on_arrival
        flight.in_turn = route.in_turn
        return flight
