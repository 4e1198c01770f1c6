"""The keys of a replay are its own."""

from __future__ import annotations

from consumer.core.flights import Delivery, ProcessorPlan
from consumer.core.retry import RetryPolicy
from consumer.runtime.attempts import RunningProcessor


def running(replay_id: str) -> RunningProcessor:
    plan = ProcessorPlan("p", None, Delivery.IN_TURN, delivers_stale=False, queue_max=10)
    return RunningProcessor(plan, "t", None, RetryPolicy(), "$Default", replay_id)


def test_a_replay_has_other_keys_than_the_live_consumer_and_the_same_ones_when_it_goes_on(event):
    live, one, again, other = (running(id_).key_of(event()) for id_ in ("", "r1", "r1", "r2"))
    assert one == again
    assert len({live, one, other}) == 3
