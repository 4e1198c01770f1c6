"""After a restart, what was released goes out again in the order in which it was released."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.flights import Flight
from consumer.core.release_order import ReleaseOrder
from consumer.events import ObjectId

X, Y = ObjectId("", "x"), ObjectId("", "y")


def flight(number: int) -> Flight:
    return Flight(number, 0, 0)


def numbers(flights: list[Flight]) -> list[int]:
    return [one.position[0] for one in flights]


def test_what_was_released_first_goes_out_first_however_it_is_read() -> None:
    order = ReleaseOrder([(X, [(7, 0), (5, 0), (6, 0)]), (Y, [(8, 0)])])

    assert numbers(order.arrive(flight(5))) == []
    assert numbers(order.arrive(flight(6))) == []
    assert order.waiting == 2
    assert numbers(order.arrive(flight(7))) == [7, 5, 6]
    assert numbers(order.arrive(flight(8))) == [8]
    assert order.waiting == 0


def test_what_is_released_later_waits_behind_what_is_awaited(event) -> None:
    order = ReleaseOrder([(X, [(7, 0)])])
    behind, other = flight(5), flight(6)
    behind.event, other.event = event(object_id=X), event(object_id=Y)

    assert not order.release(behind)
    assert order.release(other)
    assert order.dump([other, behind]) == [(X, [(7, 0), (5, 0)]), (Y, [(6, 0)])]
    assert numbers(order.arrive(flight(7))) == [7, 5]
    order.resolve(behind)
    order.resolve(other)
    assert order.dump([]) == [(X, [(7, 0)])]


def test_what_is_released_is_stored_until_it_is_resolved(event) -> None:
    order = ReleaseOrder()
    flights = [flight(number) for number in (4, 2, 3)]
    for one, object_id in zip(flights, (X, Y, X), strict=True):
        one.event = event(object_id=object_id)
        assert order.release(one)

    assert order.dump(sorted(flights, key=lambda one: one.position)) == [(X, [(4, 0), (3, 0)]), (Y, [(2, 0)])]
    order.resolve(flights[0])
    assert order.dump(flights[:0:-1]) == [(Y, [(2, 0)]), (X, [(3, 0)])]


def test_what_left_the_hub_keeps_nobody_waiting() -> None:
    order = ReleaseOrder([(X, [(3, 0), (7, 0)])])
    order.arrive(flight(7))

    assert numbers(order.passed(2)) == []
    assert numbers(order.passed(7)) == [7]
    assert order.waiting == 0


def test_what_is_resolved_while_it_waits_waits_no_longer() -> None:
    order = ReleaseOrder([(X, [(7, 0), (5, 0)])])
    waiting = flight(5)
    order.arrive(waiting)
    order.resolve(waiting)

    assert order.waiting == 0
    assert order.dump([]) == [(X, [(7, 0)])]
    assert numbers(order.arrive(flight(7))) == [7]


@given(st.permutations(range(6)), st.sets(st.integers(0, 5)), st.data())
def test_any_order_survives_any_loss(order_: list[int], gone: set[int], data: st.DataObject) -> None:
    order = ReleaseOrder([(X, [(number, 0) for number in order_])])
    out: list[int] = []
    for number in range(6):
        if number not in gone:
            out += numbers(order.arrive(flight(number)))
        if data.draw(st.booleans()):
            out += numbers(order.passed(number))
        assert order.waiting == len([n for n in range(number + 1) if n not in gone]) - len(out)
    out += numbers(order.passed(5))

    assert out == [number for number in order_ if number not in gone]
    assert order.waiting == 0
