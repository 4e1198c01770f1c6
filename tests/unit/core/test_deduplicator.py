"""The deduplicator remembers what was resolved: the same event, not one that only looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.deduplicator import Deduplicator, Fingerprint, fingerprint

from .conftest import compact, grid_event, one


def print_of(**changes):
    return fingerprint(one(compact(grid_event(**changes))))


def test_the_order_of_keys_the_time_and_the_schema_version_do_not_make_another_event() -> None:
    assert print_of(data={"a": 1, "b": {"c": 1, "d": 2}}) == print_of(
        data={"b": {"d": 2, "c": 1}, "a": 1}, eventTime="2026-01-01T00:00:00Z", dataVersion="2"
    )


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
    assert print_of(**changes).identity != print_of().identity


def test_parts_cannot_run_into_each_other() -> None:
    one_way = print_of(eventType="t\x1fu", subject="s")
    other_way = print_of(eventType="t", subject="u\x1fs")

    assert one_way.identity != other_way.identity


def test_other_data_is_a_conflict_and_not_a_duplicate() -> None:
    first, other = print_of(), print_of(data={"api": "CopyBlob"})
    deduplicator = Deduplicator(window_ms=10, identities_max=10)
    deduplicator.remember(first, 0)

    assert deduplicator.is_duplicate(first)
    assert not deduplicator.is_duplicate(other)
    assert deduplicator.is_conflict(other)
    assert not deduplicator.is_conflict(first)


prints = st.builds(
    Fingerprint,
    st.sampled_from([b"x", b"y", b"z"]).map(lambda b: b * 16),
    st.sampled_from([b"1" * 8, b"2" * 8]),
)
steps = st.one_of(
    st.tuples(st.just("remember"), prints, st.integers(0, 3)), st.tuples(st.just("expire"), st.integers(0, 6))
)


@given(st.lists(steps, max_size=30), st.integers(0, 6), st.integers(1, 4))
def test_it_answers_as_a_list_that_is_searched_from_the_front(
    script, window_ms: int, identities_max: int
) -> None:
    deduplicator = Deduplicator(window_ms=window_ms, identities_max=identities_max)
    model: list[tuple[Fingerprint, int]] = []
    now = evicted = 0
    for kind, *arguments in script:
        if kind == "remember":
            print_, later = arguments
            now += later
            deduplicator.remember(print_, now)
            model = [entry for entry in model if entry[0] != print_] + [(print_, now)]
            if len(model) > identities_max:
                model.pop(0)
                evicted += 1
        else:
            now += arguments[0]
            deduplicator.expire(now)
            model = [entry for entry in model if entry[1] >= now - window_ms]
        known = [entry[0] for entry in model]
        for asked in (Fingerprint(i * 16, d * 8) for i in (b"x", b"y", b"z") for d in (b"1", b"2")):
            assert deduplicator.is_duplicate(asked) is (asked in known)
            conflict = asked not in known and any(entry.identity == asked.identity for entry in known)
            assert deduplicator.is_conflict(asked) is conflict
        assert len(deduplicator) == len(model)
        assert deduplicator.evicted == evicted
        again = Deduplicator(window_ms=window_ms, identities_max=identities_max)
        again.load(deduplicator.dump())
        assert again.dump() == deduplicator.dump() == [(*print_, time) for print_, time in model]
