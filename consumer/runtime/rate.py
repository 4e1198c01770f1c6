"""The rate limit of a processor: a bucket of tokens, one for each event of each attempt. Pure: times in.

The bucket fills evenly, up to `burst`. Who waits does so in a `Queue` that takes partitions in turn, so a
partition with eight busy lanes gets no more than one with a single busy lane.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_NEARLY = 1e-6
"""Tokens that may be missing: a timer and a clock do not agree on the last digit."""


@dataclass(frozen=True, slots=True)
class RatePolicy:
    """How many events in how many seconds."""

    events: int
    per_s: float
    burst: int
    """Events that may begin at once after a pause."""

    def __post_init__(self) -> None:
        if self.events < 1 or self.per_s <= 0 or self.burst < 1:
            raise ValueError(f"not a rate: {self}")


class TokenBucket:
    """What is allowed; `now_s` never falls from call to call."""

    def __init__(self, policy: RatePolicy, now_s: float) -> None:
        self.burst = policy.burst
        self._per_s = policy.events / policy.per_s
        self._tokens = float(policy.burst)
        self._at_s = now_s

    def wait_s(self, count: int, now_s: float) -> float:
        """Seconds until so many events may begin, at most `burst`; 0: now."""
        missing = min(count, self.burst) - self._held(now_s)
        return 0.0 if missing <= _NEARLY else missing / self._per_s

    def take(self, count: int, now_s: float) -> None:
        """Take the tokens of events that may begin."""
        self._tokens = self._held(now_s) - min(count, self.burst)
        self._at_s = now_s

    def give_back(self, count: int, now_s: float) -> None:
        """Return the tokens of events that did not begin after all."""
        self.take(-count, now_s)
        self._tokens = min(self._tokens, float(self.burst))

    def whole(self, now_s: float) -> int:
        """Events that may begin now."""
        return int(self._held(now_s) + _NEARLY)

    def _held(self, now_s: float) -> float:
        return min(float(self.burst), self._tokens + max(0.0, now_s - self._at_s) * self._per_s)


class Queue(Generic[T]):
    """Who waits: partitions in turn, and within one the first come."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, partition: str, waiter: T) -> None:
        """Begin to wait."""
        self._waiting.setdefault(partition, deque()).append(waiter)

    @property
    def next(self) -> T:
        """Whose turn it is; there must be somebody."""
        return next(iter(self._waiting.values()))[0]

    def pop(self) -> T:
        """Take out whose turn it is; the other partitions come before the next one of this."""
        partition, waiters = next(iter(self._waiting.items()))
        waiter = waiters.popleft()
        self._waiting.move_to_end(partition)
        if not waiters:
            del self._waiting[partition]
        return waiter

    def remove(self, partition: str, waiter: T) -> None:
        """Stop waiting; nothing happens if it does not."""
        waiters = self._waiting.get(partition, deque())
        if waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[partition]
