"""The figures, and what they have to be."""

from __future__ import annotations

import operator
from typing import NamedTuple

_MEETS = {"<=": operator.le, ">=": operator.ge}


class Goal(NamedTuple):
    """What a figure has to be."""

    op: str
    value: float


GOALS = {
    "in-memory-vs-hand-loop": Goal(">=", 1.5),
    "durable-vs-hand-loop": Goal(">=", 1.3),
    "socket-cpu-vs-sdk-default": Goal(">=", 10),
    "socket-cpu-vs-sdk-best": Goal(">=", 6),
    "one-partition-wall-vs-sdk-default": Goal(">=", 25),
    "low-rate-latency-p99": Goal("<=", 1),
    "low-rate-latency-p99-vs-sdk": Goal(">=", 25),
    "half-load-latency-p99": Goal("<=", 5),
    "in-memory-vs-bytewax": Goal(">=", 1.5),
    "in-memory-vs-quix": Goal(">=", 2),
    "in-memory-vs-faust": Goal(">=", 10),
    "two-workers-vs-one": Goal(">=", 1.6),
    "memory-per-object": Goal("<=", 120),
    "memory-per-identity": Goal("<=", 40),
}
"""By the name of the figure. They come from what was to be reached, and are never made easier."""


class Figure(NamedTuple):
    """One figure, as it is printed and shown."""

    name: str
    value: float
    unit: str
    note: str = ""
    """For the table: the spread, what was compared."""

    @property
    def goal(self) -> Goal | None:
        return GOALS.get(self.name)

    @property
    def is_met(self) -> bool:
        """Whether the goal, if there is one, is met."""
        return self.goal is None or bool(_MEETS[self.goal.op](self.value, self.goal.value))

    def line(self, *, judged: bool = True) -> str:
        """``figure NAME VALUE UNIT goal OP VALUE``."""
        line = f"figure {self.name} {written(self.value)} {self.unit}"
        if judged and self.goal is not None:
            line += f" goal {self.goal.op} {written(self.goal.value)}"
        return line


def written(value: float) -> str:
    """A number as it is shown: three significant digits at least, no noise."""
    if value == round(value) or abs(value) >= 1_000:
        return str(round(value))
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) >= 0.1 else f"{value:.3g}"
