"""How far one of two runs is behind the other, when both go on at the same time on the same machine.

Runs one after the other compare the machine with itself at two moments: what else it does then counts more
than what is to be measured. Side by side they share whatever happens, and each gets the same share of the
cores, so the one that needs more of anything is behind.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """How much of its work a run had done when."""

    began_s: float = 0.0
    """On the monotonic clock; 0: not yet."""
    at_s: list[float] = field(default_factory=list)
    """Since then; rising."""
    shares: list[float] = field(default_factory=list)
    """Of the work, 0 to 1, at these times; never falling."""

    def note(self, now_s: float, share: float) -> None:
        """Add what is done now; it begins with the first thing that is."""
        if not self.began_s:
            if not share:
                return
            self.began_s = now_s
        self.at_s.append(now_s - self.began_s)
        self.shares.append(share)

    @property
    def took_s(self) -> float:
        """Until all was done. Raises `ValueError` if it is not."""
        return self.at_s[self.shares.index(1.0)]

    def share_at(self, at_s: float) -> float:
        """How much was done so many seconds after it began."""
        return _between(self.at_s, self.shares, at_s)

    def reached_s(self, share: float) -> float:
        """How many seconds after it began so much was done."""
        return _between(self.shares, self.at_s, share)


def loss(calm: Progress, troubled: Progress) -> float:
    """By how many percent `troubled` is slower, when the first of both has done all; negative: it is faster.

    That is the time that it has had, beside the time that the other one took to get as far. To wait for the
    end of the slower one would not do: it has the machine to itself by then, and catches up.
    """
    end_s = min(each.began_s + each.took_s for each in (calm, troubled))
    calm_s, troubled_s = end_s - calm.began_s, end_s - troubled.began_s
    if calm.share_at(calm_s) < 1.0:
        return 100 * (troubled.reached_s(calm.share_at(calm_s)) / calm_s - 1)
    return 100 * (troubled_s / calm.reached_s(troubled.share_at(troubled_s)) - 1)


def _between(keys: list[float], values: list[float], key: float) -> float:
    """The value at a key, on the line between its neighbours."""
    place = bisect_left(keys, key)
    if place == len(keys):
        return values[-1]
    if place == 0 or keys[place] == key:
        return values[place]
    part = (key - keys[place - 1]) / (keys[place] - keys[place - 1])
    return values[place - 1] + part * (values[place] - values[place - 1])
