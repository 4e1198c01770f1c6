"""What a million objects and a million identities take."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.goals import Figure
from benchmarks.rounds import TESTS, python_for
from benchmarks.work import Log

_COUNT = 1_000_000


def million(_log_file: Path, log: Log, _rounds: int) -> Iterator[Figure]:
    """By how much the memory of a process grows that comes to remember so many; fewer in the short form."""
    count = min(_COUNT, log.events * 5)
    for what, name in (("objects", "object"), ("identities", "identity")):
        command = [python_for("inturn"), "-m", "harness.large_state", what, str(count)]
        env = os.environ | {"PYTHONPATH": str(TESTS)}
        done = subprocess.run(command, env=env, cwd=TESTS, capture_output=True, text=True, check=True)
        yield Figure(f"memory-per-{name}", int(done.stdout) / count, "bytes", f"of {count:,}")
