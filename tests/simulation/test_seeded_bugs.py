"""What the simulation is worth: bugs that are planted on purpose have to be noticed."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness.figures import Effort, State
from simulation.seeded_bugs import Bug, Change, DoesNotFit, hunt, plant, read_bugs

BUGS = read_bugs()


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_planted_bug_is_noticed(effort: Effort, seed: int, figure: State) -> None:
    chosen = random.Random(seed).sample(BUGS, effort.pick(short=3, full=len(BUGS), deep=len(BUGS)))

    with ThreadPoolExecutor(2) as pool:
        caught = list(pool.map(hunt, chosen))

    escaped = [bug.name for bug, by in zip(chosen, caught, strict=True) if not by.by]
    figure("seeded-bugs", len(BUGS), "bugs", ">=", 12)
    figure("seeded-bugs-planted", len(chosen), "bugs")
    figure("seeded-bugs-caught", 100 * (len(chosen) - len(escaped)) / len(chosen), "%", "==", 100)
    assert not escaped


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_still_fits_the_engine(bug: Bug, tmp_path: Path) -> None:
    plant(bug, tmp_path)

    for change in bug.changes:
        compile((tmp_path / "consumer" / change.file).read_text(), change.file, "exec")


def test_a_bug_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    bug = Bug("unknown", (Change("core/pipeline.py", "no such text\n", ""),))

    with pytest.raises(DoesNotFit, match="0 times"):
        plant(bug, tmp_path)
