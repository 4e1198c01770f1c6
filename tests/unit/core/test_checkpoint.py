"""The checkpoint never passes what is not done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.checkpoint import CheckpointTracker, Slot
from consumer.events import NOTHING_DONE, Checkpoint


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
        assert tracker.done_above() == {
            slot.sequence_number: [i for i in range(events) if i not in left[slot.sequence_number]]
            for slot, (_, events) in zip(slots, shape, strict=False)
            if slot in above and (len(left[slot.sequence_number]) < events or not events)
        }


def test_an_empty_message_behind_an_unfinished_one_waits_for_it() -> None:
    tracker = CheckpointTracker(NOTHING_DONE)
    slot = tracker.open(0, "a", 1, 0)
    tracker.open(1, "b", 0, 0)

    assert tracker.checkpoint == NOTHING_DONE
    assert tracker.done_above() == {1: []}
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
