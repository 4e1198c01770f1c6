"""What tests say with figures."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

HEAD = "pytest_plugins = ['harness.figures']\n"


@pytest.fixture
def run(pytester: pytest.Pytester):
    """Runs the text of a test file in a process of its own."""

    def run(text: str, *options: str) -> pytest.RunResult:
        pytester.makeconftest(HEAD)
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess("-q", *options)

    return run


@pytest.fixture(autouse=True)
def harness_can_be_imported(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    monkeypatch.setenv("PYTHONPATH", str(pytestconfig.rootpath / "tests"))


def test_a_figure_that_meets_its_goal_is_printed(run) -> None:
    result = run("def test_it(figure):\n    figure('kills-lost', 0, 'events', '==', 0)")

    assert result.ret == 0
    assert "figure kills-lost 0 events goal == 0" in result.outlines


def test_a_figure_that_misses_its_goal_is_printed_and_fails_the_run(run) -> None:
    result = run("def test_it(figure):\n    figure('resume-p99', 10.5, 's', '<=', 10)", "--effort", "full")

    assert result.ret == 1
    assert "figure resume-p99 10.5 s goal <= 10" in result.outlines


def test_times_have_no_goals_in_the_short_form(run) -> None:
    result = run("def test_it(figure):\n    figure('resume-p99', 10.5, 's', '<=', 10)")

    assert result.ret == 0
    assert "figure resume-p99 10.5 s" in result.outlines


def test_a_figure_without_a_goal_is_only_told(run) -> None:
    result = run("def test_it(figure):\n    figure('sample-lost', 29, 'events')")

    assert result.ret == 0
    assert "figure sample-lost 29 events" in result.outlines


@pytest.mark.parametrize("name", ["short", "full", "deep"])
def test_the_effort_decides_how_often_something_is_tried(run, name: str) -> None:
    result = run(
        "def test_it(effort, seed, figure):\n"
        "    figure('tries', effort.pick(short=1, full=2, deep=3), 'tries')\n"
        "    figure('seed', seed, 'seed')",
        "--effort",
        name,
        "--seed",
        "42",
    )

    assert f"figure tries {['short', 'full', 'deep'].index(name) + 1} tries" in result.outlines
    assert "figure seed 42 seed" in result.outlines
