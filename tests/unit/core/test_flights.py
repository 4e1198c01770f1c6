"""Routes, bits, the table of what is in flight, and what leaves in batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.barrier import Barrier
from consumer.core.flights import Delivery, Flight, FlightTable, ProcessorPlan, Route, Router, bits


@given(st.integers(0, 2**40))
def test_bits_are_the_indexes_that_are_set(mask: int) -> None:
    assert list(bits(mask)) == [index for index in range(41) if mask >> index & 1]


def test_an_event_goes_to_whoever_wants_its_type_in_any_case() -> None:
    router = Router(
        [
            ProcessorPlan("all"),
            ProcessorPlan("one", ("Microsoft.Storage.BlobCreated",), Delivery.ON_ARRIVAL),
            ProcessorPlan("some", ("Microsoft.Storage.*",), Delivery.LATEST),
        ]
    )

    for _ in range(2):  # the second time it is remembered
        assert router.route("microsoft.storage.BLOBCREATED") == Route(0b010, 0b101)
        assert router.route("Microsoft.Storage.BlobDeleted") == Route(0, 0b101)
        assert router.route("Contoso.X") == Route(0, 0b001)


def test_types_that_anybody_can_invent_do_not_fill_the_memory() -> None:
    router = Router([ProcessorPlan("all")])
    for number in range(2_000):
        assert router.route(f"type-{number}") == Route(0, 1)

    assert len(router._routes) == 1_000


def test_twins_are_found_as_long_as_they_are_in_flight() -> None:
    table = FlightTable()
    flights = [Flight(ticket, 0, 0) for ticket in range(3)]
    for flight, data in zip(flights, [b"1", b"2", b"1"], strict=True):
        flight.identity = b"same" * 4
        flight.print = flight.identity + data
        table.add(flight)
    first, second, third = flights

    assert table.events() == flights
    assert table.twin(b"same" * 4) is first
    table.discard(second)
    table.discard(second)
    assert table.events() == [first, third]
    table.discard(first)
    assert table.twin(b"same" * 4) is third
    table.discard(third)
    assert table.twin(b"same" * 4) is None
    assert len(table) == 0


def test_a_barrier_falls_with_the_write_that_holds_it() -> None:
    barrier = Barrier()
    first, second = (Flight(1, 0, 0), 0), (Flight(2, 0, 0), 0)
    assert not barrier
    barrier.add(first)
    assert barrier.take() == [first]
    assert not barrier
    barrier.add(second)
    barrier.stored(ok=False)
    assert barrier.take() == [first, second]
    barrier.stored(ok=True)
    assert barrier.take() == []
