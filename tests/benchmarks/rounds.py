"""Rivals in turn, each run in a process of its own, and the ratios of what they cost.

Other things run on the machine too: so a figure is the median of ratios of neighbouring runs, never a time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.work import Log, Result

TESTS = Path(__file__).parents[1]
PRODUCT_PYTHON = "INTURN_BENCH_PYTHON"
"""The environment variable that names another interpreter for the product, that of a compiled build say."""
RUN_S_MAX = 300.0
"""A run that takes longer has failed."""


class WrongResult(Exception):
    """A rival did not do the work."""


def python_for(rival: str) -> str:
    """The interpreter that runs a rival."""
    named = os.environ.get(PRODUCT_PYTHON) if rival.startswith("inturn") else None
    return named or sys.executable


def build_of_the_product() -> str:
    """What is measured as the product: version, whether it is compiled, the Python."""
    asking = [python_for("inturn"), "-c", "from benchmarks.product import build; print(build())"]
    env = os.environ | {"PYTHONPATH": str(TESTS)}
    return subprocess.run(
        asking, cwd=tempfile.gettempdir(), env=env, capture_output=True, text=True, check=True
    ).stdout.strip()


def run(rival: str, log_file: Path, *, python: str | None = None, **options: Any) -> Result:
    """Run a rival once; `options` are those of `benchmarks.running.Options`. Raises `WrongResult`."""
    with tempfile.TemporaryDirectory(prefix="inturn-bench-") as folder:
        told = json.dumps(options | {"folder": folder})
        command = [python or python_for(rival), "-m", "benchmarks.running", rival, str(log_file), told]
        # In a folder without the checkout: what runs is the build that the interpreter has.
        env = os.environ | {"PYTHONPATH": str(TESTS)}
        try:
            done = subprocess.run(
                command, cwd=folder, env=env, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise WrongResult(f"{rival} did not end within {RUN_S_MAX:g} s: {error.stderr!r}") from error
    if done.returncode != 0:
        raise WrongResult(f"{rival} ended with {done.returncode}:\n{done.stderr[-4_000:]}")
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def check(rival: str, result: Result, log: Log) -> None:
    """Raise `WrongResult` unless every processor was given every event in turn."""
    if result.delivered != log.delivered or set(result.digests) != {log.digest}:
        raise WrongResult(
            f"{rival} delivered {result.delivered} events with the digests {result.digests}; "
            f"right are {log.delivered} and {log.digest}"
        )


class Comparison(NamedTuple):
    """What two rivals cost in runs that alternated."""

    ours: list[Result]
    theirs: list[Result]

    @property
    def ratios(self) -> list[float]:
        """How much more CPU time they took, of each round."""
        return [one.cpu_s / other.cpu_s for one, other in zip(self.theirs, self.ours, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        return min(self.ratios), max(self.ratios)

    def microseconds(self) -> tuple[float, float]:
        """CPU time per event, ours and theirs: medians."""
        ours, theirs = (
            statistics.median(each.cpu_s / each.events * 1e6 for each in some)
            for some in (self.ours, self.theirs)
        )
        return ours, theirs


def compare(ours: str, theirs: Sequence[str], log_file: Path, log: Log, rounds: int) -> dict[str, Comparison]:
    """Run the product and its rivals in turn, so many times. Raises `WrongResult`.

    A durable rival makes as many checkpoints as the product did just before it.
    """
    mine: list[Result] = []
    others: dict[str, list[Result]] = {rival: [] for rival in theirs}
    for _ in range(rounds):
        mine.append(run(ours, log_file))
        check(ours, mine[-1], log)
        for rival in theirs:
            others[rival].append(run(rival, log_file, checkpoints=mine[-1].checkpoints))
            check(rival, others[rival][-1], log)
    return {rival: Comparison(mine, results) for rival, results in others.items()}
