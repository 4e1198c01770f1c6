"""Events in flight: received, and not resolved by everybody who wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import msgspec

from consumer.core.admission import TypeFilter
from consumer.core.checkpoint import Slot
from consumer.core.deduplicator import Fingerprint
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


class Flight(msgspec.Struct, eq=False):
    """One event, or one rejection on its way to the dead letters."""

    slot: Slot
    index: int
    """Of the element in the message."""
    event: Event | None = None
    print: Fingerprint | None = None
    routed: int = 0
    pending: int = 0
    """Processors that are not done, a bit for each."""
    in_turn: int = 0
    handled: bool = False
    is_stale: bool = False
    is_dispatched: bool = False
    object_id: ObjectId | None = None
    """Set on release."""
    dead: Reason | None = None
    has_letter: bool = False
    """Whether a processor's failure is in the dead letters already."""
    followers: list[tuple[Slot, int]] = []
    """Duplicates that wait for this one."""

    @property
    def position(self) -> tuple[int, int]:
        """Sequence number and index."""
        return self.slot.sequence_number, self.index

    @property
    def enqueued_time_ms(self) -> int:
        """Log time; only of an event."""
        assert self.event is not None
        return self.event.enqueued_time_ms

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
        """Note that an event is in flight; one with a fingerprint can be found as a twin."""
        self._all[flight] = None
        if flight.print is not None:
            self._by_identity.setdefault(flight.print.identity, []).append(flight)

    def discard(self, flight: Flight) -> None:
        """Note that an event is resolved."""
        if self._all.pop(flight, flight) is flight or flight.print is None:
            return
        twins = self._by_identity[flight.print.identity]
        twins.remove(flight)
        if not twins:
            del self._by_identity[flight.print.identity]

    def twins(self, print_: Fingerprint) -> Sequence[Flight]:
        """What is in flight with the same identity."""
        return self._by_identity.get(print_.identity, ())
