"""The table of records says what a plain dictionary says, however it grows and whatever meets in a bucket."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.core.record_table import TIME_BYTES, RecordTable, time_bytes
from consumer.core.sections import Section
from consumer.core.table_image import TableImage, read_table

SIZE = 4 + 1 + TIME_BYTES
MEAN = 2
"""Records in a bucket: few are enough then for a table to grow many times."""


def record(key: bytes, time_ms: int, value: int = 0) -> bytes:
    return key + bytes((value,)) + time_bytes(time_ms)


# Few bytes, so that keys share buckets, and are found astride two records, all the time.
keys = st.lists(st.sampled_from([0, 1, 2, 255]), min_size=4, max_size=4).map(bytes)
times = st.integers(0, 30)
steps = st.one_of(
    st.tuples(st.just("put"), keys, times, st.sampled_from([0, 255])),
    st.tuples(st.just("put"), keys, times, st.sampled_from([0, 255])),
    st.tuples(st.just("add"), keys, times),
    st.tuples(st.just("get"), keys),
    st.tuples(st.just("pop")),
    st.tuples(st.just("expire"), times),
    st.tuples(st.just("reload"), st.integers(1, 6)),
)


def check(table: RecordTable, model: dict[bytes, bytes]) -> None:
    assert sorted(table) == sorted(model.values())
    assert len(table) == len(model)
    assert all(table.oldest_ms <= time_of(each) for each in model.values())
    for bucket in table.buckets:
        times = [time_of(bucket[at : at + SIZE]) for at in range(0, len(bucket), SIZE)]
        assert times == sorted(times)


def time_of(each: bytes) -> int:
    return int.from_bytes(each[-TIME_BYTES:], "big")


@given(st.lists(steps, max_size=80))
@settings(max_examples=300)
def test_it_answers_as_a_dictionary_does(script) -> None:
    table, model = RecordTable(SIZE, MEAN), dict[bytes, bytes]()
    for kind, *arguments in script:
        match kind:
            case "put":
                key, time_ms, value = arguments
                if value:  # a look before, as in use
                    table.get(key)
                model[key] = record(key, time_ms, value)
                table.put(key, bytes((value,)), time_ms)
            case "add" if arguments[0] not in model:
                key, time_ms = arguments
                table.add(key + bytes(1), time_ms)
                model[key] = record(key, time_ms)
            case "get":
                assert table.get(arguments[0]) == model.get(arguments[0])
            case "pop" if model:
                oldest = table.pop_oldest()
                assert time_of(oldest) == min(map(time_of, model.values()))
                assert model.pop(oldest[:4]) == oldest
            case "pop":
                with pytest.raises(IndexError):
                    table.pop_oldest()
            case "expire":
                gone = {key: each for key, each in model.items() if time_of(each) < arguments[0]}
                found = table.expire(arguments[0])
                assert sorted(found[at : at + SIZE] for at in range(0, len(found), SIZE)) == sorted(
                    gone.values()
                )
                model = {key: each for key, each in model.items() if key not in gone}
            case "reload":  # by a version that has larger buckets, or smaller ones
                image = TableImage(SIZE, table.buckets)
                section = image.section()
                again = read_table(
                    Section(section.packing, section.length, section.checksum, section.parts), SIZE
                )
                assert again == image
                table = RecordTable(SIZE, arguments[0], again.buckets)
        check(table, model)
    for key in model:
        assert table.get(key) == model[key]


def test_it_grows_by_one_bucket_at_a_time_and_keeps_them_small() -> None:
    rng, table = Random(1), RecordTable(SIZE, MEAN)
    sizes = []
    for number in range(2_000):
        key = rng.randbytes(4)
        table.put(key, bytes(1), number)
        sizes.append(len(table.buckets))

    assert {after - before for before, after in pairwise(sizes)} == {0, 1}
    assert max(map(len, table.buckets)) <= 15 * SIZE
    assert [time_of(table.pop_oldest()) for _ in range(2_000)] == list(range(2_000))


def test_an_image_stays_as_it_is() -> None:
    table = RecordTable(SIZE, MEAN)
    table.put(b"abcd", b"\0", 1)
    image = table.buckets
    table.put(b"abcd", b"\0", 2)
    table.put(b"abce", b"\0", 3)

    assert list(RecordTable(SIZE, MEAN, image)) == [record(b"abcd", 1)]


def test_what_is_touched_again_and_again_does_not_pile_up_hints() -> None:
    table = RecordTable(SIZE, MEAN)
    for number in range(1_000):
        table.put(b"abcd", b"\0", 1_000 - number)
        table.put(b"abcd", b"\0", number)

    assert len(table._hints) <= 4


@pytest.mark.parametrize(("time_ms", "kept"), [(-1, 0), (0, 0), (2**48 - 1, 2**48 - 1), (2**48, 2**48 - 1)])
def test_a_time_out_of_range_is_as_old_or_as_new_as_can_be(time_ms: int, kept: int) -> None:
    assert int.from_bytes(time_bytes(time_ms), "big") == kept
