"""The deadline of whatever a lane attempts, with one timer for all attempts.

A timer for each attempt (`asyncio.timeout`) costs more than most attempts take. The timer of a lane is left
alone when an attempt ends in time; when it fires it is set again, for the attempt that runs by then. So
every attempt is cut off exactly at its own deadline, and a busy lane sets a timer once per deadline.
"""

from __future__ import annotations

import asyncio
from math import inf


class Deadline:
    """Cancels a task that is amid an attempt when its time is over: always the one that began first."""

    __slots__ = ("_at_s", "_is_amid", "_is_over", "_loop", "_task", "_timer", "_timer_s")

    def __init__(self) -> None:
        # Asked once: to ask for every attempt costs as much as a short one takes.
        self._task: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_amid = False
        self._at_s = inf
        """Of the attempt that runs, on the loop's clock."""
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = inf
        """When the timer fires."""

    def begin(self, after_s: float) -> None:
        """Give the current task so many seconds from now."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
            self._task = asyncio.current_task(loop)
        self._is_amid, self._is_over = True, False
        self._at_s = at_s = loop.time() + after_s
        if at_s < self._timer_s:
            self._set(loop, at_s)

    def end(self) -> bool:
        """End the attempt; tells whether it was cut off, which takes that cancellation back."""
        self._is_amid = False
        if not self._is_over:
            return False
        assert self._task is not None, "ended without a beginning"
        self._task.uncancel()
        return True

    def close(self) -> None:
        """Leave no timer behind, and let go of the task."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_s = None, inf
        self._task = self._loop = None

    def _set(self, loop: asyncio.AbstractEventLoop, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_s = loop.call_at(at_s, self._fire), at_s

    def _fire(self) -> None:
        fired_s, self._timer, self._timer_s = self._timer_s, None, inf
        task, loop = self._task, self._loop
        if task is None or loop is None or not self._is_amid or self._is_over:
            return
        # Not the clock alone: a loop may be early by as much as its clock can tell. Nor the timer alone:
        # after the process was frozen it may be an older attempt's, and what this one waits for is due too.
        if self._at_s <= fired_s or self._at_s <= loop.time():
            self._is_over = True
            task.cancel()
        else:
            self._set(loop, self._at_s)
