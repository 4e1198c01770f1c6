"""How dispatched columns are shared out among lanes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.flights import Flight
from consumer.core.shares import Shares

OBJECTS = st.lists(st.integers(0, 12), max_size=60)
LANES = st.integers(1, 9)


def columns(objects):
    """An event and a flight for each object named; an event is only passed on, so anything will do."""
    tickets = []
    for number, each in enumerate(objects):
        flight = Flight(number, 0, 0)
        flight.object_key = b"object %d" % each
        tickets.append(flight)
    return [f"event {number}" for number in range(len(objects))], tickets


@given(OBJECTS, LANES)
def test_all_events_of_an_object_take_the_same_lane_in_their_order_and_none_is_left_out(objects, lanes):
    events, tickets = columns(objects)

    shares = Shares().of(events, tickets, lanes)

    lane_of = {}
    for share in shares:
        assert 0 <= share.lane < lanes
        assert share.tickets == sorted(share.tickets, key=lambda ticket: ticket.sequence_number)
        assert share.events == [f"event {ticket.sequence_number}" for ticket in share.tickets]
        assert {lane_of.setdefault(ticket.object_key, share.lane) for ticket in share.tickets} <= {share.lane}
    assert len({share.lane for share in shares}) == len(shares)
    assert sorted(ticket.sequence_number for share in shares for ticket in share.tickets) == list(
        range(len(objects))
    )


@given(OBJECTS, OBJECTS, LANES, LANES)
def test_what_was_shared_out_before_changes_nothing_for_other_columns_or_as_many_lanes(
    first, second, few, many
):
    shares = Shares()
    asked = [(columns(first), few), (columns(first), many), (columns(second), few)]
    asked += [(each, lanes) for each, _ in asked for lanes in (few, many)]
    for (events, tickets), lanes in asked:
        found = [(each.lane, each.events, each.tickets) for each in shares.of(events, tickets, lanes)]
        anew = [(each.lane, each.events, each.tickets) for each in Shares().of(events, tickets, lanes)]
        assert found == anew


def test_objects_are_spread_over_the_lanes():
    events, tickets = columns(range(800))

    sizes = [len(share.tickets) for share in Shares().of(events, tickets, 8)]

    assert len(sizes) == 8
    assert min(sizes) > 50


def test_what_was_dispatched_is_let_go_of():
    shares = Shares()
    events, tickets = columns([1, 2, 3])
    before = shares.of(events, tickets, 2)
    assert shares.of(events, tickets, 2) is before

    shares.forget()

    assert shares.of(events, tickets, 2) is not before
