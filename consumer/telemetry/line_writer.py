"""Writes log lines from a thread, so that a terminal or pipe that is stuck does not stop the event loop."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

_LINE_MAX_BYTES = 128 * 1024


class LineWriter:
    """Takes lines without waiting, and writes them in order.

    At most `waiting_max_bytes` wait; beyond that lines are dropped and counted, and the count is written
    once the stream takes lines again. A stream that is closed for good swallows everything.
    """

    def __init__(self, stream: TextIO, *, waiting_max_bytes: int = 8 * 1024 * 1024) -> None:
        self.dropped = 0
        """Lines that could not be written."""
        self._write = _unbuffered(stream)
        self._waiting_max_bytes = waiting_max_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._reported = 0
        self._changed = threading.Condition()
        self._closing = False
        self._idle = True
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Put a line in the queue. Never waits, never raises."""
        encoded = line.encode("utf-8", "backslashreplace")[:_LINE_MAX_BYTES] + b"\n"
        with self._changed:
            if self._closing or self._waiting_bytes + len(encoded) > self._waiting_max_bytes:
                self.dropped += 1
                return
            self._waiting.append(encoded)
            self._waiting_bytes += len(encoded)
            self._idle = False
            # Asked each time: after a fork the thread is gone.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="inturn-log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, *, timeout_s: float = 2.0) -> bool:
        """Wait until everything is written, at most `timeout_s`; says whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: self._idle, timeout_s)

    def close(self, *, timeout_s: float = 2.0) -> None:
        """Write what waits, at most for `timeout_s`, and take nothing more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.flush(timeout_s=timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle = not self._waiting
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                lines, count = b"".join(self._waiting), len(self._waiting)
                self._waiting.clear()
                self._waiting_bytes = 0
            try:
                self._write(lines)
                self._report_dropped()
            except (OSError, ValueError):
                # Closed for good. There is nobody left to tell; processing goes on.
                self.dropped += count
                self._reported = self.dropped

    def _report_dropped(self) -> None:
        missing = self.dropped - self._reported
        if missing:
            self._reported += missing
            self._write(f"{missing} log lines were dropped because the log stream was stuck.\n".encode())


def _unbuffered(stream: TextIO) -> Callable[[bytes], None]:
    """Writes past the stream's buffer: a thread stuck inside it would hang the interpreter's shutdown."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return lambda data: _write_text(stream, data)
    return lambda data: write_all(descriptor, data)


def _write_text(stream: TextIO, data: bytes) -> None:
    stream.write(data.decode())
    stream.flush()


def write_all(descriptor: int, data: bytes) -> None:
    """Write to the end, however long that takes. Raises `OSError`."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select((), (descriptor,), (), 1.0)
