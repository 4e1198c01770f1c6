"""Slow delivery on purpose: so many events a second, for the fault of that name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pace:
    """Counts what a link may deliver when it was slowed down."""

    def __init__(self) -> None:
        self._credit = 0.0
        self._counted_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def allowance(self, rate_per_s: float | None, again: Callable[[], None]) -> int:
        """Events that may go now; they count as gone. `again` is called when the next one is due."""
        if not rate_per_s:
            self._counted_at = None
            return 2**31
        loop = asyncio.get_running_loop()
        now = loop.time()
        elapsed_s = 0.0 if self._counted_at is None else now - self._counted_at
        self._counted_at = now
        self._credit = min(self._credit + elapsed_s * rate_per_s, max(rate_per_s, 1.0))
        whole = int(self._credit)
        self._credit -= whole
        if self._timer is None or self._timer.cancelled() or self._timer.when() <= now:
            self._timer = loop.call_later((1.0 - self._credit) / rate_per_s, again)
        return whole
