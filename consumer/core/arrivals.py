"""What came in, made ready for the pipeline a batch at a time: decode, admit, digest.

Nothing in here depends on the state of the partition, so a whole batch goes through before its first event
is looked at by the rest, and what is the same for many events is worked out once.
"""

from __future__ import annotations

from typing import Final

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.decode import Decoded, Rejection, decode_exactly, written_data
from consumer.core.digests import XXH3, Digests
from consumer.core.flights import Flight, Router
from consumer.core.packed_token import pack
from consumer.core.plain import Columns, PlainEvents
from consumer.core.plans import Plans
from consumer.events import RawBatch

_OF_EVENTS: Final = (None, "Notification")
"""What messages with events say of their type: others are about the subscription."""


class Arrivals:
    """Turns the messages of one partition into flights."""

    def __init__(
        self, catalogue: Catalogue, admission: Admission, router: Router, digests: Digests = XXH3
    ) -> None:
        """`digests` are those that the state of the partition holds."""
        self._catalogue = catalogue
        self._admission = admission
        self._router = router
        self.digests = digests
        self._plain = PlainEvents(Plans(catalogue, admission, router, digests), digests)

    def of(self, batch: RawBatch, first: int = 0) -> list[list[Flight]]:
        """The events of every message from row `first` on, in order; what is no event is a flight too."""
        plain, columns, properties_at = self._plain, Columns(batch), batch.properties_at
        rows = []
        before, is_event = None, True
        for row in range(first, len(columns.bodies)):
            properties = properties_at(row)
            if properties is not before:  # hardly any differ, and a source may give the very same
                before, is_event = properties, properties.get("aeg-event-type") in _OF_EVENTS
            flight = plain.read(columns, row) if is_event else None
            rows.append(self.exactly(batch, row) if flight is None else [flight])
        return rows

    def exactly(self, batch: RawBatch, row: int) -> list[Flight]:
        """The events of one message, with all of it decoded: the reference for what is done in less."""
        entries = decode_exactly(batch, row, self._catalogue, self.digests)
        return [self._flight(batch, row, index, entry) for index, entry in enumerate(entries)]

    def _flight(self, batch: RawBatch, row: int, index: int, entry: Decoded | Rejection) -> Flight:
        flight = Flight(batch.sequence_numbers[row], index, batch.enqueued_times_ms[row])
        if isinstance(entry, Rejection):
            flight.rejection = entry
            return flight
        event = flight.event = entry.event
        flight.verdict = self._admission.check(event, batch.properties_at(row).get("aeg-event-type"))
        if flight.verdict is not None:
            return flight
        flight.identity = self.digests.identity(entry.identity)
        flight.print = flight.identity + self.digests.data(written_data(event), event.data)
        flight.packed = pack(event.order_token)
        flight.size = len(event.original)
        flight.get_ready(event.object_key, event.type, self._router.route(event.type))
        return flight
