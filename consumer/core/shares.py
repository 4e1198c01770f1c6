"""Which lane an event takes: all events of an object the same, so that they keep their order."""

from __future__ import annotations

from consumer.core.flights import Flight
from consumer.events import Event


class Share:
    """What of a dispatch goes to one lane: columns of equal length, in the order of the dispatch."""

    def __init__(self, lane: int) -> None:
        self.lane = lane
        self.events: list[Event] = []
        self.tickets: list[Flight] = []


class Shares:
    """Shares dispatched columns out among lanes.

    Processors share columns (`consumer.core.effects.Dispatch`). So what was worked out for one of them is
    kept for the others that have as many lanes, until `forget`.
    """

    def __init__(self) -> None:
        self._tickets: list[Flight] | None = None
        self._known: dict[int, list[Share]] = {}
        """By number of lanes."""

    def of(self, events: list[Event], tickets: list[Flight], lanes: int) -> list[Share]:
        """The shares of those lanes that get any; neither they nor the columns are to be changed."""
        if self._tickets is not tickets:
            self._tickets = tickets
            self._known = {}
        shares = self._known.get(lanes)
        if shares is None:
            shares = self._known[lanes] = _shared_out(events, tickets, lanes)
        return shares

    def forget(self) -> None:
        """Let go of the columns."""
        self._tickets = None
        self._known = {}


def _shared_out(events: list[Event], tickets: list[Flight], lanes: int) -> list[Share]:
    if lanes == 1:
        all_of_it = Share(0)
        all_of_it.events, all_of_it.tickets = events, tickets
        return [all_of_it]
    by_lane: list[Share | None] = [None] * lanes
    shares = []
    for place, ticket in enumerate(tickets):
        # The hash differs from process to process, which no order depends on, and is kept with the key.
        lane = hash(ticket.object_key) % lanes
        share = by_lane[lane]
        if share is None:
            share = by_lane[lane] = Share(lane)
            shares.append(share)
        share.events.append(events[place])
        share.tickets.append(ticket)
    return shares
