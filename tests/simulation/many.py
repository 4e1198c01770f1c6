"""Run many seeds in processes of their own, two at a time, and add up what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

TESTS = Path(__file__).parents[1]
_CHUNK = 20
"""Seeds that one process runs: a killed replica leaves little behind, but it does."""
_CORES = 2
_TIMEOUT_S = 300.0
"""For one process; it takes ten seconds."""


class Failure(NamedTuple):
    """A seed that shows something wrong."""

    seed: int
    violations: list[str]

    def __str__(self) -> str:
        told = "\n  ".join(self.violations[:5])
        return f"{replay_line(self.seed)}\n  {told}"


class Sum(NamedTuple):
    """What many runs come to."""

    runs: int
    virtual_s: float
    steps: int
    numbers: Counter[str]
    """Faults and tallies by name, and violations by kind."""
    failures: list[Failure]


def replay_line(seed: int) -> str:
    """The command that runs a seed again."""
    return f"(cd tests && python -m simulation.replay --seed {seed})"


def run_series(first: int, count: int, *, root: Path | None = None) -> Sum:
    """Run seeds from the first one on. `root`: where ``consumer`` is, if not here."""
    chunks = [(start, min(_CHUNK, first + count - start)) for start in range(first, first + count, _CHUNK)]
    with ThreadPoolExecutor(_CORES) as pool:
        answers = [
            answer
            for each in pool.map(lambda chunk: list(run_chunk(*chunk, root=root)), chunks)
            for answer in each
        ]
    assert len(answers) == count, f"{count} runs were asked for and {len(answers)} came back"
    return _summed(answers)


def run_chunk(
    first: int, count: int, *, root: Path | None = None, options: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Run seeds in one process; gives what it says of each. Raises `RuntimeError` if it breaks."""
    command = [
        sys.executable,
        "-m",
        "simulation.replay",
        "--json",
        "--seed",
        str(first),
        "--count",
        str(count),
    ]
    done = subprocess.run(
        [*command, *options],
        env=environment(root),
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if done.returncode not in (0, 1) or done.stderr:
        raise RuntimeError(f"{replay_line(first)} --count {count} broke:\n{done.stderr[-3_000:]}")
    for line in done.stdout.splitlines():
        yield json.loads(line)


def environment(root: Path | None) -> dict[str, str]:
    """The same hashes in every process, and the engine from where it is wanted."""
    path = os.pathsep.join((str(root or TESTS.parent), str(TESTS)))
    return {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def _summed(answers: list[dict[str, Any]]) -> Sum:
    numbers: Counter[str] = Counter()
    failures = []
    for answer in answers:
        numbers.update(answer["faults"])
        numbers.update(answer["tally"])
        numbers.update(kind for kind, _, _ in answer["violations"])
        if answer["violations"]:
            told = [f"{kind} at {at_s:.3f} s: {what}" for kind, what, at_s in answer["violations"]]
            failures.append(Failure(answer["seed"], told))
    return Sum(
        len(answers),
        sum(answer["virtual_s"] for answer in answers),
        sum(answer["steps"] for answer in answers),
        numbers,
        failures,
    )
