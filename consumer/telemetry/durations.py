"""How long processors take: the one histogram, kept in plain lists and fed once per chunk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from enum import StrEnum
from itertools import accumulate

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds in seconds, as OpenTelemetry's messaging conventions advise."""

BOUNDS = (*(str(bound) for bound in BUCKETS_S), "+Inf")
"""The same as Prometheus writes them, with the one above all."""

Durations = tuple[str, str, list[tuple[str, float]], float]
"""A histogram: processor, outcome, cumulative buckets as (``le``, count), sum in seconds."""


class AttemptOutcome(StrEnum):
    """How an attempt of a processor ended: a closed list, safe as a metric label."""

    HANDLED = "handled"
    RETRY = "retry"
    NOT_YET = "not_yet"
    REJECTED = "rejected"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OTHER = "other"
    """Whatever else a caller says: a label must not grow with what is put into it."""


_OUTCOMES = frozenset(outcome.value for outcome in AttemptOutcome)


class _Histogram:
    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0


class ProcessDurations:
    """Time spent in attempts, by processor and outcome."""

    def __init__(self) -> None:
        self._histograms: dict[tuple[str, str], _Histogram] = {}

    def observe(self, processor: str, outcome: str, seconds: float, count: int = 1) -> None:
        """Record a chunk of `count` events that took `seconds` together.

        Each event is given its equal share, so that the histogram's count is a number of events and its
        sum is time really spent. `outcome` is an `AttemptOutcome`; anything else is counted as ``other``.
        """
        if count < 1:
            return
        histogram = self._histograms.get((processor, outcome))
        if histogram is None:
            known = str(outcome) if outcome in _OUTCOMES else AttemptOutcome.OTHER.value
            histogram = self._histograms.setdefault((processor, known), _Histogram())
        histogram.counts[bisect_left(BUCKETS_S, seconds / count)] += count
        histogram.sum_s += seconds

    def __iter__(self) -> Iterator[Durations]:
        """Every histogram, sorted."""
        for (processor, outcome), histogram in sorted(self._histograms.items()):
            cumulative = accumulate(histogram.counts)
            yield processor, outcome, list(zip(BOUNDS, cumulative, strict=True)), histogram.sum_s
