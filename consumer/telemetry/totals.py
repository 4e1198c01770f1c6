"""Counters that never go backwards, made of counts that start again with every assignment.

A partition counts from zero whenever it is assigned. What is exported is *folded + current*: the sum
over the assignments that have ended, and the count of the one that runs. An assignment's last counts
reach the fold in one of two ways:

* the engine says so (`retire`) in the same step in which the partition leaves its status: exact;
* or a scrape notices: the partition was missing, or a count fell. Then whatever was counted between
  the last scrape and the revocation is not in the total; nothing is ever counted twice.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping

Counts = Mapping[Hashable, float]


class FoldedTotals:
    """Totals per partition (or any other name) and counter, monotone over assignments."""

    def __init__(self) -> None:
        self._folded: dict[str, dict[Hashable, float]] = {}
        self._last: dict[str, Counts] = {}
        self._missing: set[str] = set()

    def retire(self, name: str, counts: Counts) -> None:
        """Take the last counts of an assignment that ends now. They replace what a scrape saw of it."""
        last = self._last.pop(name, None)
        if last is not None and (name in self._missing or _fell(last, counts)):
            self._fold(name, last)  # of an earlier assignment, which ended and nobody said so
        self._fold(name, counts)
        self._missing.discard(name)

    def observe(self, current: Mapping[str, Counts]) -> None:
        """Take the counts of all assignments that run now."""
        for name, counts in current.items():
            last = self._last.get(name)
            if last is not None and (name in self._missing or _fell(last, counts)):
                self._fold(name, last)
            self._last[name] = counts
        self._missing = self._last.keys() - current.keys()

    def __iter__(self) -> Iterator[tuple[str, dict[Hashable, float]]]:
        """Every name ever seen, sorted, with its totals."""
        for name in sorted(self._folded.keys() | self._last.keys()):
            totals = dict(self._folded.get(name, {}))
            for key, count in self._last.get(name, {}).items():
                totals[key] = totals.get(key, 0) + count
            yield name, totals

    def _fold(self, name: str, counts: Counts) -> None:
        folded = self._folded.setdefault(name, {})
        for key, count in counts.items():
            folded[key] = folded.get(key, 0) + count


def _fell(last: Counts, now: Counts) -> bool:
    return any(now.get(key, 0) < count for key, count in last.items())
