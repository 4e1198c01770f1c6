"""A pytest plugin for tests that prove or measure something: they state figures, and how hard they try.

``--effort short`` is what every run of the tests does; ``full`` is `make prove`; ``deep`` has no bound.
``--seed`` begins another series of random runs; the same seed gives the same series.

A figure is printed at the end of the run, one line each, whether its goal was met or not:
``figure NAME VALUE UNIT goal OP VALUE``. A test that misses a goal fails once it is through. In the short
form times have no goals: a build server is as slow as it likes.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TypeVar

import pytest

_PROPERTY = "figure"
_MEETS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt}
_TIMES = ("s", "ms")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

T = TypeVar("T")


class Effort(StrEnum):
    """How hard a proof tries."""

    SHORT = "short"
    FULL = "full"
    DEEP = "deep"

    def pick(self, *, short: T, full: T, deep: T) -> T:
        """Choose a number of runs, or whatever it is."""
        return {Effort.SHORT: short, Effort.FULL: full, Effort.DEEP: deep}[self]


State = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("inturn")
    group.addoption("--effort", choices=list(Effort), default=Effort.SHORT, help="how hard proofs try")
    group.addoption("--seed", type=int, default=1, help="where random series begin")


@pytest.fixture(scope="session")
def effort(pytestconfig: pytest.Config) -> Effort:
    """How hard this run tries."""
    return Effort(pytestconfig.getoption("--effort"))


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Where random series begin."""
    return int(pytestconfig.getoption("--seed"))


@pytest.fixture
def figure(request: pytest.FixtureRequest, effort: Effort) -> Iterator[State]:
    """States a figure: name, value, unit, and if there is a goal an operator and its value."""
    missed: list[str] = []

    def state(name: str, value: float, unit: str, goal_op: str = "", goal_value: float | None = None) -> None:
        assert _NAME.fullmatch(name), f"{name!r} cannot be the name of a figure"
        line = f"figure {name} {_written(value)} {unit}"
        if goal_value is not None and not (effort is Effort.SHORT and unit in _TIMES):
            line += f" goal {goal_op} {_written(goal_value)}"
            if not _MEETS[goal_op](value, goal_value):
                missed.append(line)
        request.node.user_properties.append((_PROPERTY, line))

    yield state
    if missed:
        pytest.fail("A goal was missed:\n" + "\n".join(missed), pytrace=False)


@pytest.fixture
def explain(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Shows something with a proof that fails."""
    return lambda text: request.node.add_report_section("call", "what went wrong", text)


def _written(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that nobody waits for it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        report for group in ("passed", "failed", "error") for report in terminalreporter.stats.get(group, ())
    ]
    lines = dict.fromkeys(
        line
        for report in reports
        for name, line in getattr(report, "user_properties", ())
        if name == _PROPERTY
    )
    if lines:
        terminalreporter.section("figures", sep="-")
        for line in sorted(lines):
            terminalreporter.line(line)
