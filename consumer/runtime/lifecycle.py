"""The order of starting and stopping, and signals.

Start: processors open, then the engine reads. Stop: the engine drains (nothing new, finish, checkpoint,
release), then processors close. The first SIGTERM or SIGINT drains; a second one hurries: what still runs
is cut off, and the checkpoint is stored all the same. A third one ends the process on the spot.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import NoReturn, Protocol

import structlog

from consumer.errors import ConfigurationError, ProcessorSettingsError
from consumer.processor import Resource
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.engine import Engine

_log = structlog.get_logger("inturn.lifecycle")

_TEMPORARY = 75
"""The exit code of a process that ends on the spot: what was not stored is repeated."""
_CLOSE_S = 1.0
"""How long processors may take to close when one of them cannot be cut off."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run_engine(engine: Engine, processors: Sequence[RunningProcessor]) -> None:
    """Run an engine from start to stop. Raises what keeps it from running.

    Attempts that cannot be cut off do not keep the process: when everything is stored and released, and the
    processors are closed, it ends with exit code 75.
    """
    async with AsyncExitStack() as stack:
        for processor in processors:
            if isinstance(processor.target, Resource):
                await _open(processor, processor.target)
                stack.push_async_callback(processor.target.close)

        async def end() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await stack.aclose()
            end_process()

        await engine.run(end)


def end_process() -> NoReturn:
    """End on the spot, as a last resort: nothing is closed, but the log is written. From any thread."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(_TEMPORARY)


async def _open(processor: RunningProcessor, target: Resource) -> None:
    """Open a processor; what keeps it from that says whose it is."""
    name = processor.plan.name
    try:
        await target.open()
    except ConfigurationError as error:
        raise ProcessorSettingsError(*(f"Processor {name}: {each}" for each in error.findings)) from error
    except Exception as error:
        error.add_note(f"While opening the processor {name}.")
        raise


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
