"""Run many seeds in processes of their own, two at a time, and add up what they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

Answer = dict[str, Any]
"""What a run says of itself, one line of JSON."""
TESTS = Path(__file__).parents[1]
_CHUNK = 20
"""Seeds that one process runs: a killed replica leaves little behind, but it does."""
_CORES = 2
_TIMEOUT_S = 900.0
"""For one process; it takes ten seconds of a core, when it gets one."""
_NICE = ("nice", "-n", "15") if shutil.which("nice") else ()
"""Its time is virtual: it leaves the cores to the proofs beside it, whose time is not."""


class Failure(NamedTuple):
    """A run that shows something wrong."""

    replay: str
    """The line that runs it again."""
    violations: list[str]

    def __str__(self) -> str:
        told = "\n  ".join(self.violations[:5])
        return f"{self.replay}\n  {told}"


class Sum(NamedTuple):
    """What many runs come to."""

    runs: int
    virtual_s: float
    steps: int
    numbers: Counter[str]
    """Faults and tallies by name, and violations by kind."""
    failures: list[Failure]


def replay_line(named_by: str, name: object) -> str:
    """The command that does a run again."""
    options = f"replay --seed {name}" if named_by == "seed" else f"every_step --kill {name}"
    return f"(cd tests && python -m simulation.{options})"


def run_series(first: int, count: int, *, root: Path | None = None) -> Sum:
    """Run seeds from the first one on. `root`: where ``consumer`` is, if not here."""
    starts = range(first, first + count, _CHUNK)
    series = [["--seed", str(at), "--count", str(min(_CHUNK, first + count - at))] for at in starts]
    answers = side_by_side("replay", series, root=root)
    assert len(answers) == count, f"{count} runs were asked for and {len(answers)} came back"
    return summed(answers, "seed")


def side_by_side(module: str, runs: Sequence[Sequence[str]], *, root: Path | None = None) -> list[Answer]:
    """Run a module of the simulation with each of the options, in processes; gives what they all say."""
    with ThreadPoolExecutor(_CORES) as pool:
        parts = pool.map(lambda options: run_module(module, options, root=root), runs)
        return [answer for part in parts for answer in part]


def run_module(module: str, options: Sequence[str], *, root: Path | None = None) -> list[Answer]:
    """Run a module of the simulation in a process; gives its lines. Raises `RuntimeError` if it breaks."""
    command = [sys.executable, "-m", f"simulation.{module}", "--json", *options]
    done = subprocess.run(
        [*_NICE, *command],
        env=_environment(root),
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if done.returncode not in (0, 1) or done.stderr:
        raise RuntimeError(f"{' '.join(command[1:])} broke:\n{done.stderr[-3_000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _environment(root: Path | None) -> dict[str, str]:
    """The same hashes in every process, and the engine from where it is wanted."""
    path = os.pathsep.join((str(root or TESTS.parent), str(TESTS)))
    return {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def summed(answers: Sequence[Answer], named_by: str) -> Sum:
    """Add up. A run that failed is named by what it was asked for: ``seed`` or ``kills``."""
    numbers: Counter[str] = Counter()
    failures = []
    for answer in answers:
        numbers.update(answer["faults"])
        numbers.update(answer["tally"])
        numbers.update(kind for kind, _, _ in answer["violations"])
        if answer["violations"]:
            told = [f"{kind} at {at_s:.3f} s: {what}" for kind, what, at_s in answer["violations"]]
            failures.append(Failure(replay_line(named_by, answer[named_by]), told))
    return Sum(
        len(answers),
        sum(answer["virtual_s"] for answer in answers),
        sum(answer["steps"] for answer in answers),
        numbers,
        failures,
    )
