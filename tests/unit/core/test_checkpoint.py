"""The checkpoint never passes what is not done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.checkpoint import CheckpointTracker, Slot
from consumer.events import NOTHING_DONE, Checkpoint


def found(tracker: CheckpointTracker) -> dict[int, list[int]]:
    """What is done above the checkpoint."""
    rows, others = tracker.done_above()
    return {**others, **{number: [0] for first, count in rows for number in range(first, first + count)}}


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), max_size=12), st.data())
def test_it_is_the_highest_with_nothing_unfinished_at_or_before_it(shape, data: st.DataObject) -> None:
    tracker = CheckpointTracker(NOTHING_DONE)
    slots: list[Slot] = []
    open_: list[tuple[Slot, int]] = []
    todo = list(shape)
    number = -1
    while todo or open_:
        if todo and (not open_ or data.draw(st.booleans())):
            gap, events = todo.pop(0)
            number += gap
            slot = tracker.open(number, f"@{number}", events, number * 10)
            slots.append(slot)
            open_ += [(slot, index) for index in range(events)]
        else:
            slot, index = open_.pop(data.draw(st.integers(0, len(open_) - 1)))
            tracker.resolve(slot, index)
        unfinished = {slot.sequence_number for slot, _ in open_}
        done = [
            slot.sequence_number for slot in slots if all(slot.sequence_number < low for low in unfinished)
        ]
        reached = max(done, default=-1)
        assert tracker.checkpoint == (Checkpoint(reached, f"@{reached}") if done else NOTHING_DONE)
        assert tracker.watermark_ms == (reached * 10 if done else None)
        above = [slot for slot in slots if slot.sequence_number > reached]
        assert len(tracker) == len(above)
        left = {slot.sequence_number: {index for one, index in open_ if one is slot} for slot in above}
        assert found(tracker) == {
            slot.sequence_number: [i for i in range(events) if i not in left[slot.sequence_number]]
            for slot, (_, events) in zip(slots, shape, strict=False)
            if slot in above and (len(left[slot.sequence_number]) < events or not events)
        }


def test_an_empty_message_behind_an_unfinished_one_waits_for_it() -> None:
    tracker = CheckpointTracker(NOTHING_DONE)
    slot = tracker.open(0, "a", 1, 0)
    tracker.open(1, "b", 0, 0)

    assert tracker.checkpoint == NOTHING_DONE
    assert found(tracker) == {1: []}
    tracker.resolve(slot, 0)
    assert tracker.checkpoint == Checkpoint(1, "b")


def test_resolving_twice_or_going_back_is_a_mistake_of_the_caller() -> None:
    tracker = CheckpointTracker(Checkpoint(4, "x"))
    slot = tracker.open(5, "a", 2, 0)
    tracker.resolve(slot, 0)

    with pytest.raises(AssertionError):
        tracker.resolve(slot, 0)
    with pytest.raises(AssertionError):
        tracker.open(5, "b", 1, 0)
    with pytest.raises(AssertionError):
        CheckpointTracker(Checkpoint(4, "x")).open(4, "b", 1, 0)


def test_what_is_done_in_a_row_is_kept_as_one_however_often_it_is_asked_for() -> None:
    tracker = CheckpointTracker(NOTHING_DONE)
    first, *slots = [tracker.open(number, f"@{number}", 1, number) for number in range(1_000)]
    middle = slots.pop(499)
    for slot in slots[::2] + slots[1::2]:
        tracker.resolve(slot, 0)
        assert len(tracker) == 1_000
        if slot.sequence_number % 100 == 0:
            tracker.done_above()
    behind_a_gap = tracker.open(2_000, "@2000", 1, 2_000)
    tracker.resolve(behind_a_gap, 0)

    assert tracker.done_above() == ([(1, 499), (501, 499), (2_000, 1)], {})
    tracker.resolve(first, 0)
    assert (tracker.checkpoint, tracker.watermark_ms) == (Checkpoint(499, "@499"), 499)
    assert (len(tracker), tracker.done_above()) == (501, ([(501, 499), (2_000, 1)], {}))
    tracker.resolve(middle, 0)
    assert (tracker.checkpoint, tracker.watermark_ms) == (Checkpoint(2_000, "@2000"), 2_000)
    assert (len(tracker), tracker.done_above()) == (0, ([], {}))


def test_messages_of_several_events_or_of_none_are_told_by_themselves() -> None:
    tracker = CheckpointTracker(NOTHING_DONE)
    shape = [1, 1, 2, 0, 2, 1]
    slots = [tracker.open(number, "", events, 0) for number, events in enumerate(shape)]
    for number, index in [(1, 0), (2, 1), (2, 0), (4, 0), (5, 0)]:
        tracker.resolve(slots[number], index)

    assert tracker.done_above() == ([(1, 1), (5, 1)], {2: [0, 1], 3: [], 4: [0]})
