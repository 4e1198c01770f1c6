"""Events in flight: received, and not resolved by everybody who wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from consumer.core.admission import TypeFilter, Verdict
from consumer.core.checkpoint import Slot
from consumer.core.decode import Rejection
from consumer.core.deduplicator import IDENTITY_BYTES
from consumer.events import Event, ObjectId, Outcome, Reason


class Delivery(StrEnum):
    """When a processor is given an event."""

    IN_TURN = "in_turn"
    """After the sequencer."""
    ON_ARRIVAL = "on_arrival"
    """At once, after admission and deduplication."""
    LATEST = "latest"
    """In turn; of the events of one object that wait together, only the last."""


@dataclass(frozen=True, slots=True)
class ProcessorPlan:
    """What the pipeline has to know of a processor."""

    name: str
    types: tuple[str, ...] | None = None
    """Event types, ``*`` at the end for a prefix; None: all."""
    delivery: Delivery = Delivery.IN_TURN
    delivers_stale: bool = False
    queue_max: int = 1_000
    """Events dispatched and not resolved; at this the source is paused."""


@dataclass(frozen=True, slots=True)
class Route:
    """Which processors want an event type: a bit for each."""

    on_arrival: int
    in_turn: int


class Router:
    """Finds the processors that want an event."""

    def __init__(self, plans: Iterable[ProcessorPlan]) -> None:
        self._plans = [(plan, None if plan.types is None else TypeFilter(plan.types)) for plan in plans]
        self._routes: dict[str, Route] = {}

    def route(self, event_type: str) -> Route:
        """The processors for a type as it is spelt in an event."""
        found = self._routes.get(event_type)
        if found is None:
            found = self._find(event_type.casefold())
            if len(self._routes) < 1_000:  # types come from outside; the rest is looked up every time
                self._routes[event_type] = found
        return found

    def _find(self, event_type: str) -> Route:
        on_arrival = in_turn = 0
        for index, (plan, types) in enumerate(self._plans):
            if types is not None and event_type not in types:
                continue
            if plan.delivery is Delivery.ON_ARRIVAL:
                on_arrival |= 1 << index
            else:
                in_turn |= 1 << index
        return Route(on_arrival, in_turn)


class Flight:
    """One event from its arrival to its outcome, or one rejection on its way to the dead letters."""

    # No __slots__: what is the same for nearly all is said once, in the class.

    event: Event | None = None
    rejection: Rejection | None = None
    """What it is if it is no event."""
    verdict: Verdict | None = None
    """Why it is not admitted."""
    print: bytes = b""
    """Digests of its identity (`IDENTITY_BYTES`) and of its data."""
    object_key: bytes = b""
    """Stands for its object."""
    packed: bytes = b""
    """Its order token."""
    size: int = 0
    """Bytes."""
    on_arrival: int = 0
    """Processors that take it at once, a bit for each."""
    in_turn: int = 0
    """Processors that take it after the sequencer."""

    slot: Slot | None = None
    routed: int = 0
    pending: int = 0
    """Processors that are not done."""
    handled: bool = False
    is_stale: bool = False
    is_dispatched: bool = False
    released_as: ObjectId | None = None
    """The object that it was released for."""
    dead: Reason | None = None
    has_letter: bool = False
    """Whether a processor's failure is in the dead letters already."""
    followers: list[Flight] | None = None
    """Duplicates that wait for this one."""

    def __init__(self, sequence_number: int, index: int, enqueued_time_ms: int) -> None:
        self.sequence_number = sequence_number
        self.index = index
        """Of the element in the message."""
        self.enqueued_time_ms = enqueued_time_ms

    @property
    def position(self) -> tuple[int, int]:
        """Sequence number and index."""
        return self.sequence_number, self.index

    def outcome(self) -> tuple[Outcome, Reason | None]:
        """How it ended, once nobody is pending."""
        assert not self.pending
        if self.dead is not None:
            return Outcome.DEAD_LETTERED, self.dead
        if self.handled or not self.is_stale:
            return Outcome.HANDLED, None
        return Outcome.STALE, None


@lru_cache(maxsize=1_024)
def bits(mask: int) -> tuple[int, ...]:
    """The indexes of the bits that are set."""
    return tuple(index for index in range(mask.bit_length()) if mask >> index & 1)


class FlightTable:
    """Everything in flight, by identity as well."""

    def __init__(self) -> None:
        self._all: dict[Flight, None] = {}
        self._by_identity: dict[bytes, list[Flight]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._all)

    def add(self, flight: Flight) -> None:
        """Note that an event is in flight; one with a print can be found as a twin."""
        self._all[flight] = None
        if flight.print:
            self._by_identity.setdefault(flight.print[:IDENTITY_BYTES], []).append(flight)

    def discard(self, flight: Flight) -> None:
        """Note that an event is resolved."""
        if self._all.pop(flight, flight) is flight or not flight.print:
            return
        twins = self._by_identity[flight.print[:IDENTITY_BYTES]]
        twins.remove(flight)
        if not twins:
            del self._by_identity[flight.print[:IDENTITY_BYTES]]

    def twins(self, print_: bytes) -> Sequence[Flight]:
        """What is in flight with the same identity."""
        return self._by_identity.get(print_[:IDENTITY_BYTES], ())
