"""Asks an endpoint whether it wants our webhooks, as CloudEvents does, and keeps to the rate that it allows.

It is asked before the first delivery of a process; once it has agreed, that holds. A status says nothing:
many answer any OPTIONS with 200.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from consumer.processor import NotYet, Retry
from processors.outbound import Answer

REFUSED_PAUSE_S = 30.0
"""After a refusal the endpoint is not asked again for so long."""
PACE_WAIT_MAX_S = 10.0
"""A delivery that would have to wait longer for its turn is given back, to come again when it is due."""
RATE_MAX_PER_MIN = 1_000_000

_log = logging.getLogger("inturn.processors.webhook")

Ask = Callable[[Mapping[str, str]], Awaitable[Answer]]
"""Sends the question with its headers."""
Clock = Callable[[], float]
"""Seconds that never go back."""


class Handshake:
    """The permission of one endpoint."""

    def __init__(
        self, origin: str, request_rate_per_min: int | None, ask: Ask, now_s: Clock = time.monotonic
    ) -> None:
        self.headers: Mapping[str, str] = {"WebHook-Request-Origin": origin}
        """They are in the question and in every delivery."""
        self._rate = (
            {} if request_rate_per_min is None else {"WebHook-Request-Rate": str(request_rate_per_min)}
        )
        self._ask = ask
        self._now_s = now_s
        self._pace: Pace | None = None
        self._is_granted = False
        self._not_before_s = 0.0
        self._asking = asyncio.Lock()

    async def permit(self) -> None:
        """Wait until a delivery may go out.

        Raises `Retry` when the endpoint does not want any, does not answer, or wants them too slowly.
        """
        if not self._is_granted:
            async with self._asking:
                if not self._is_granted:
                    await self._agree()
        if self._pace is not None:
            await self._pace.turn()

    async def _agree(self) -> None:
        wait_s = self._not_before_s - self._now_s()
        if wait_s > 0:
            raise Retry("the endpoint does not want our webhooks: the handshake failed", after_s=wait_s)
        answer = await self._ask({**self.headers, **self._rate})
        rate_per_min = allowed_rate_per_min(answer.headers, self.headers["WebHook-Request-Origin"])
        if rate_per_min is None:
            self._not_before_s = self._now_s() + REFUSED_PAUSE_S
            _log.error(
                "The endpoint of a webhook does not want our events: it did not answer the handshake with "
                "our origin. Allow it there, or set `handshake: off` if it knows none. status=%d",
                answer.status,
            )
            raise Retry(
                "the endpoint does not want our webhooks: the handshake failed", after_s=REFUSED_PAUSE_S
            )
        self._is_granted = True
        if rate_per_min:
            _log.info(
                "The endpoint of a webhook wants so many requests a minute at most: more will have to "
                "wait. requests_per_min=%d",
                rate_per_min,
            )
            self._pace = Pace(rate_per_min, self._now_s)


def allowed_rate_per_min(headers: Mapping[str, str], origin: str) -> int | None:
    """What an endpoint allows an origin: requests a minute, 0 for as many as there are; None: nothing."""
    if headers.get("WebHook-Allowed-Origin", "").strip().casefold() not in {"*", origin.casefold()}:
        return None
    text = headers.get("WebHook-Allowed-Rate", "*").strip()
    if text == "*":
        return 0
    if not (text.isascii() and text.isdigit()) or int(text[:9]) == 0:
        return None
    return min(int(text[:9]), RATE_MAX_PER_MIN)


class Pace:
    """Lets deliveries out one after the other, at a rate."""

    def __init__(self, per_min: int, now_s: Clock = time.monotonic) -> None:
        self._interval_s = 60.0 / per_min
        self._now_s = now_s
        self._next_s = 0.0

    async def turn(self) -> None:
        """Wait for the next turn. Raises `NotYet` if it is too far away."""
        now_s = self._now_s()
        at_s = max(self._next_s, now_s)
        if at_s - now_s > PACE_WAIT_MAX_S:
            raise NotYet("the endpoint allows no more requests just now", after_s=at_s - now_s)
        self._next_s = at_s + self._interval_s
        if at_s > now_s:
            try:
                await asyncio.sleep(at_s - now_s)
            except asyncio.CancelledError:
                self._next_s -= self._interval_s  # for whoever comes next
                raise
