"""When a receiver counts as silent, stalled or worn, and how long to wait between attempts."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from consumer.sources.eventhub_watchdog import SILENCE_S, Backoff, Condition, Limits, Signs, judge

LIMITS = Limits(stall_after_s=60, deliveries_max=1_000)


def signs(**changes) -> Signs:
    fine = {"heard_s": 100.0, "behind_since_s": None, "deliveries": 5, "is_waiting_for_us": False}
    return Signs(**fine | changes)


def test_a_receiver_that_calls_and_has_everything_is_well():
    assert judge(signs(), LIMITS, 101) is Condition.WELL


def test_a_receiver_that_does_not_call_is_silent():
    assert judge(signs(), LIMITS, 100 + SILENCE_S + 0.1) is Condition.SILENT


def test_a_receiver_that_calls_and_gets_nothing_though_there_is_more_is_stalled():
    assert judge(signs(behind_since_s=40.0), LIMITS, 100) is Condition.WELL
    assert judge(signs(behind_since_s=39.0), LIMITS, 100) is Condition.STALLED


def test_a_receiver_with_nothing_more_to_get_is_never_stalled():
    assert judge(signs(heard_s=1e6), LIMITS, 1e6) is Condition.WELL


def test_a_link_is_worn_before_its_counters_end():
    assert judge(signs(deliveries=1_000), LIMITS, 100) is Condition.WORN


@given(st.floats(0, 1e6), st.none() | st.floats(0, 1e6), st.integers(0, 2**33), st.floats(0, 1e7))
def test_a_partition_that_waits_for_us_is_always_well(heard_s, behind_since_s, deliveries, now_s):
    waiting = Signs(heard_s, behind_since_s, deliveries, is_waiting_for_us=True)
    assert judge(waiting, LIMITS, now_s) is Condition.WELL


@given(st.integers(), st.integers(1, 40))
def test_a_backoff_doubles_to_its_limit_and_never_waits_less_than_half(seed, attempts):
    backoff = Backoff(first_s=1, limit_s=30, random_source=random.Random(seed))
    waits = [backoff.next_s() for _ in range(attempts)]
    steps = [min(30, 2**index) for index in range(attempts)]
    assert all(step / 2 <= wait <= step for wait, step in zip(waits, steps, strict=True))
    backoff.reset()
    assert backoff.next_s() <= 1
