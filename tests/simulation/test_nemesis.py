"""The real engine against everything that can go wrong, thousands of times faster than real time."""

from __future__ import annotations

import os

import pytest
from harness.figures import Effort, State
from simulation.many import run_module, run_series

KINDS = ("lost", "out-of-order", "unaccounted", "repeated", "checkpoint", "lease", "limit", "stuck")
"""What a run can show to be wrong; the goal of each is 0."""


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_nothing_is_lost_or_out_of_turn_whatever_dies(effort: Effort, seed: int, figure: State) -> None:
    asked = os.environ.get("INTURN_SIMULATED_RUNS")
    count = int(asked) if asked else effort.pick(short=40, full=520, deep=20_000)

    total = run_series(seed, count)

    hours = total.virtual_s / 3_600
    if effort is Effort.SHORT:
        figure("simulated-runs", total.runs, "seeds")
        figure("simulated-virtual-hours", hours, "h")
    else:
        figure("simulated-runs", total.runs, "seeds", ">=", 500)
        figure("simulated-virtual-hours", hours, "h", ">=", 24)
    for name in ("events", "effects", "kills", "freezes", "steals", "moves", "restarts", "outages"):
        figure(f"simulated-{name}", total.numbers[name], name)
    figure("simulated-repeats", total.numbers["repeats"], "effects")
    for kind in KINDS:
        figure(f"simulated-{kind}", total.numbers[kind], "violations", "==", 0)
    assert not total.failures, "\n".join(map(str, total.failures[:10]))


def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    first, second = (run_module("replay", ["--seed", str(seed), "--count", "3"]) for _ in range(2))

    assert [run["digest"] for run in first] == [run["digest"] for run in second]
    assert len({run["digest"] for run in first}) == 3
    assert [run["steps"] for run in first] == [run["steps"] for run in second]


def test_a_run_has_all_the_faults_that_are_claimed(seed: int) -> None:
    hard = [
        run["faults"]
        for run in run_module("replay", ["--seed", str(seed), "--count", "4"])
        if run["seed"] % 10
    ]

    for faults in hard:
        assert faults["kills"] >= 6
        assert faults["steals"] >= 2
        assert faults["freezes"] >= 2
        assert faults["outages"] >= 6
        assert faults["failed_requests"] > 10
