"""What follows a failure or a skip waits until that is stored (`consumer.core.barrier` says why)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from consumer.core.flights import Flight
from consumer.core.stimuli import Result, Verdict

_DECIDED = (Verdict.FAILED, Verdict.SKIPPED)
"""What does not follow from the log."""


class Settlements:
    """The failures and skips of one partition that are not settled, by ticket and processor."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[Flight, int], asyncio.Future[None]] = {}

    def expect(self, results: Iterable[Result]) -> list[asyncio.Future[None]]:
        """Give what to wait for before anything that follows these results may begin."""
        expected = []
        for result in results:
            if result.verdict in _DECIDED:
                future = asyncio.get_running_loop().create_future()
                self._waiting[result.ticket, result.processor] = future
                expected.append(future)
        return expected

    def settle(self, keys: Iterable[tuple[Flight, int]]) -> None:
        """Say that failures and skips are stored."""
        for key in keys:
            future = self._waiting.pop(key, None)
            if future is not None and not future.done():
                future.set_result(None)

    def cancel(self) -> None:
        """Nothing will be settled any more: whoever waits is cancelled."""
        for future in self._waiting.values():
            future.cancel()
