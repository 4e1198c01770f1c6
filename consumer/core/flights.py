"""Events in flight: received, and not resolved by everybody who wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec
from msgspec.structs import force_setattr

from consumer.core.admission import TypeFilter, Verdict
from consumer.core.checkpoint import Slot
from consumer.core.decode import Rejection
from consumer.core.sequencer import Held
from consumer.events import Event, ObjectId, OrderToken, Outcome, Reason

_set: Final = force_setattr


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
    matches: Callable[[Event], bool] | None = None
    """Its filter (`consumer.core.filters`): False keeps an event from it. None: it has none."""
    parks: bool = False
    """After an event is put aside, later ones of its object follow it into the dead letters, unattempted."""
    parked_max: int = 1_000
    """Objects of which that is so; at this a further failure keeps its lane waiting."""
    internal_types: tuple[str, ...] = ()
    """Types of internal events, ``*`` at the end for a prefix: only whoever names them gets them."""


@dataclass(frozen=True, slots=True)
class Route:
    """Which processors want an event type: a bit for each."""

    on_arrival: int
    in_turn: int


class Router:
    """Finds the processors that want an event."""

    def __init__(self, plans: Iterable[ProcessorPlan]) -> None:
        self._plans = [(plan, None if plan.types is None else TypeFilter(plan.types)) for plan in plans]
        self._internal = [TypeFilter(plan.internal_types) for plan, _ in self._plans]
        self._routes: dict[str, Route] = {}

    def route(self, event_type: str) -> Route:
        """The processors for a type as it is spelt in an event."""
        found = self._routes.get(event_type)
        if found is None:
            found = self._find(event_type.casefold())
            if len(self._routes) < 1_000:  # types come from outside; the rest is looked up every time
                self._routes[event_type] = found
        return found

    def internal(self, event_type: str) -> int:
        """The processors that name the type of an internal event, a bit for each."""
        folded = event_type.casefold()
        return sum([1 << index for index, types in enumerate(self._internal) if folded in types])

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


class Flight(Held):
    """One event from its arrival to its outcome, or one rejection on its way to the dead letters."""

    event: Event | None = None
    rejection: Rejection | None = None
    """What it is if it is no event."""
    verdict: Verdict | None = None
    """Why it is not admitted."""
    identity: bytes = b""
    """The beginning of `print`."""
    print: bytes = b""
    """Digests of its identity (`IDENTITY_BYTES`) and of its data."""
    on_arrival: int = 0
    """Processors that take it at once, a bit for each."""
    in_turn: int = 0
    """Processors that take it after the sequencer."""

    slot: Slot | None = None
    twin: Flight | None = None
    """Another one in flight with the same identity and other data."""
    is_in_flight: bool = False
    routed: int = 0
    pending: int = 0
    """Processors that are not done."""
    handled: bool = False
    is_stale: bool = False
    is_dispatched: bool = False
    is_released: bool = False
    turn: int = 0
    """Its place in the order of release."""
    released_as: ObjectId | None = None
    """Its object, if any event of that was released before a restart."""
    dead: Reason | None = None
    """Why it is in the dead letters, by the last of them that was stored."""
    failing: dict[int, Reason] | None = None
    """Why processors put it aside whose letters are not stored yet."""
    parked: int = 0
    """Processors for which it is on its way into the dead letters behind an earlier one of its object."""
    has_letter: bool = False
    """Whether a processor's failure is in the dead letters already."""
    done_before: Sequence[str] = ()
    """Processors that were done before a restart, and would not be asked now; they may be again."""
    followers: list[Flight] | None = None
    """Duplicates that wait for this one."""

    def __init__(self, sequence_number: int, index: int, enqueued_time_ms: int) -> None:
        super().__init__(sequence_number)
        self.index = index
        """Of the element in the message."""
        self.enqueued_time_ms = enqueued_time_ms

    @property
    def token(self) -> OrderToken:
        """Of the event."""
        assert self.event is not None
        return self.event.order_token

    def get_ready(self, object_key: bytes, event_type: str, route: Route) -> None:
        """Take from an admitted event and its route what the pipeline goes by."""
        self.object_key = object_key
        self.event_type = event_type
        self.on_arrival = route.on_arrival
        self.in_turn = route.in_turn

    def mark(self, *, is_late: bool) -> Event:
        """Note in the event that a later one of its object is known; `is_late`: even released."""
        event = self.event
        assert event is not None
        if self.on_arrival:  # somebody has it already, and what they have does not change
            self.event = event = msgspec.structs.replace(event, stale=is_late, is_latest=False)
            return event
        _set(event, "is_latest", False)  # noqa: FBT003 - a value
        if is_late:
            _set(event, "stale", True)  # noqa: FBT003 - a value
        return event

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
    """Everything in flight, by identity."""

    def __init__(self) -> None:
        self._by_identity: dict[bytes, Flight] = {}
        """Further ones with the same identity follow as `Flight.twin`: there is hardly ever one."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def events(self) -> list[Flight]:
        """All but rejections."""
        return [flight for first in self._by_identity.values() for flight in _chain(first)]

    def add(self, flight: Flight) -> None:
        """Note that an event is in flight; one with a print can be found as a twin."""
        self._count += 1
        flight.is_in_flight = True
        if not flight.print:
            return
        first = self._by_identity.setdefault(flight.identity, flight)
        if first is not flight:
            _chain(first)[-1].twin = flight

    def discard(self, flight: Flight) -> None:
        """Note that an event is resolved."""
        if not flight.is_in_flight:
            return
        self._count -= 1
        flight.is_in_flight = False
        if not flight.print:
            return
        identity, twin = flight.identity, flight.twin
        first = self._by_identity[identity]
        if first is not flight:
            before = first
            while before.twin is not flight:
                assert before.twin is not None
                before = before.twin
            before.twin = twin
        elif twin is None:
            del self._by_identity[identity]
        else:
            self._by_identity[identity] = twin

    def twin(self, identity: bytes) -> Flight | None:
        """The first in flight with an identity."""
        return self._by_identity.get(identity)


def _chain(first: Flight) -> list[Flight]:
    flights = []
    flight: Flight | None = first
    while flight is not None:
        flights.append(flight)
        flight = flight.twin
    return flights
