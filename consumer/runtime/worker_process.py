"""One worker process, from its start to its end, as its supervisor holds it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from consumer.runtime.worker_channel import WorkerPlace
from consumer.status import WorkerReport
from consumer.succession import Succession


@dataclass(frozen=True, slots=True)
class Launcher:
    """How worker processes are started."""

    command: Callable[[WorkerPlace], Sequence[str]]
    """The command line of a worker."""
    open_stdout: Callable[[], int]
    """Gives a descriptor to write standard output to; it is closed here once the worker has it."""
    open_stderr: Callable[[], int]

    async def start(self, worker: str, now_s: float, succession: Succession) -> WorkerProcess:
        """Start a process. Raises `OSError`."""
        with ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.callback(theirs.close)
            # Before there is a process: without a channel it could not be told that it is not wanted.
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            failed = stack.enter_context(ExitStack())
            failed.callback(writer.close)
            stdout, stderr = (
                _held(stack, open_stream()) for open_stream in (self.open_stdout, self.open_stderr)
            )
            own_stdout, own_stderr = (_held(stack, os.dup(descriptor)) for descriptor in (1, 2))
            place = WorkerPlace(worker, theirs.fileno(), own_stdout, own_stderr, succession)
            process = await asyncio.create_subprocess_exec(
                *self.command(place),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=place.descriptors,
                # Ctrl-C in a terminal goes to all of its processes: only the supervisor is to hear it.
                start_new_session=True,
            )
            failed.pop_all()
        return WorkerProcess(process, reader, writer, now_s)


class WorkerProcess:
    """A process that runs. Times are the supervisor's monotonic ones, in seconds."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        started_s: float,
    ) -> None:
        self._process = process
        self._writer = writer
        self.reader = reader
        self.started_s = started_s
        self.heard_s = started_s
        """When it last reported."""
        self.well_s = started_s
        """When it last reported that all of it turns."""
        self.report: WorkerReport | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def heard(self, report: WorkerReport, now_s: float) -> None:
        """Take note of a report."""
        self.report = report
        self.heard_s = now_s
        if not report.not_live:
            self.well_s = now_s

    async def wait(self) -> int:
        """Wait for its end; gives the exit code, or the number of the signal that ended it, negative."""
        return await self._process.wait()

    def stop(self) -> None:
        """Ask it to finish what is in flight; the second time to hurry."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End it on the spot."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def close(self) -> None:
        """Let go of what belonged to a process that has ended."""
        self._writer.close()


def _held(stack: ExitStack, descriptor: int) -> int:
    """Have a descriptor closed when the block ends."""
    stack.callback(os.close, descriptor)
    return descriptor
