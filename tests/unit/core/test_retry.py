"""When to try again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.retry import RetryPolicy

POLICY = RetryPolicy(attempts_max=5, backoff_s=0.5, backoff_max_s=30)


@pytest.mark.parametrize(("failed", "wait_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, None), (9, None)])
def test_the_wait_doubles_until_the_attempts_are_spent(failed: int, wait_s: float | None) -> None:
    assert POLICY.wait_s(failed, 1.0) == wait_s


def test_a_policy_that_blocks_tries_for_ever_at_the_longest_wait() -> None:
    policy = RetryPolicy(attempts_max=1, backoff_s=1, backoff_max_s=30, block=True)

    assert [policy.wait_s(failed, 1.0) for failed in (1, 5, 6, 1_000, 10**9)] == [1, 16, 30, 30, 30]


@pytest.mark.parametrize(("after_s", "wait_s"), [(None, 0.25), (0.1, 0.25), (7, 7), (3_600, 30)])
def test_what_a_processor_asks_for_is_granted_as_a_minimum_up_to_the_longest_wait(after_s, wait_s) -> None:
    assert POLICY.wait_s(1, 0.5, after_s) == wait_s


def test_a_processor_cannot_ask_for_more_attempts_than_there_are() -> None:
    assert POLICY.wait_s(5, 0.5, 1) is None


@given(st.integers(1, 10**6), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1e9)))
def test_a_wait_is_never_negative_and_never_longer_than_the_longest(
    failed: int, jitter: float, after_s
) -> None:
    policy = RetryPolicy(attempts_max=1, backoff_s=0.5, backoff_max_s=30, block=True)
    wait_s = policy.wait_s(failed, jitter, after_s)

    assert wait_s is not None
    assert 0 <= wait_s <= 30


@pytest.mark.parametrize(
    "wrong", [{"attempts_max": 0}, {"backoff_s": -1}, {"backoff_s": 9, "backoff_max_s": 8}]
)
def test_a_policy_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="not a retry policy"):
        RetryPolicy(**wrong)
