"""A processor for workers: it notes what it is given where the benchmark, in another process, sees it."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from consumer.events import Event
from consumer.processor import Context

FOLDER = "INTURN_BENCH_FOLDER"
"""The environment variable that names the folder for the notes."""
PROGRESS = struct.Struct("<qqq")
"""Events so far, and the clock (monotonic, nanoseconds) at the first and the last of them."""


class Noting:
    """Counts, and notes the ids in order."""

    made = 0

    def __init__(self) -> None:
        Noting.made += 1
        self._path = Path(os.environ[FOLDER]) / f"{os.getpid()}-{Noting.made}"
        self._ids: list[str] = []
        self._first_ns = 0
        self._file = os.open(self._path.with_suffix(".progress"), os.O_CREAT | os.O_WRONLY)

    async def process_batch(self, events: Sequence[Event], _context: Context) -> None:
        """Count."""
        now_ns = time.monotonic_ns()
        self._first_ns = self._first_ns or now_ns
        self._ids.extend([event.id for event in events])
        os.pwrite(self._file, PROGRESS.pack(len(self._ids), self._first_ns, now_ns), 0)

    async def open(self) -> None:
        """Nothing is left to do."""

    async def close(self) -> None:
        """Write the ids down."""
        self._path.with_suffix(".json").write_text(json.dumps(self._ids))
        os.close(self._file)
