"""What stays of a state when another client has moved its checkpoint."""

from __future__ import annotations

import msgspec

from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import Expected, KeptEvent, KeptRule, ParkedObject, Progress, new_snapshot
from consumer.events import Checkpoint
from consumer.runtime.assignment import adopt

POLICY = PipelinePolicy(SequencerLimits(0), owner="me")


def kept(number):
    return KeptEvent(Progress(number, 0, [], handled=False, stale=False, dead=None), "0", 1, b"{}")


def expected(number):
    return Expected("k", "0", number, 0, "t", "i", "T", "s", None, 1, 2)


STATE = msgspec.structs.replace(
    new_snapshot(Checkpoint(10, "10"), "you"),
    epoch=3,
    done_above={12: [0]},
    parked=[ParkedObject("p", "t", "o", (9, 0))],
    internal=[kept(4), kept(9)],
    rules=[KeptRule("r", [expected(3), expected(8)], [("k", 5)])],
    folded_to=14,
)


def moved_to(number):
    return adopt(STATE, Checkpoint(number, str(number)), Checkpoint(-1, "-1"), POLICY, "0")


def test_back_what_came_of_later_events_is_forgotten_since_it_will_come_of_them_again():
    state = moved_to(6)

    assert (state.epoch, state.owner, state.done_above) == (4, "me", {})
    assert [each.progress.sequence_number for each in state.internal] == [4]
    assert [each.sequence_number for each in state.rules[0].pending] == [3]
    assert (state.rules[0].recent, state.folded_to) == ([], 6)


def test_back_what_is_in_the_dead_letters_still_keeps_its_object_parked():
    assert moved_to(6).parked == STATE.parked


def test_forward_everything_that_is_not_of_the_hub_stays():
    state = moved_to(20)

    assert (state.parked, state.internal, state.rules) == (STATE.parked, STATE.internal, STATE.rules)
    assert state.folded_to == 14
