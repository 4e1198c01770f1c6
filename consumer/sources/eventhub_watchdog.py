"""Decide from outside whether the client still reads a partition. Nothing here waits.

Three signs are public: the client calls us at least every `HEARTBEAT_S`, with nothing if there is
nothing; it delivers; and the hub says, on another connection, what its newest event is.
"""

from __future__ import annotations

import random
from enum import Enum, auto
from typing import NamedTuple

HEARTBEAT_S = 1.0
"""How often the client calls for a partition at which nothing arrives."""
SILENCE_S = 2.0
"""A client that has not called for so long is not receiving: it tries to connect, without a pause (D5b)."""


class Condition(Enum):
    """How a partition's receiver is."""

    WELL = auto()
    SILENT = auto()
    """The client does not call, or its link has not been open: it does not get through."""
    STALLED = auto()
    """The hub has more, and none of it comes (D6, D7)."""
    WORN = auto()
    """The link has delivered so much that its counters come near their end (D13)."""


class Signs(NamedTuple):
    """What there is to see of a receiver. Times are seconds of a monotonic clock."""

    heard_s: float
    """When the client last called with its link open, or came back from handing over."""
    behind_since_s: float | None
    """Since when the hub has more than was received and nothing came; None if it has not."""
    deliveries: int
    is_waiting_for_us: bool
    """The partition is paused, or a batch is being handed over, or the source was stopped."""


class Limits(NamedTuple):
    """When to worry."""

    stall_after_s: float
    deliveries_max: int


def judge(signs: Signs, limits: Limits, now_s: float) -> Condition:
    """How a receiver is."""
    if signs.is_waiting_for_us:
        return Condition.WELL
    if now_s - signs.heard_s > SILENCE_S:
        return Condition.SILENT
    if signs.behind_since_s is not None and now_s - signs.behind_since_s > limits.stall_after_s:
        return Condition.STALLED
    if signs.deliveries >= limits.deliveries_max:
        return Condition.WORN
    return Condition.WELL


class Backoff:
    """How long to wait before the next attempt: twice as long each time, with jitter, to a limit."""

    def __init__(
        self, *, first_s: float = 1.0, limit_s: float = 30.0, random_source: random.Random | None = None
    ) -> None:
        self._first_s = first_s
        self._limit_s = limit_s
        self._random = random_source or random.Random()  # noqa: S311 - spreads attempts, keeps no secret
        self._next_s = first_s

    def next_s(self) -> float:
        """Seconds to wait now: between half of the step and all of it, lest replicas march in step."""
        step_s = self._next_s
        self._next_s = min(self._limit_s, step_s * 2)
        return step_s * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self._next_s = self._first_s
