"""The supervisor of several workers: starts them, shows them as one, and ends with them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import structlog

import consumer
from consumer.cli.event_loop import run_async
from consumer.runtime.clock import SystemClock
from consumer.runtime.signals import end_process, flush_log, stop_signals
from consumer.runtime.supervisor import Supervisor, SupervisorLimits
from consumer.runtime.worker_channel import WorkerPlace
from consumer.runtime.worker_process import Launcher
from consumer.settings import Settings
from consumer.status import EngineStatus
from consumer.telemetry.admin import AdminServer
from consumer.telemetry.health import EventLoopHeartbeat
from consumer.telemetry.line_merger import LineMerger
from consumer.telemetry.logs import LogFormat, configure_logging
from consumer.telemetry.metrics import Exposition, StatusCollector
from consumer.telemetry.workers_book import WorkersBook

_log = structlog.get_logger("inturn.supervisor")

_STOP_GRACE_S = 30.0
"""What a worker has for storing and releasing, beyond the time to finish what is in flight."""


_LAST_LINES_S = 1.0
"""How long the last lines may take when all of it ends on the spot."""


@dataclass(frozen=True, slots=True)
class _Streams:
    """Where output goes: all of it through one place for each stream, so that lines stay whole."""

    stdout: LineMerger
    stderr: LineMerger
    log: TextIO
    """For the supervisor's own log."""

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is still on its way."""
        self.log.close()
        self.stdout.close(timeout_s=timeout_s)
        self.stderr.close(timeout_s=timeout_s)


def run_workers(settings: Settings, config: Path, count: int) -> int:
    """Run `count` workers to their end; gives the exit code."""
    with _streams() as streams:
        logging = configure_logging(
            level=settings.logging.level,
            log_format=LogFormat(settings.logging.format),
            stream=streams.log,
            terminal=os.isatty(2),
        )
        try:
            return run_async(_supervise(settings, config, count, streams))
        finally:
            logging.close()  # before the streams, into which it writes


@contextmanager
def _streams() -> Iterator[_Streams]:
    stdout, stderr = LineMerger(1), LineMerger(2)
    streams = _Streams(stdout, stderr, os.fdopen(stderr.open_pipe(), "w", encoding="utf-8"))
    try:
        yield streams
    finally:
        streams.close()


async def _supervise(settings: Settings, config: Path, count: int, streams: _Streams) -> int:
    def command(place: WorkerPlace) -> list[str]:
        # `-m` would look for modules in the working directory first, and find whatever is called so there;
        # unless we were started so ourselves, `-P` keeps it from that.
        safe = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
        arguments = ["run", "--config", str(config), "--as-worker", str(place)]
        return [sys.executable, *safe, "-m", "consumer", *arguments]

    book, started_s = WorkersBook(), time.monotonic()
    supervisor = Supervisor(
        [str(number) for number in range(1, count + 1)],
        Launcher(command, streams.stdout.open_pipe, streams.stderr.open_pipe),
        book,
        SupervisorLimits(stop_s=settings.drain.timeout_s + _STOP_GRACE_S),
        SystemClock(),
    )

    def status() -> EngineStatus:
        up_s = time.monotonic() - started_s
        workers = supervisor.workers()
        return book.status(workers, version=consumer.__version__, state=supervisor.state, up_s=up_s)

    def end() -> None:
        supervisor.kill()
        flush_log()
        streams.close(_LAST_LINES_S)
        end_process()

    heartbeat = EventLoopHeartbeat()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(stop_signals(supervisor, end))
        if settings.admin.enabled:
            shown = Exposition(StatusCollector(status, book.totals, book))
            host, port = settings.admin.host, settings.admin.port
            admin = AdminServer(host, port, status=status, metrics=shown, heartbeat=heartbeat)
            await stack.enter_async_context(admin)
            _log.info("The admin port is open.", url=admin.url)
        async with asyncio.TaskGroup() as tasks:
            beating = tasks.create_task(heartbeat.run(), name="heartbeat")
            code = await supervisor.run()
            beating.cancel()
    return code
