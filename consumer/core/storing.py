"""When the state is to be stored: one write at a time, and at once where order waits for it."""

from __future__ import annotations

from consumer.core.barrier import Barrier
from consumer.core.flights import Flight
from consumer.core.policy import PipelinePolicy


class Storing:
    """What is not stored yet, and from when on it may be."""

    def __init__(self, policy: PipelinePolicy) -> None:
        self._policy = policy
        self._barrier = Barrier()
        self._next_ms = 0
        self._is_storing = False
        self._is_last = False
        self.is_dirty = False
        """Something has changed since the last write began."""

    @property
    def is_settled(self) -> bool:
        """Whether everything that was done is stored."""
        return not self.is_dirty and not self._is_storing

    @property
    def due_ms(self) -> int | None:
        """From when on there is something to write; None: there is nothing, or a write is under way."""
        return self._next_ms if self.is_dirty and not self._is_storing else None

    def hurry(self) -> None:
        """Store everything as soon as can be from now on: the partition is given up."""
        self._is_last = True
        self._next_ms = 0

    def wait_for(self, flight: Flight, processor: int) -> None:
        """What follows this failure or skip waits for the next write, which is due at once."""
        self._barrier.add((flight, processor))
        self._next_ms = 0

    def begin(self) -> list[tuple[Flight, int]]:
        """Note that a write begins; gives the failures and skips that it stores."""
        self._is_storing, self.is_dirty = True, False
        return self._barrier.take()

    def end(self, *, ok: bool, now_ms: int, took_ms: int) -> None:
        """Note that the write has ended."""
        policy = self._policy
        self._is_storing = False
        self.is_dirty = self.is_dirty or not ok
        self._barrier.stored(ok=ok)
        # A write that failed was slow because the store was away: the next one comes as soon as usual.
        stretched_ms = policy.checkpoint_stretch * took_ms if ok else 0
        wait_ms = max(policy.checkpoint_interval_ms, min(stretched_ms, policy.checkpoint_interval_max_ms))
        is_urgent = ok and (self._is_last or self._barrier)
        self._next_ms = now_ms + (0 if is_urgent else wait_ms)
