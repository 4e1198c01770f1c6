"""How long an owner trusts itself without having asked the store.

A process that was frozen, or whose store is away, cannot know whether another one has taken its partition
meanwhile. So ownership is a lease: for some seconds after the *start* of the last access that proved the
stored state to be still ours (a checkpoint that was stored, or a look at its version) new attempts may
begin. Then they wait, all together, for one look. An idle partition costs the store nothing: it is asked
when there is something to do.

A store that is slow delays, and no more: as long as it is being asked, what runs goes on. One that gives
no answer until the lease has ended, for ten seconds at least, ends the ownership; what was done since the
last checkpoint is done again by whoever takes the partition next, with the same idempotency keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import inf

import structlog

from consumer.errors import StoreUnavailable
from consumer.runtime.clock import Clock

_log = structlog.get_logger("inturn.partition")

FENCE_AFTER_S = 15.0
"""How long an owner trusts itself, unless it is told otherwise."""
_ASK_AGAIN_S = 0.5
"""Between two looks while the store does not answer."""
_RENEW_AFTER = 1 / 3
"""The part of the lease after which a busy partition has it renewed: a slow store interrupts nothing."""
_ANSWER_WITHIN = 2 / 3
"""The part of the lease for which the store may be asked in vain. With the third before the renewal, an owner
that hears nothing is silent when its lease ends."""
_FROZEN_S = 2.0
"""A turn that comes this late was not the store's fault: the time in between is not held against it."""


class Lease:
    """The right to begin attempts on one partition."""

    def __init__(
        self,
        partition: str,
        prove: Callable[[], Awaitable[None]],
        clock: Clock,
        *,
        proved_s: float,
        lasts_s: float = FENCE_AFTER_S,
    ) -> None:
        """`prove` asks the store once; it raises `FenceLost` or `StoreUnavailable`.

        `proved_s` is when the access began that made the partition ours.
        """
        self.partition = partition
        self.lasts_s = lasts_s
        self.trouble: str | None = None
        """Why nothing new is begun; None unless the store was asked in vain."""
        self._prove = prove
        self._clock = clock
        self._proved_s = self._looked_s = proved_s
        self.expires_s = proved_s + lasts_s
        """Until when attempts may begin, on the monotonic clock."""
        self._asked_s: float | None = None
        """Since when the store has been asked in vain."""
        self._is_over = False
        self._is_wanted = asyncio.Event()
        self._is_renewed = asyncio.Event()

    @property
    def is_valid(self) -> bool:
        """Whether an attempt may begin now."""
        return self._clock.monotonic_s() < self.expires_s

    @property
    def remaining_s(self) -> float:
        """Seconds for which attempts may begin without asking; 0: the store is asked first."""
        return max(0.0, self.expires_s - self._clock.monotonic_s())

    async def hold(self) -> None:
        """Return when an attempt may begin; never, once the partition is another owner's."""
        while not self.is_valid:
            self._is_renewed.clear()
            self._is_wanted.set()
            await self._is_renewed.wait()

    def proved(self, started_s: float) -> None:
        """Say that an access which began at `started_s` has shown the stored state to be ours."""
        self._proved_s = max(self._proved_s, started_s)
        if not self._is_over:
            self.expires_s = self._proved_s + self.lasts_s
        self._asked_s = self.trouble = None
        self._is_renewed.set()

    def failed(self, started_s: float) -> None:
        """Say that an access which began at `started_s` had no answer."""
        if self._asked_s is None:
            self._asked_s = started_s

    def end(self) -> None:
        """No attempt begins any more."""
        self._is_over = True
        self.expires_s = -inf

    def look(self, *, is_busy: bool) -> bool:
        """Tell whether to give the partition up; call it every second or so.

        `is_busy` says that attempts run or wait. Only then is there anything to protect: a partition
        that is merely late with its checkpoint goes on trying to store it.
        """
        now_s = self._clock.monotonic_s()
        late_s, self._looked_s = now_s - self._looked_s, now_s
        if self._asked_s is not None and late_s > _FROZEN_S:
            self._asked_s += late_s
        if not is_busy or self._is_over:
            return False
        if now_s >= self._proved_s + self.lasts_s * _RENEW_AFTER:
            self._is_wanted.set()
        if self.is_valid:
            return False
        if self._asked_s is None:
            self._asked_s = now_s
        return now_s >= self._asked_s + self.lasts_s * _ANSWER_WITHIN

    async def keep(self) -> None:
        """Ask the store whenever it is wanted, one look at a time; runs until cancelled.

        Raises `FenceLost` if another owner has written the state.
        """
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            started_s = self._clock.monotonic_s()
            if started_s < self._proved_s + self.lasts_s * _RENEW_AFTER:
                self._is_renewed.set()  # a checkpoint was stored meanwhile
                continue
            self.failed(started_s)  # until there is an answer
            try:
                await self._prove()
            except StoreUnavailable as error:
                if self.trouble is None and not self.is_valid:
                    _log.warning(
                        "Whether the partition is still ours cannot be asked; nothing new is begun.",
                        partition=self.partition,
                        error=str(error),
                    )
                    self.trouble = str(error)
                await asyncio.sleep(_ASK_AGAIN_S * (0.5 + self._clock.jitter()))
                self._is_wanted.set()
            else:
                self.proved(started_s)
