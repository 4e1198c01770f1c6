"""Processing time, and chance: what a simulation replaces."""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and throws dice. Sleeping is the event loop's business."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""

    def monotonic_s(self) -> float:
        """Seconds, for differences."""

    def jitter(self) -> float:
        """A random number in [0, 1)."""


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    monotonic_s = staticmethod(time.monotonic)  # asked several times for every attempt

    def jitter(self) -> float:
        """A random number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads retries, keeps no secret
