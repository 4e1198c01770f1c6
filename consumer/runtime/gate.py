"""What stands between a processor's lanes, on all partitions, and its attempts: breaker and rate limit.

To wait here is no attempt: it spends nothing, keeps no stop waiting, and whoever waits can be cancelled.
Without trouble and without a rate nobody comes here at all: see `Gate.is_calm`.
"""

from __future__ import annotations

import asyncio
from math import ceil

import structlog

from consumer.runtime.breaker import Breaker, BreakerState, Patience
from consumer.runtime.clock import Clock, SystemClock
from consumer.runtime.rate import Queue, TokenBucket

_log = structlog.get_logger("inturn.processor")


class _Waiter:
    __slots__ = ("admitted", "count", "is_for_breaker", "permit", "since_s")

    def __init__(self, count: int, since_s: float, *, is_for_breaker: bool) -> None:
        self.count = count
        self.since_s = since_s
        self.is_for_breaker = is_for_breaker
        self.permit: int | None = None
        """The number of the probe, 0 for none, once it is let in."""
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Gate:
    """Lets attempts in, one lane after the other.

    Every attempt that `enter` let in is ended by one of `succeeded`, `failed` and `withdrawn`; those that
    began while it was calm as well, with the permit 0.
    """

    def __init__(
        self,
        name: str = "",
        clock: Clock | None = None,
        breaker: Breaker | None = None,
        bucket: TokenBucket | None = None,
    ) -> None:
        self.breaker = breaker
        self.is_calm = bucket is None
        """Whether attempts need neither ask nor say that they succeeded: there is no rate, nothing failed."""
        self.breaker_waited_s = 0.0
        """Seconds that lanes have waited for the breaker, added up."""
        self.rate_waited_s = 0.0
        """The same for the rate limit."""
        self._name = name
        self._clock = clock or SystemClock()
        self._bucket = bucket
        self._queue: Queue[_Waiter] = Queue()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Lanes that wait now."""
        return len(self._queue)

    def chunk_of(self, count_max: int) -> int:
        """How many events to take at once: what is allowed now, or while there is nothing, ever."""
        if self._bucket is None:
            return count_max
        whole = 0 if self._queue else self._bucket.whole(self._clock.monotonic_s())
        return min(count_max, whole or self._bucket.burst)

    async def enter(self, partition: str, count: int) -> int:
        """Wait until an attempt on so many events may begin; gives its permit."""
        now_s = self._clock.monotonic_s()
        if not self._queue and not self._wait_s(count, now_s):
            return self._admit(count, now_s)
        waiter = _Waiter(count, now_s, is_for_breaker=self._is_open)
        self._queue.put(partition, waiter)
        self._look()
        try:
            await waiter.admitted
        except asyncio.CancelledError:
            if waiter.permit is None:
                self._queue.remove(partition, waiter)
                self._look()
            else:
                self.withdrawn(waiter.permit, unused=count)
            raise
        assert waiter.permit is not None
        return waiter.permit

    def succeeded(self) -> None:
        """Say that an attempt succeeded."""
        breaker = self.breaker
        if breaker is None or breaker.is_calm:
            return
        was_open = self._is_open
        breaker.succeeded()
        self.is_calm = self._bucket is None
        if was_open:
            _log.info("The processor's target works again: the breaker is closed.", processor=self._name)
            self._look()

    def failed(self, permit: int, patience: Patience, error: str) -> None:
        """Say that an attempt failed, for a reason that may be the target's."""
        breaker = self.breaker
        opened = 0 if breaker is None else breaker.opened
        patience.failed(breaker, permit, self._clock.monotonic_s())
        if breaker is None:
            return
        self.is_calm = False
        if breaker.opened > opened:
            _log.warning(
                "A processor's attempts fail in a row: its breaker is open. Events wait, and one of them is "
                "tried from time to time.",
                processor=self._name,
                failures=breaker.row,
                open_s=breaker.policy.open_s,
                error=error,
            )
        self._look()

    def withdrawn(self, permit: int, *, unused: int = 0) -> None:
        """Say that an attempt has shown nothing; `unused` are the events of one that did not even begin."""
        now_s = self._clock.monotonic_s()
        if self._bucket is not None and unused:
            self._bucket.give_back(unused, now_s)
        if self.breaker is not None:
            self.breaker.withdrawn(permit, now_s)
        self._look()

    def gave_up(self) -> None:
        """Say that an event has spent its attempts."""
        if self.breaker is not None:
            self.breaker.gave_up()

    # Who may begin.

    @property
    def _is_open(self) -> bool:
        return self.breaker is not None and self.breaker.state is not BreakerState.CLOSED

    def _wait_s(self, count: int, now_s: float) -> float:
        for_breaker = 0.0 if self.breaker is None else self.breaker.wait_s(now_s)
        return for_breaker or (0.0 if self._bucket is None else self._bucket.wait_s(count, now_s))

    def _admit(self, count: int, now_s: float) -> int:
        if self._bucket is not None:
            self._bucket.take(count, now_s)
        return 0 if self.breaker is None else self.breaker.begin(now_s)

    def _look(self) -> None:
        """Let in whoever may begin now, and look again when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            now_s = self._clock.monotonic_s()
            wait_s = self._wait_s(self._queue.next.count, now_s)
            if wait_s > 0:
                # In whole milliseconds, rounded up: a timer that is early by a hair would turn for nothing.
                after_s = ceil(wait_s * 1_000) / 1_000
                self._timer = asyncio.get_running_loop().call_later(after_s, self._look)
                return
            self._let_in(self._queue.pop(), now_s)

    def _let_in(self, waiter: _Waiter, now_s: float) -> None:
        if waiter.admitted.done():  # its task was cancelled, and has not run since
            return
        waiter.permit = self._admit(waiter.count, now_s)
        if waiter.is_for_breaker:
            self.breaker_waited_s += now_s - waiter.since_s
        else:
            self.rate_waited_s += now_s - waiter.since_s
        waiter.admitted.set_result(None)
