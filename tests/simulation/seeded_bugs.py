"""Bugs to be planted into a copy of the engine, to see whether the simulation notices.

``seeded_bugs.toml`` says what they are: changes of its text. Each must fit exactly once; where it does not,
the engine has changed and the bug must be planted anew. Nothing here ever touches the checkout.

``python -m simulation.seeded_bugs --bug NAME`` (in ``tests``) plants one and says what notices it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

from simulation.many import TESTS, Answer, run_module
from simulation.replay import say

SEEDS_MAX = 80
"""Seeds after which a bug counts as not noticed."""


class Change(NamedTuple):
    """A piece of text that becomes another."""

    file: str
    """In ``consumer``."""
    old: str
    new: str


class Bug(NamedTuple):
    """What somebody might write."""

    name: str
    changes: tuple[Change, ...]


class Caught(NamedTuple):
    """What noticed a bug."""

    by: str
    """The run; "" if none did."""
    violation: str


class DoesNotFit(AssertionError):
    """The text that a bug changes is not there exactly once."""


def read_bugs() -> list[Bug]:
    """The table."""
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    return [Bug(bug["name"], tuple(Change(**change) for change in bug["change"])) for bug in table["bug"]]


def plant(bug: Bug, root: Path) -> None:
    """Put a copy of the engine under `root`, with the bug in it."""
    shutil.copytree(
        TESTS.parent / "consumer", root / "consumer", ignore=shutil.ignore_patterns("__pycache__")
    )
    for change in bug.changes:
        file = root / "consumer" / change.file
        text = file.read_text()
        if text.count(change.old) != 1:
            raise DoesNotFit(f"{bug.name}: {text.count(change.old)} times in {change.file}: {change.old!r}")
        file.write_text(text.replace(change.old, change.new))


def hunt(bug: Bug, first_seed: int = 1) -> Caught:
    """Plant a bug and simulate until something notices it, or the seeds are used up."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        plant(bug, root)
        caught = _by_seeds(root, first_seed, SEEDS_MAX // 4)
        if caught is None:
            caught = _noticed(run_module("every_step", ["--stride", "20"], root=root), "kills")
        if caught is None:
            caught = _by_seeds(root, first_seed + SEEDS_MAX // 4, SEEDS_MAX - SEEDS_MAX // 4)
        return caught or Caught("", "")


def _by_seeds(root: Path, first: int, count: int) -> Caught | None:
    options = ["--seed", str(first), "--count", str(count), "--stop-at-failure"]
    return _noticed(run_module("replay", options, root=root), "seed")


def _noticed(answers: list[Answer], named_by: str) -> Caught | None:
    for answer in answers:
        if answer["violations"]:
            kind, what, _ = answer["violations"][0]
            return Caught(f"{named_by} {answer[named_by]}", f"{kind}: {what}")
    return None


def main() -> int:
    bugs = read_bugs()
    parser = argparse.ArgumentParser(prog="python -m simulation.seeded_bugs", description=__doc__)
    parser.add_argument("--bug", action="append", choices=[bug.name for bug in bugs], help="all if none")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    arguments = parser.parse_args()
    escaped = 0
    for bug in bugs:
        if arguments.bug and bug.name not in arguments.bug:
            continue
        caught = hunt(bug, arguments.seed)
        escaped += not caught.by
        say(f"{bug.name}: {caught.by or 'NOT NOTICED'} {caught.violation[:150]}")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
