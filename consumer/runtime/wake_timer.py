"""Sleeps until a time that moves: nearly every batch moves it, and nearly always back."""

from __future__ import annotations

import asyncio

from consumer.runtime.clock import Clock


class WakeTimer:
    """Who sleeps is woken for an earlier time only; a later one is seen when the earlier one has come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_ms: int | None = None
        self._sleeps_to_ms = 0.0
        """0: nobody sleeps, and whoever is about to will see the time that is set."""
        self._is_earlier = asyncio.Event()

    def set(self, at_ms: int) -> None:
        """Wake at this time, milliseconds since 1970, instead of the one that was set."""
        self._at_ms = at_ms
        if at_ms < self._sleeps_to_ms:
            self._is_earlier.set()

    async def sleep(self, longest_s: float) -> float:
        """Sleep until the time that is set, but not for longer; gives how many seconds that was to be."""
        now_ms = self._clock.now_ms()
        wait_s = longest_s if self._at_ms is None else min((self._at_ms - now_ms) / 1_000, longest_s)
        if wait_s > 0:
            self._sleeps_to_ms = now_ms + wait_s * 1_000
            try:
                async with asyncio.timeout(wait_s):
                    await self._is_earlier.wait()
            except TimeoutError:
                pass
            self._is_earlier.clear()
            self._sleeps_to_ms = 0.0
            now_ms = self._clock.now_ms()
        if self._at_ms is not None and self._at_ms <= now_ms:
            self._at_ms = None
        return wait_s
