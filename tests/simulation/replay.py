"""Run simulations from the command line, in ``tests``: ``python -m simulation.replay --seed 123``.

The same seed gives the same run, whatever the machine; text must hash alike for that, which is arranged here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog
from simulation.nemesis import QUIET, Plan
from simulation.trace import Shape
from simulation.world import Outcome, Setup, World

STORM = Plan(kills=9, steals=6, freezes=6, moves=2)


def setup_of(seed: int) -> Setup:
    """Which kind of run a seed is: most are hard, some harder, and every tenth one is only graceful.

    In every other one processors park.
    """
    shape = Shape(events=300 + seed * 37 % 400)
    plan = {0: QUIET, 5: STORM}.get(seed % 10, Plan())
    return Setup(shape, plan, parks=(seed + seed // 10) % 2 == 1)


def simulate(seed: int) -> Outcome:
    """Run one seed."""
    setup = setup_of(seed)
    world = World(seed, setup)
    world.audit.may_repeat = setup.plan is not QUIET
    return world.run()


def series(first: int, count: int, *, stop_at_failure: bool = False) -> Iterator[Outcome]:
    """Run many seeds."""
    for seed in range(first, first + count):
        outcome = simulate(seed)
        yield outcome
        if stop_at_failure and outcome.violations:
            return


def as_json(outcome: Outcome, **more: object) -> str:
    """One line."""
    told = outcome._asdict() | more
    told["violations"] = [(*violation,) for violation in outcome.violations]
    told["tally"] = dataclasses.asdict(outcome.tally)
    told["faults"] = dataclasses.asdict(outcome.faults)
    return json.dumps(told)


def quiet_logs(*, is_verbose: bool) -> None:
    """Say nothing, or everything."""
    level = 10 if is_verbose else 50
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.dev.ConsoleRenderer(colors=False)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def say(line: str) -> None:
    """Write a line at once, for whoever waits for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def restart_with_fixed_hashes(module: str) -> None:
    """Replace this process unless text hashes in it as in any other one: lanes are chosen by hash."""
    if os.environ.get("PYTHONHASHSEED") == "0":
        return
    tests = Path(__file__).parents[1]
    path = os.pathsep.join(filter(None, (str(tests.parent), str(tests), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path}
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], environment)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation.replay", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds from there")
    parser.add_argument("--json", action="store_true", help="one line of JSON for every run")
    parser.add_argument("--stop-at-failure", action="store_true", help="run none after one that fails")
    parser.add_argument("--verbose", action="store_true", help="with the log of the replicas")
    arguments = parser.parse_args()
    quiet_logs(is_verbose=arguments.verbose)
    failed = False
    for outcome in series(arguments.seed, arguments.count, stop_at_failure=arguments.stop_at_failure):
        failed = failed or bool(outcome.violations)
        if arguments.json:
            say(as_json(outcome))
            continue
        say(
            f"seed {outcome.seed}: {outcome.virtual_s:.0f} s virtual, {outcome.steps} steps, "
            f"{outcome.cpu_s:.2f} s CPU, digest {outcome.digest}\n  {outcome.tally}\n  {outcome.faults}"
        )
        for violation in outcome.violations:
            say(f"  {violation}")
    return 1 if failed else 0


if __name__ == "__main__":
    restart_with_fixed_hashes("simulation.replay")
    sys.exit(main())
