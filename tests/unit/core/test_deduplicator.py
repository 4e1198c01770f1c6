"""The deduplicator remembers what was resolved: the same event, not one that only looks like it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.admission import Admission
from consumer.core.arrivals import Arrivals
from consumer.core.catalogue import Catalogue
from consumer.core.deduplicator import IDENTITY_BYTES, Deduplicator
from consumer.core.digests import digests_named
from consumer.core.flights import Router

from .conftest import as_batch, compact, grid_event


def print_of(digests: str = "xxh3", **changes) -> bytes:
    return print_of_body(compact(grid_event(**changes)), digests)


def print_of_body(body: bytes, digests: str = "xxh3") -> bytes:
    arrivals = Arrivals(Catalogue(), Admission(None, None), Router([]), digests_named(digests))
    ((flight,),) = arrivals.of(as_batch(body))
    return flight.print


def recognise(deduplicator: Deduplicator, print_: bytes) -> bool | None:
    return deduplicator.recognise(print_[:IDENTITY_BYTES], print_)


@pytest.mark.parametrize("digests", ["xxh3", "blake2b"])
def test_the_time_and_the_schema_version_do_not_make_another_event(digests: str) -> None:
    assert print_of(digests) == print_of(digests, eventTime="2026-01-01T00:00:00Z", dataVersion="2")


def test_the_order_of_keys_counts_but_where_the_state_is_older() -> None:
    one_way, other_way = {"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1}

    assert print_of(data=one_way) != print_of(data=other_way)
    assert print_of("blake2b", data=one_way) == print_of("blake2b", data=other_way)


@pytest.mark.parametrize("data", [{"a": [1, 2.50], "t": "x y"}, {"t": '\u00e9 "q"'}])
def test_blanks_and_escapes_do_not_make_another_event(data) -> None:
    written = [json.dumps(grid_event(data=data), indent=indent).encode() for indent in (None, 2)]
    written += [json.dumps(grid_event(data=data), ensure_ascii=False, separators=(",", ":")).encode()]

    assert len({print_of_body(body) for body in written}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "2"},
        {"topic": grid_event()["topic"] + "b"},
        {"eventType": "Microsoft.Storage.BlobDeleted"},
        {"subject": "/other"},
        # The same characters, but parted in another place.
        {"id": "1\x1fmicrosoft.storage.blobcreated", "eventType": "x"},
    ],
)
def test_another_id_topic_type_or_subject_makes_another_identity(changes) -> None:
    assert print_of(**changes)[:16] != print_of()[:16]


def test_parts_cannot_run_into_each_other() -> None:
    one_way = print_of(eventType="t\x1fu", subject="s")
    other_way = print_of(eventType="t", subject="u\x1fs")

    assert one_way[:16] != other_way[:16]


def test_other_data_is_a_conflict_and_not_a_duplicate() -> None:
    first, other = print_of(), print_of(data={"api": "CopyBlob"})
    deduplicator = Deduplicator(window_ms=10, identities_max=10)
    deduplicator.remember(first, 0)

    assert recognise(deduplicator, first) is True
    assert recognise(deduplicator, other) is False
    assert recognise(deduplicator, print_of(id="2")) is None


def test_what_is_older_than_the_window_when_it_is_resolved_is_not_remembered() -> None:
    deduplicator = Deduplicator(window_ms=10, identities_max=10)
    deduplicator.expire(20)
    deduplicator.remember(print_of(), 9)
    deduplicator.remember(print_of(id="2"), 10)

    assert deduplicator.entries() == [(print_of(id="2"), 10)]


def test_a_smaller_cap_forgets_at_once_what_is_too_much() -> None:
    deduplicator = Deduplicator(window_ms=10, identities_max=10)
    for number in range(3):
        deduplicator.remember(print_of(id=str(number)), number)
    again = Deduplicator(10, 1, deduplicator.image())

    assert again.entries() == [(print_of(id="2"), 2)]
    assert again.evicted == 2


prints = st.builds(
    bytes.__add__,
    st.sampled_from([b"x", b"y", b"z"]).map(lambda b: b * 16),
    st.sampled_from([b"1" * 8, b"2" * 8]),
)
steps = st.one_of(
    st.tuples(st.just("remember"), prints, st.integers(0, 12)),
    st.tuples(st.just("expire"), st.integers(0, 4)),
)


@given(st.lists(steps, max_size=30), st.integers(0, 6), st.integers(1, 4))
def test_it_answers_as_a_list_that_is_searched_from_the_front(
    script, window_ms: int, identities_max: int
) -> None:
    deduplicator = Deduplicator(window_ms=window_ms, identities_max=identities_max)
    model: list[tuple[bytes, int]] = []
    watermark = evicted = 0
    deduplicator.expire(watermark)
    for kind, *arguments in script:
        if kind == "remember":
            print_, time = arguments
            if recognise(deduplicator, print_):
                continue
            deduplicator.remember(print_, time)
            if time >= watermark - window_ms:
                model.append((print_, time))
                model.sort(key=lambda entry: entry[1])
            if len(model) > identities_max:
                model.pop(0)
                evicted += 1
        else:
            watermark += arguments[0]
            deduplicator.expire(watermark)
            model = [entry for entry in model if entry[1] >= watermark - window_ms]
        known = [entry[0] for entry in model]
        for asked in (i * 16 + d * 8 for i in (b"x", b"y", b"z") for d in (b"1", b"2")):
            conflict = any(entry[:16] == asked[:16] for entry in known)
            assert recognise(deduplicator, asked) is (True if asked in known else False if conflict else None)
        assert len(deduplicator) == len(model)
        assert deduplicator.evicted == evicted
        again = Deduplicator(window_ms, identities_max, deduplicator.image())
        assert again.entries() == deduplicator.entries() == model
