"""The receive guard against a model that keeps everything it ever saw."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.events import RawBatch
from consumer.sources.receive_guard import ReceiveGuard

numbers = st.lists(st.integers(0, 30), max_size=12)


def batch(sequence_numbers: list[int]) -> RawBatch:
    return RawBatch(
        partition="0",
        bodies=[b"%d" % number for number in sequence_numbers],
        sequence_numbers=sequence_numbers,
        offsets=[f"o{number}" for number in sequence_numbers],
        enqueued_times_ms=[number * 10 for number in sequence_numbers],
        partition_keys=[f"k{number}" for number in sequence_numbers],
        properties_at=lambda index: {"number": sequence_numbers[index]},
        newest_sequence_number=99,
    )


@given(st.integers(-1, 10), st.lists(numbers, max_size=6))
def test_each_number_passes_once_in_rising_order_and_what_is_missing_is_counted(after, deliveries):
    guard = ReceiveGuard(after)
    passed: list[int] = []
    gaps = redelivered = 0
    for delivery in deliveries:
        admitted = guard.admit(batch(delivery))
        passed += admitted.batch.sequence_numbers if admitted.batch else []
        gaps += sum(map(len, admitted.gaps))
        redelivered += admitted.redelivered

    highest, expected, missing = after, [], 0
    for number in (number for delivery in deliveries for number in delivery):
        if number > highest:
            if after >= 0 or expected:
                missing += number - highest - 1
            expected.append(number)
            highest = number
    assert passed == expected
    assert gaps == missing
    assert redelivered == sum(map(len, deliveries)) - len(passed)
    assert guard.last == max([after, *expected])


@given(st.integers(-1, 5), numbers)
def test_the_columns_of_what_passes_stay_beside_each_other(after, delivery):
    passed = ReceiveGuard(after).admit(batch(delivery)).batch
    if passed is None:
        return
    for index, number in enumerate(passed.sequence_numbers):
        assert passed.bodies[index] == b"%d" % number
        assert passed.offsets[index] == f"o{number}"
        assert passed.enqueued_times_ms[index] == number * 10
        assert passed.partition_keys[index] == f"k{number}"
        assert passed.properties_at(index) == {"number": number}
    assert passed.newest_sequence_number == 99
    assert passed.partition == "0"


def test_a_batch_that_just_follows_is_handed_on_as_it_is():
    following = batch([4, 5, 6])
    assert ReceiveGuard(3).admit(following).batch is following


def test_the_first_number_of_a_partition_of_which_nothing_is_done_is_no_gap():
    assert not ReceiveGuard(-1).admit(batch([1_000, 1_001])).gaps


def test_numbers_between_the_checkpoint_and_the_first_event_are_a_gap():
    (gap,) = ReceiveGuard(9).admit(batch([15])).gaps
    assert (gap.first, gap.last, len(gap)) == (10, 14, 5)
