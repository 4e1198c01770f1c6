"""When the next letter may begin: at a rate, as long as nobody says stop, and no more than so many."""

from __future__ import annotations

import asyncio
from math import inf

from consumer.runtime.clock import Clock


class Pace:
    """Lets letters begin."""

    def __init__(
        self, clock: Clock, *, rate_per_s: float | None = None, letters_max: int | None = None
    ) -> None:
        """None: as fast as they go; as many as there are."""
        self._clock = clock
        self._every_s = 0.0 if rate_per_s is None else 1 / rate_per_s
        self._next_s = -inf
        self._left = inf if letters_max is None else letters_max
        self._stop = asyncio.Event()

    @property
    def is_stopped(self) -> bool:
        """Whether somebody said stop."""
        return self._stop.is_set()

    @property
    def is_over(self) -> bool:
        """Whether nothing more begins."""
        return self._left <= 0 or self.is_stopped

    def stop(self) -> None:
        """Let nothing more begin."""
        self._stop.set()

    async def begin(self) -> bool:
        """Return when one more letter may begin; False: none may any more."""
        if self.is_over:
            return False
        self._left -= 1
        now_s = self._clock.monotonic_s()
        at_s = max(self._next_s, now_s)
        self._next_s = at_s + self._every_s
        return not await self.pause(at_s - now_s)

    async def pause(self, seconds: float) -> bool:
        """Wait so long, or until somebody says stop; tells whether somebody has."""
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._stop.wait()
            except TimeoutError:
                pass
        return self.is_stopped
