"""Events of our own: what processors and rules emit, for the processors that name such a type.

They come from no hub, so no checkpoint can make them come again: they are in the snapshot until everybody
who wants them is done. The transition that ends their cause makes them, so a crash neither loses nor doubles
them.
Each is written as a CloudEvents event and read by the ordinary decoder: redriving one is nothing special.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import orjson

from consumer.core.catalogue import Catalogue
from consumer.core.decode import Decoded, decode_exactly
from consumer.core.digests import Digests
from consumer.core.filter_sieve import Sieve
from consumer.core.flights import Flight, FlightTable, ProcessorPlan, Router, bits
from consumer.core.outbox import Outbox
from consumer.core.snapshot import KeptEvent, Progress
from consumer.core.times import write_time
from consumer.events import Event, Outcome, RawBatch, Reason


class Cause(NamedTuple):
    """What an internal event comes from, and where it stands."""

    partition: str
    sequence_number: int
    element: int
    topic: str
    id: str
    enqueued_time_ms: int
    ticks: int | None
    """The time to give the internal event; None: it has none."""


def cause_of(event: Event) -> Cause:
    """An event as the cause of another."""
    place = event.partition, event.sequence_number, event.index
    return Cause(*place, event.topic, event.id, event.enqueued_time_ms, event.ticks)


def body_of(cause: Cause, named: str, type_: str, subject: str, data: object) -> bytes:
    """An internal event as it is written; `named` tells it from others of the same cause.

    `data` is what JSON can hold, or `orjson.Fragment`. The same cause and name give the same id.
    """
    name = (*cause[:3], cause.topic, cause.id, named)
    written = {
        "specversion": "1.0",
        "id": hashlib.sha256(repr(name).encode("utf-8", "backslashreplace")).hexdigest()[:32],
        "source": cause.topic,
        "subject": subject,
        "type": type_,
        "data": data,
    }
    if cause.ticks is not None:
        written["time"] = write_time(cause.ticks)
    return orjson.dumps(written)


class InternalEvents:
    """The internal events of one partition that somebody is not done with."""

    def __init__(
        self,
        plans: Sequence[ProcessorPlan],
        router: Router,
        sieve: Sieve,
        outbox: Outbox,
        flights: FlightTable,
        reading: tuple[Catalogue, Digests],
    ) -> None:
        self._names = [plan.name for plan in plans]
        self._router = router
        self._sieve = sieve
        self._outbox = outbox
        self._flights = flights
        self._reading = reading
        self._kept: dict[Flight, None] = {}
        """In the order in which they were emitted."""
        self.counts: Counter[str] = Counter()
        """``emitted``, ``unwanted`` (nobody names the type), and the outcomes."""

    def __len__(self) -> int:
        return len(self._kept)

    def emit(self, cause: Cause, named: str, type_: str, subject: str, data: object) -> None:
        """Make an event and dispatch it at once; `named` tells it from others of the same cause.

        `data` is what JSON can hold, or `orjson.Fragment`.
        """
        self.counts["emitted"] += 1
        if not self._router.internal(type_):
            self.counts["unwanted"] += 1
            return
        body = body_of(cause, named, type_, subject, data)
        self._begin(cause.partition, (cause.sequence_number, cause.element), cause.enqueued_time_ms, body)

    def restore(self, stored: Sequence[KeptEvent]) -> None:
        """Dispatch again what nobody was seen to be done with before a restart."""
        for kept in stored:
            spot = kept.progress.sequence_number, kept.progress.element
            self._begin(kept.partition, spot, kept.enqueued_time_ms, kept.body, kept.progress)

    def dump(self) -> list[KeptEvent]:
        """For a snapshot."""
        kept = []
        for flight in self._kept:
            event = flight.event
            assert event is not None
            done = [self._names[index] for index in bits(flight.routed & ~flight.pending)]
            done += flight.done_before
            dead = flight.dead if flight.has_letter else None
            progress = Progress(*flight.position, done, flight.handled, flight.is_stale, dead)
            kept.append(KeptEvent(progress, event.partition, event.enqueued_time_ms, event.body))
        return kept

    def ended(self, flight: Flight, outcome: Outcome) -> None:
        """Forget one with which everybody is done."""
        del self._kept[flight]
        self.counts[outcome.value] += 1

    def _begin(
        self,
        partition: str,
        spot: tuple[int, int],
        time_ms: int,
        body: bytes,
        progress: Progress | None = None,
    ) -> None:
        event = self._read(partition, spot, time_ms, body)
        flight = Flight(*spot, time_ms)
        flight.event = event
        flight.object_key = event.object_key
        flight.in_turn = self._router.internal(event.type)
        if flight.in_turn & self._sieve.mask:
            self._sieve.sift(flight, event)
        flight.routed = flight.pending = flight.in_turn
        if progress is not None:
            done = sum([1 << index for index, name in enumerate(self._names) if name in progress.done])
            flight.pending &= ~done
            asked = [self._names[index] for index in bits(flight.routed)]
            flight.done_before = [name for name in progress.done if name not in asked]
            flight.handled, flight.is_stale = progress.handled, progress.stale
            flight.dead = None if progress.dead is None else Reason(progress.dead)
            flight.has_letter = progress.dead is not None
        if not flight.pending:
            self.counts["unwanted"] += 1
            return
        self._kept[flight] = None
        self._flights.add(flight)
        self._outbox.dispatch(flight, event, flight.pending)

    def _read(self, partition: str, spot: tuple[int, int], time_ms: int, body: bytes) -> Event:
        number, index = spot
        batch = RawBatch(partition, [body], [number], [""], [time_ms], [None], _properties)
        (entry,) = decode_exactly(batch, 0, *self._reading)
        assert isinstance(entry, Decoded), "what is emitted was looked at before"
        return msgspec.structs.replace(entry.event, index=index)


def _properties(_row: int) -> dict[str, object]:
    return {}
