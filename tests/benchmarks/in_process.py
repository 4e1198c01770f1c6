"""The figures of the work in one process: in memory, and with durable state."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.goals import Figure
from benchmarks.rounds import PRODUCT_PYTHON, Comparison, compare
from benchmarks.work import Log


def in_memory(log_file: Path, log: Log, rounds: int) -> Iterator[Figure]:
    """The whole pipeline, each processor behind a queue of its own, against the hand-written loop."""
    found = compare("inturn", ["hand"], log_file, log, rounds)["hand"]
    yield from _figures("in-memory", found)


def interpreted(log_file: Path, log: Log, rounds: int) -> Iterator[Figure]:
    """The same by this interpreter, whose product is the source, whichever form the others measure."""
    named = os.environ.pop(PRODUCT_PYTHON, None)
    try:
        found = compare("inturn", ["hand"], log_file, log, rounds)["hand"]
    finally:
        if named is not None:
            os.environ[PRODUCT_PYTHON] = named
    low, high = found.spread
    note = f"{low:.2f} to {high:.2f}; {found.ours[-1].build}"
    yield Figure("in-memory-interpreted-vs-hand-loop", found.ratio, "x", note)


def lanes(log_file: Path, log: Log, rounds: int) -> Iterator[Figure]:
    """The same with eight lanes for each processor, as it is configured by default."""
    found = compare("inturn-lanes", ["hand"], log_file, log, rounds)["hand"]
    yield from _figures("in-memory-eight-lanes", found)


def durable(log_file: Path, log: Log, rounds: int) -> Iterator[Figure]:
    """The whole pipeline with its state in a file, against the loop with a log of changes."""
    found = compare("inturn-durable", ["hand-durable"], log_file, log, rounds)["hand-durable"]
    yield from _figures("durable", found)
    yield Figure("durable-checkpoints", found.ours[-1].checkpoints, "writes", "each of them is on the disk")


def _figures(name: str, found: Comparison) -> Iterator[Figure]:
    ours, theirs = found.microseconds()
    low, high = found.spread
    yield Figure(f"{name}-vs-hand-loop", found.ratio, "x", f"{low:.2f} to {high:.2f}")
    yield Figure(f"{name}-cpu-per-event", ours, "us", found.ours[-1].build)
    yield Figure(f"{name}-hand-loop-cpu-per-event", theirs, "us")
