"""Between a supervisor and each of its workers: one socket pair, reports one way, the end of it the other.

A worker writes a report whenever it is due. The supervisor never writes: that the socket is open is all it
says. When the supervisor is gone, however it ended, the kernel closes its side, and the worker drains.
(PR_SET_PDEATHSIG would do so on Linux alone, and when the thread ends that started the worker.)
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import structlog

from consumer.status import WorkerReport
from consumer.succession import ALONE, Succession

_log = structlog.get_logger("inturn.worker")

REPORT_EVERY_S = 0.5
"""Between two reports: so old the numbers of a worker may be."""
_FIRST_REPORTS_EVERY_S = 0.1
_LENGTH_BYTES = 4
_REPORT_MAX_BYTES = 64 * 1024 * 1024
_LAST_REPORT_S = 1.0
"""How long the last report may take; then it is left out."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(WorkerReport).decode


class UnreadableReport(Exception):
    """Whole, and not understood. The next may be."""


async def send(writer: asyncio.StreamWriter, report: WorkerReport) -> None:
    """Write a report; waits while the other side does not read. Raises `OSError` when it is gone."""
    body = _encode(report)
    writer.write(len(body).to_bytes(_LENGTH_BYTES) + body)
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> WorkerReport | None:
    """Read a report; None at the end.

    Raises `UnreadableReport` for one that is of another version, and `ValueError` for what is no report.
    """
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
        if length > _REPORT_MAX_BYTES:
            raise ValueError(f"a report of {length} bytes")
        return _decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError):
        return None  # a process that is killed stops in the middle of a word
    except msgspec.DecodeError as error:
        raise UnreadableReport(str(error)) from error


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """What a worker is told on its command line: who it is, and descriptors that it was given."""

    worker: str
    channel: int
    """The worker's end of the socket pair."""
    stdout: int
    """The supervisor's own standard output, for when the supervisor is gone."""
    stderr: int
    succession: Succession = ALONE

    @classmethod
    def parse(cls, text: str) -> WorkerPlace:
        """Read what `str` gives. Raises `ValueError`."""
        worker, channel, stdout, stderr, *more = text.split(":", 4)
        # A supervisor of an earlier version, which has outlived an update, says no more than that.
        succession = Succession.parse(more[0] if more else "")
        return cls(worker, int(channel), int(stdout), int(stderr), succession)

    def __str__(self) -> str:
        return f"{self.worker}:{self.channel}:{self.stdout}:{self.stderr}:{self.succession}"

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """What a new process must be given."""
        return self.channel, self.stdout, self.stderr

    def keep_to_itself(self) -> None:
        """Keep the descriptors from what this worker starts: a child would hold them open."""
        for descriptor in self.descriptors:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - it has no name

    def speak_directly(self) -> None:
        """Write past the supervisor, whose end the pipes did not survive."""
        os.dup2(self.stdout, sys.__stdout__.fileno() if sys.__stdout__ else 1)
        os.dup2(self.stderr, sys.__stderr__.fileno() if sys.__stderr__ else 2)


class WorkerEnd:
    """The worker's end of the channel; `run` goes on beside the engine."""

    def __init__(
        self, place: WorkerPlace, report: Callable[[], WorkerReport], drain: Callable[[], None]
    ) -> None:
        """`drain` is called once the supervisor is gone."""
        self._place = place
        self._report = report
        self._drain = drain
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Report until cancelled, or until the supervisor is gone."""
        channel = socket.socket(fileno=self._place.channel)
        reader, self._writer = await asyncio.open_unix_connection(sock=channel)
        async with asyncio.TaskGroup() as tasks:
            reporting = tasks.create_task(self._go_on_reporting(), name="report to the supervisor")
            with suppress(OSError):  # a reset, where the supervisor ended with a report unread
                await reader.read()  # to its end: nothing ever comes
            reporting.cancel()
        self._place.speak_directly()
        _log.warning("The supervisor is gone: this worker finishes what is in flight and stops.")
        self._drain()

    async def close(self) -> None:
        """Send the last report, if there is somebody to read it."""
        writer = self._writer
        if writer is None:
            return
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_LAST_REPORT_S):
                await send(writer, self._report())
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _go_on_reporting(self) -> None:
        assert self._writer is not None
        while True:
            report = self._report()
            with suppress(OSError):  # the end of the channel is noticed by who reads it
                await send(self._writer, report)
            is_new = report.status.state == "starting"
            await asyncio.sleep(_FIRST_REPORTS_EVERY_S if is_new else REPORT_EVERY_S)
