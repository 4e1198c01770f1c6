"""Brings the output of several processes to one stream, line by whole line.

Each process writes into a pipe of its own; one thread copies. A stream that is stuck holds up who writes to
it, as it would without this; a stream that is closed closes the pipes, so that who writes to them is told.
"""

from __future__ import annotations

import os
import selectors
import threading
from contextlib import suppress

from consumer.telemetry.line_writer import write_all

_READ_MAX_BYTES = 64 * 1024
LINE_MAX_BYTES = 1024 * 1024
"""A longer line is cut in two."""


class LineMerger:
    """Copies to the descriptor `target`, which stays its owner's."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._unfinished: dict[int, bytes] = {}
        """The pipes that are read, and the beginning of a line that each has given."""
        self._fresh: list[int] = []
        self._is_closing = self._is_broken = False
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"inturn-merge-{target}", daemon=True)
        self._thread.start()

    def open_pipe(self) -> int:
        """A descriptor to write to; whoever has it closes it. Raises `OSError`."""
        reading, writing = os.pipe()
        with self._lock:
            if self._is_broken or self._is_closing:
                os.close(reading)
            else:
                self._fresh.append(reading)
                os.write(self._wake, b"+")
        return writing

    def close(self, *, timeout_s: float = 2.0) -> None:
        """Copy until all pipes are closed on the other side, for at most `timeout_s`."""
        with self._lock:
            self._is_closing = True
            with suppress(OSError):  # it has ended already
                os.write(self._wake, b"-")
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while self._unfinished or not self._is_closing or self._fresh:
            for key, _ in self._selector.select():
                if key.fd == self._woken:
                    self._take_fresh()
                else:
                    self._copy(key.fd)
        with self._lock:
            self._selector.close()
            os.close(self._woken)
            os.close(self._wake)
            self._wake = -1

    def _take_fresh(self) -> None:
        os.read(self._woken, 1)
        with self._lock:
            for descriptor in self._fresh:
                self._unfinished[descriptor] = b""
                self._selector.register(descriptor, selectors.EVENT_READ)
            self._fresh.clear()
        if self._is_broken:
            self._let_go_of_all()

    def _copy(self, descriptor: int) -> None:
        if descriptor not in self._unfinished:
            return  # let go of since it was selected
        data = os.read(descriptor, _READ_MAX_BYTES)
        if not data:
            rest = self._unfinished[descriptor]
            self._let_go(descriptor)
            self._write(rest + b"\n" if rest else b"")
            return
        whole, newline, rest = (self._unfinished[descriptor] + data).rpartition(b"\n")
        if len(rest) > LINE_MAX_BYTES:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        self._unfinished[descriptor] = rest
        self._write(whole + newline)

    def _write(self, data: bytes) -> None:
        try:
            write_all(self._target, data)
        except OSError:
            with self._lock:
                self._is_broken = True
            self._let_go_of_all()

    def _let_go_of_all(self) -> None:
        for descriptor in list(self._unfinished):
            self._let_go(descriptor)

    def _let_go(self, descriptor: int) -> None:
        del self._unfinished[descriptor]
        self._selector.unregister(descriptor)
        os.close(descriptor)
