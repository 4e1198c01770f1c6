"""What a metric is: its name, its labels, where its number comes from, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S")


class Kind(StrEnum):
    """What Prometheus may do with a metric's numbers."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple, Generic[S]):
    """One metric, read from a status of type `S`."""

    name: str
    """As it is exposed, with ``_total`` for a counter."""
    kind: Kind
    labels: tuple[str, ...]
    help: str
    """What it means, and what to do when it is not as it should be."""
    read: Callable[[S], float | None]
    """None leaves the sample out: the number is not known."""


class Breakdown(NamedTuple, Generic[S]):
    """A counter that is split by a closed list of label values."""

    name: str
    labels: tuple[str, ...]
    help: str
    read: Callable[[S], Mapping[str, int]]
    values: Mapping[str, tuple[str, ...]]
    """From the status's key to label values. Keys that are not here are counted under `other`."""
    other: tuple[str, ...]

    def split(self, status: S) -> dict[tuple[str, ...], float]:
        """Counts by label values. Every value is there from the start: a rate needs a zero to rise from."""
        counts: dict[tuple[str, ...], float] = dict.fromkeys((*self.values.values(), self.other), 0)
        for key, count in self.read(status).items():
            counts[self.values.get(key, self.other)] += count
        return counts
