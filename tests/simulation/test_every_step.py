"""The real engine, killed at every single step of a short trace with events of every kind."""

from __future__ import annotations

import pytest
from harness.figures import Effort, State
from simulation.many import run_module, side_by_side, summed

_PARTS = 8
"""Processes that share the steps out."""


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_nothing_is_lost_or_out_of_turn_at_whichever_step_it_is_killed(
    effort: Effort, seed: int, figure: State
) -> None:
    stride = effort.pick(short=25, full=1, deep=1)
    parts = [
        ["--stride", str(stride * _PARTS), "--first", str(seed % stride + part * stride)]
        for part in range(_PARTS)
    ]

    total = summed(side_by_side("every_step", parts), "kills")

    figure("crash-steps", total.runs, "kills", ">=", effort.pick(short=50, full=1_500, deep=1_500))
    figure("crash-steps-lost", total.numbers["lost"], "violations", "==", 0)
    figure("crash-steps-out-of-order", total.numbers["out-of-order"], "violations", "==", 0)
    figure(
        "crash-steps-wrong", sum(len(failure.violations) for failure in total.failures), "violations", "==", 0
    )
    assert total.numbers["kills"] == total.runs
    assert not total.failures, "\n".join(map(str, total.failures[:10]))


@pytest.mark.timeout(0)
def test_a_crash_during_recovery_loses_nothing_either(effort: Effort, seed: int, figure: State) -> None:
    count = effort.pick(short=20, full=400, deep=20_000)
    parts = [["--pairs", str(count // 4), "--seed", str(seed * 4 + part)] for part in range(4)]

    total = summed(side_by_side("every_step", parts), "kills")

    figure("crash-pairs", total.runs, "pairs of kills")
    figure("crash-pairs-lost", total.numbers["lost"], "violations", "==", 0)
    figure("crash-pairs-out-of-order", total.numbers["out-of-order"], "violations", "==", 0)
    assert not total.failures, "\n".join(map(str, total.failures[:10]))


def test_the_trace_has_events_of_every_kind_and_nothing_repeats_without_a_kill() -> None:
    (alone,) = run_module("every_step", ["--kill", "1000000"])

    assert alone["violations"] == []
    assert alone["faults"]["kills"] == 0
    assert alone["tally"]["events"] >= 60
    assert alone["tally"]["letters"] >= 3
