"""Keep the order of release over a restart."""

from __future__ import annotations

from collections.abc import Iterable

from consumer.core.flights import Flight
from consumer.events import ObjectId


class ReleaseOrder:
    """The events of each object that were released and are not resolved, in the order of release.

    It survives a restart. What was released before must go out again in the same order, and must not be
    judged a second time, since the last token of its object is already past it. Such events are *awaited*
    until they have been read again, and what is released later for the same object waits behind them.
    """

    def __init__(self, stored: Iterable[tuple[ObjectId, list[tuple[int, int]]]] = ()) -> None:
        self._turns = 0
        """Released so far. What is below concerns only objects that were stored."""
        self._by_object: dict[ObjectId, dict[tuple[int, int], Flight | None]] = {}
        """None stands for an event that is awaited."""
        self._awaited: dict[tuple[int, int], ObjectId] = {}
        self.waiting = 0
        """Events that are there, and wait for one that is not."""
        for object_id, positions in stored:
            self._by_object[object_id] = dict.fromkeys(positions)
            self._awaited.update(dict.fromkeys(positions, object_id))

    def is_awaited(self, flight: Flight) -> bool:
        """Whether an event was released before the restart."""
        return bool(self._awaited) and flight.position in self._awaited

    def release(self, flight: Flight) -> bool:
        """Note a release; False: others are awaited before it, and it waits for them."""
        flight.is_released = True
        self._turns += 1
        flight.turn = self._turns
        if self._by_object and not self._goes_at_once(flight):
            return False
        flight.is_dispatched = True
        return True

    def _goes_at_once(self, flight: Flight) -> bool:
        assert flight.event is not None
        entries = self._by_object.get(flight.event.object_id)
        if entries is None:
            return True
        flight.released_as = flight.event.object_id
        entries[flight.position] = flight
        if self._awaited and None in entries.values():
            self.waiting += 1
            return False
        return True

    def arrive(self, flight: Flight) -> list[Flight]:
        """Note that an awaited event is there, and give what can go out now."""
        object_id = self._awaited.pop(flight.position)
        flight.is_released = True
        flight.released_as = object_id
        self._by_object[object_id][flight.position] = flight
        self.waiting += 1
        return self._ready(object_id)

    def skip(self, position: tuple[int, int]) -> list[Flight]:
        """Note that an awaited event will not be dispatched again, and give what waited for it."""
        object_id = self._awaited.pop(position)
        del self._by_object[object_id][position]
        return self._ready(object_id)

    def passed(self, sequence_number: int) -> list[Flight]:
        """Note that all up to a sequence number was read: what has not arrived is gone from the hub."""
        if not self._awaited:
            return []
        gone = [position for position in self._awaited if position[0] <= sequence_number]
        return [flight for position in gone for flight in self.skip(position)]

    def resolve(self, flight: Flight) -> None:
        """Note that an event is resolved."""
        if flight.released_as is None:
            return
        if not flight.is_dispatched:
            self.waiting -= 1  # it had nothing to wait for: only processors that take it on arrival were left
        entries = self._by_object[flight.released_as]
        del entries[flight.position]
        if not entries:
            del self._by_object[flight.released_as]

    def dump(self, flights: Iterable[Flight]) -> list[tuple[ObjectId, list[tuple[int, int]]]]:
        """Objects and positions, for a snapshot, out of all that is in flight."""
        by_object = {object_id: list(entries) for object_id, entries in self._by_object.items()}
        going = [flight for flight in flights if flight.is_released and flight.released_as is None]
        going.sort(key=_turn)
        for flight in going:
            assert flight.event is not None
            by_object.setdefault(flight.event.object_id, []).append(flight.position)
        return list(by_object.items())

    def _ready(self, object_id: ObjectId) -> list[Flight]:
        ready: list[Flight] = []
        entries = self._by_object[object_id]
        for flight in entries.values():
            if flight is None:
                break
            if not flight.is_dispatched:
                flight.is_dispatched = True
                self.waiting -= 1
                ready.append(flight)
        if not entries:
            del self._by_object[object_id]
        return ready


def _turn(flight: Flight) -> int:
    return flight.turn
