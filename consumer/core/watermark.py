"""The watermark of a partition: log time before which nothing new is expected.

It is the highest enqueued time so far, so it is a function of the log: a replay sees the same. Only on
an idle partition may it follow the local clock, a margin behind, so that the last events are not held for
ever; the margin has to exceed both the clocks' difference and the longest delivery delay.
"""

from __future__ import annotations


class Watermark:
    """Log time, milliseconds since 1970."""

    def __init__(self, margin_ms: int, time_ms: int | None = None) -> None:
        self.margin_ms = margin_ms
        self._is_known = time_ms is not None
        self._time_ms = time_ms or 0
        self._last_arrival_ms: int | None = None

    @property
    def time_ms(self) -> int | None:
        """None before the first event."""
        return self._time_ms if self._is_known else None

    def observe(self, enqueued_time_ms: int) -> int:
        """Note an enqueued time and give the watermark, which never falls."""
        if enqueued_time_ms > self._time_ms or not self._is_known:
            self._time_ms = enqueued_time_ms
            self._is_known = True
        return self._time_ms

    def arrived(self, now_ms: int) -> None:
        """Note that something arrived at a local time, or could not have arrived before it."""
        self._last_arrival_ms = now_ms

    def known_empty(self, now_ms: int) -> None:
        """Note that the hub has said that we have everything: there is no backlog to wait for."""
        if self._last_arrival_ms is None:
            self._last_arrival_ms = now_ms

    def follow_clock(self, now_ms: int) -> bool:
        """Let the watermark follow the local clock if the partition is idle; tell whether it moved.

        Before the first arrival there may be a backlog: that nothing has come yet does not mean idle, unless
        the hub has said so.
        """
        if not self._is_known or self._last_arrival_ms is None:
            return False
        if now_ms - self._last_arrival_ms < self.margin_ms:
            return False
        if now_ms - self.margin_ms <= self._time_ms:
            return False
        self._time_ms = now_ms - self.margin_ms
        return True

    def followed_to_ms(self, time_ms: int) -> int | None:
        """The local time at which, if nothing comes, it is at a log time; None: nothing has arrived yet."""
        if self._last_arrival_ms is None:
            return None
        return max(time_ms, self._last_arrival_ms) + self.margin_ms
