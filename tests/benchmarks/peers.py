"""`make bench-peers`: the work in memory by three frameworks, each in an environment of its own."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.dataset import CACHE
from benchmarks.goals import Figure
from benchmarks.rounds import Comparison, check, run
from benchmarks.work import Log, Result

PEERS = ("bytewax", "quix", "faust")
_REQUIREMENTS = Path(__file__).parent / "rivals"


def environment(peer: str) -> str:
    """The interpreter of a framework's own environment, which is made if it isn't there.

    Raises `CalledProcessError`.
    """
    wanted = _REQUIREMENTS / f"requirements-{peer}.txt"
    folder = CACHE / f"peers-{peer}-{sys.version_info.major}.{sys.version_info.minor}"
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        sys.stderr.write(f"Setting up {peer} in {folder.name} (once).\n")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)]
        subprocess.run([str(python), *install], check=True)
        stamp.write_text(wanted.read_text())
    return str(python)


def in_memory(log_file: Path, log: Log, rounds: int) -> Iterator[Figure]:
    """The work in memory, each framework in turn with the product."""
    pythons = {peer: environment(peer) for peer in PEERS}
    ours: list[Result] = []
    theirs: dict[str, list[Result]] = {peer: [] for peer in PEERS}
    for _ in range(rounds):
        ours.append(run("inturn", log_file))
        check("inturn", ours[-1], log)
        for peer, python in pythons.items():
            theirs[peer].append(run(peer, log_file, python=python))
            check(peer, theirs[peer][-1], log)
    for peer, results in theirs.items():
        found = Comparison(ours, results)
        low, high = found.spread
        yield Figure(f"in-memory-vs-{peer}", found.ratio, "x", f"{low:.2f} to {high:.2f}")
        each = statistics.median(result.cpu_s / result.events * 1e6 for result in results)
        yield Figure(f"in-memory-{peer}-cpu-per-event", each, "us")
