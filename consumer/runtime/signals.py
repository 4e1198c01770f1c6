"""Signals, and the end of the process on the spot.

The first SIGTERM or SIGINT drains; a second one hurries: what still runs is cut off, and the checkpoint is
stored all the same. A third one ends the process on the spot.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn, Protocol

import structlog

_log = structlog.get_logger("inturn.lifecycle")

_TEMPORARY = 75
"""The exit code of a process that ends on the spot: what was not stored is repeated."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_process() -> NoReturn:
    """End on the spot, as a last resort: nothing is closed, but the log is written. From any thread."""
    flush_log()
    os._exit(_TEMPORARY)


def flush_log() -> None:
    """Wait until what was logged is written, for a while."""
    for handler in logging.getLogger().handlers:
        handler.flush()


class Stoppable(Protocol):
    """What a signal stops: an engine, or a supervisor of several."""

    def drain(self) -> None:
        """Take nothing new and finish what is in flight."""

    def hurry(self) -> None:
        """Wait no longer for what is in flight."""


@asynccontextmanager
async def stop_signals(target: Stoppable, end: Callable[[], None] = end_process) -> AsyncIterator[None]:
    """Turn signals into calls for as long as the block lasts; the third one calls `end`.

    Enter it before anything is opened: what is open must be closed again, and a thread that is just being
    started must not be left behind.
    """
    loop = asyncio.get_running_loop()
    received = 0

    def stop() -> None:
        nonlocal received
        received += 1
        if received == 1:
            _log.info("Stopping: what is in flight is finished first. A second signal hurries.")
            target.drain()
        elif received == 2:
            _log.warning("Hurrying: what still runs is cut off and will be repeated. A third signal kills.")
            target.hurry()
        else:
            end()

    installed = []
    for number in _SIGNALS:
        try:
            loop.add_signal_handler(number, stop)
        except (NotImplementedError, RuntimeError, ValueError):
            # Windows' event loop has no signal handlers, and only the main thread may have any.
            continue
        installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
