"""Notices from a thread that the event loop stands still, says whose code holds it, and ends it for good.

Everything of a partition runs on one loop: a processor that computes, sleeps or waits without `await` holds
up all others, the checkpoints and the renewal of ownership. A loop that is held for good can store nothing;
the process then ends before others take its partitions for abandoned.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import structlog

from consumer.telemetry.health import EventLoopHeartbeat

_log = structlog.get_logger("inturn.watchdog")

WARN_AFTER_S = (1.0, 10.0)
"""A block is told of when it has lasted this long."""
BLOCKED_MAX_S = 60.0
"""The process ends when the loop was held for this long."""
_LOOK_EVERY_S = 0.25
_FROZEN_S = 2.0
"""A look that comes this late: the whole process was stopped or suspended, and the loop is not to blame."""
_LIBRARY = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}


class LoopWatchdog:
    """Watches the loop whose heartbeat it is given."""

    def __init__(
        self,
        heartbeat: EventLoopHeartbeat,
        *,
        end_process: Callable[[], None],
        whose: Callable[[str], str | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`whose` tells a task's processor by the task's name. `end_process` is called in the thread."""
        self.blocks = 0
        """How often the loop was held for longer than the first of `WARN_AFTER_S`."""
        self.longest_s = 0.0
        """The longest of these times, or 0."""
        self._heartbeat = heartbeat
        self._end_process = end_process
        self._whose = whose
        self._clock = clock
        self._looked_s = self._awake_s = clock()
        self._told = 0
        self._held_s = 0.0
        self._is_over = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the running loop, from its own thread's point of view the current one, during the block."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._heartbeat.beat()
        self._looked_s = self._awake_s = self._clock()
        thread = threading.Thread(target=self._run, name="inturn-watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(_LOOK_EVERY_S):
            self.look()

    def look(self) -> None:
        """Compare with the heartbeat; what the thread does four times a second."""
        now_s = self._clock()
        if now_s - self._looked_s > _FROZEN_S:
            self._awake_s = now_s
        self._looked_s = now_s
        held_s = min(self._heartbeat.age_s, now_s - self._awake_s)
        if held_s < WARN_AFTER_S[0]:
            if self._told:
                _log.info("The event loop turns again.", held_s=round(self._held_s, 1))
            self._told = 0
            return
        self._held_s = held_s
        self.longest_s = max(self.longest_s, held_s)
        if held_s >= BLOCKED_MAX_S:
            _log.error(
                "The event loop stands still; the process ends itself so that others can go on. What was not "
                "stored is done again with the same idempotency keys.",
                **self._culprit(held_s),
            )
            self._end_process()
        elif self._told < len(WARN_AFTER_S) and held_s >= WARN_AFTER_S[self._told]:
            self.blocks += not self._told
            self._told += 1
            _log.warning(
                "The event loop is held up: nothing else goes on meanwhile. Code that computes or waits "
                "for long belongs into a thread.",
                **self._culprit(held_s),
            )

    def _culprit(self, held_s: float) -> dict[str, object]:
        """Whose code runs in the loop just now, and where."""
        task = asyncio.current_task(self._loop) if self._loop is not None else None
        name = task.get_name() if task is not None else None
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documented way to another thread's
        return {
            "held_s": round(held_s, 1),
            "processor": self._whose(name) if name else None,
            "task": name,
            "line": line_of(frame),
        }


def line_of(frame: FrameType | None) -> str | None:
    """The innermost line outside the standard library, as ``file:line in function``."""
    innermost = frame
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_absolute() and not _is_library(path):
            break
        frame = frame.f_back
    found = frame or innermost
    if found is None:
        return None
    return f"{found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_qualname}"


def _is_library(path: Path) -> bool:
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return any(path.is_relative_to(library) for library in _LIBRARY)
