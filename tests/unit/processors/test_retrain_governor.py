"""The governor of retraining: what it holds back, against plain invariants over whole histories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.retrain_governor import (
    DAY_S,
    Drift,
    HeldBack,
    Known,
    Limits,
    Quiet,
    Reason,
    Run,
    RunState,
    Start,
    is_clear,
    judge,
)

NOW_S = 1_800_000_000.0
HOUR_S = 3_600.0
LIMITS = Limits(per_day_max=3, cooldown_s=6 * HOUR_S, rearm_s=24 * HOUR_S)
DRIFT = Drift("fraud", 0.7, start_at=0.5, clear_below=0.3)


def run(hours_ago: float, model="fraud", state=RunState.SUCCEEDED, key="other") -> Run:
    return Run(f"run-{hours_ago}", key, model, NOW_S - hours_ago * HOUR_S, state)


def decided(*runs, drift=DRIFT, cleared_s=None, key="ours"):
    return judge(drift, key, runs, LIMITS, NOW_S, cleared_s)


steps = st.lists(
    st.tuples(
        st.floats(0.0, 8.0),  # hours since the step before
        st.sampled_from(["fraud", "churn", "price"]),
        st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]),
        st.booleans(),  # whether the runs that go on end before this step
        st.booleans(),  # whether the process was restarted, and forgot what it saw
    ),
    max_size=60,
)


@given(steps, st.integers(1, 4), st.sampled_from([0, 3, 12]), st.sampled_from([0, 6, 48]))
def test_over_any_history_no_limit_is_ever_broken(history, per_day_max, cooldown_h, rearm_h):
    limits = Limits(per_day_max, cooldown_h * HOUR_S, rearm_h * HOUR_S)
    now_s, runs, cleared, seen_clear = NOW_S, [], {}, {}
    for number, (hours, model, level, ends, restarts) in enumerate(history):
        now_s += hours * HOUR_S
        if ends:
            runs = [each._replace(state=RunState.SUCCEEDED) for each in runs]
        if restarts:
            cleared = {}
        drift = Drift(model, level, start_at=0.5, clear_below=0.3)
        if is_clear(drift):
            cleared[model] = seen_clear[model] = now_s
        shown = [each for each in runs if each.started_s >= now_s - limits.window_s]
        verdict = judge(drift, f"k{number}", shown, limits, now_s, cleared.get(model))
        if not isinstance(verdict, Start):
            continue
        assert level >= 0.5
        before = [each for each in runs if each.model == model]
        assert all(
            each.state is not RunState.RUNNING for each in before if each.started_s > now_s - limits.window_s
        )
        assert sum(each.started_s > now_s - DAY_S for each in runs) < per_day_max
        if before:
            latest_s = before[-1].started_s
            assert now_s - latest_s >= limits.cooldown_s
            assert now_s - latest_s >= limits.rearm_s or seen_clear.get(model, 0.0) > latest_s
        runs.append(Run(f"r{number}", f"k{number}", model, now_s, RunState.RUNNING))


@given(
    st.lists(
        st.builds(
            run,
            st.floats(0, 60),
            st.sampled_from(["fraud", "churn"]),
            st.sampled_from(list(RunState)),
            st.sampled_from(["other", "ours"]),
        ),
        max_size=6,
    ),
    st.floats(0, 1),
    st.none() | st.floats(0, 60),
)
def test_what_is_held_back_until_a_time_is_not_held_back_for_that_reason_then(runs, level, cleared_hours_ago):
    drift = DRIFT._replace(level=level)
    cleared_s = None if cleared_hours_ago is None else NOW_S - cleared_hours_ago * HOUR_S
    verdict = judge(drift, "ours", runs, LIMITS, NOW_S, cleared_s)
    if isinstance(verdict, HeldBack) and verdict.until_s is not None:
        assert verdict.until_s > NOW_S
        later = judge(drift, "ours", runs, LIMITS, verdict.until_s + 1, cleared_s)
        assert not (isinstance(later, HeldBack) and later.reason is verdict.reason)


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([run(30, state=RunState.RUNNING)], Reason.IN_FLIGHT),
        ([run(5)], Reason.COOLDOWN),
        ([run(5, state=RunState.FAILED)], Reason.COOLDOWN),
        ([run(7)], Reason.NOT_CLEARED),
        ([run(1, "a"), run(2, "b"), run(3, "c")], Reason.BUDGET),
        ([run(1, "a"), run(2, "b"), run(25, "c")], None),
        ([run(25)], None),
        ([run(1, "a", RunState.RUNNING)], None),
        ([], None),
    ],
)
def test_the_reason_is_named(runs, reason):
    verdict = decided(*runs)
    assert verdict == Start() if reason is None else verdict.reason is reason


def test_once_the_drift_was_seen_to_be_gone_the_model_may_be_retrained_again():
    assert decided(run(7), cleared_s=NOW_S - HOUR_S) == Start()
    assert decided(run(7), cleared_s=NOW_S - 8 * HOUR_S).reason is Reason.NOT_CLEARED


def test_between_the_thresholds_nothing_starts_and_nothing_is_gone():
    between = DRIFT._replace(level=0.4)
    assert decided(drift=between) == Quiet()
    assert not is_clear(between)
    assert is_clear(DRIFT._replace(level=0.29))


def test_a_drift_that_has_started_a_run_is_known_whatever_the_limits_say():
    ours = run(1, key="ours", state=RunState.RUNNING)
    assert decided(ours, run(2), run(3)) == Known(ours)
