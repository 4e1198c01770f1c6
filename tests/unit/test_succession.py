"""A process has a mark like no other, and is told whose marks are those of the dead."""

from __future__ import annotations

import uuid

import pytest

from consumer.succession import ALONE, Succession


def test_it_is_read_as_it_was_written():
    first = Succession.after([])
    third = Succession.after([first.mark, Succession.after([first.mark]).mark])
    for each in (ALONE, first, third):
        assert Succession.parse(str(each)) == each
    for text in (",", "1", f"{first.mark},", f"{first.mark},x"):
        with pytest.raises(ValueError, match=r"."):
            Succession.parse(text)


def test_every_client_of_a_forerunner_is_dead_and_nobody_else():
    forerunner, neighbour = Succession.after([]), Succession.after([])
    process = Succession.after([forerunner.mark])
    clients = [str(uuid.uuid4()) for _ in range(2)]

    assert all(process.is_dead(forerunner.owner(client)) for client in clients)
    living = [*clients, *(each.owner(client) for each in (neighbour, process) for client in clients)]
    assert not any(process.is_dead(owner) for owner in (*living, ""))
    assert not any(ALONE.is_dead(owner) for owner in (*living, ""))


def test_a_process_that_nobody_supervises_calls_its_clients_what_they_call_themselves():
    assert ALONE.owner("client") == "client"
