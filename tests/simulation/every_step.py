"""One short trace with events of every kind, and a replica that is killed at a step of our choice.

In ``tests``: ``python -m simulation.every_step --kill 1234`` kills at that step; ``--kill 1234+56`` again, 56
steps after the restart. ``--stride`` kills at every so many. Without, it says how many steps there are.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator

from simulation.loop import Owner
from simulation.nemesis import Plan
from simulation.replay import as_json, quiet_logs, restart_with_fixed_hashes, say
from simulation.trace import Shape
from simulation.world import Outcome, Setup, World

SEED = 60
_RESTART_S = 0.05
_SHAPE = Shape(
    partitions=1, events=60, lasts_s=6.0, duplicates=0.2, disorder=0.25, too_late=0.05, poison=0.05, objects=4
)
_PLAN = Plan(
    lasts_s=7.0, kills=0, freezes=0, steals=0, moves=0, restarts=0, store_outages=0, letter_outages=0,
    processor_outages=0, hub_outages=0, bad_weather=0.0,
)  # fmt: skip

Kills = tuple[int, ...]
"""Steps until a kill, each counted from the start of the replica."""


def _world() -> World:
    return World(SEED, Setup(_SHAPE, _PLAN, replicas=1, parks=True))


def run(kills: Kills) -> Outcome:
    """Run the trace; the replica is started again after each kill."""
    world = _world()
    rest = list(kills)

    def before_step(owner: Owner) -> None:
        if not rest or owner.steps <= rest[0] or world.is_stopping:
            return
        rest.pop(0)
        world.faults.kills += 1
        world.loop.kill(owner)
        world.loop.outside(_RESTART_S, lambda: world.start(world.replicas[0]))

    world.loop.before_step = before_step
    world.audit.may_repeat = bool(kills)
    return world.run()


def steps() -> int:
    """Steps of the replica if nobody kills it, until it is asked to stop."""
    world = _world()
    counted = 0

    def before_step(owner: Owner) -> None:
        nonlocal counted
        if not world.is_stopping:
            counted = owner.steps

    world.loop.before_step = before_step
    outcome = world.run()
    assert not outcome.violations, outcome.violations
    return counted


def pairs(count: int, seed: int) -> Iterator[Kills]:
    """Kill, and kill again in what comes afterwards, most often soon."""
    chance = random.Random(seed)
    total = steps()
    for _ in range(count):
        yield chance.randrange(total), int(total * chance.random() ** 3)


def written(kills: Kills) -> str:
    """As it is given on the command line."""
    return "+".join(map(str, kills))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation.every_step", description=__doc__)
    parser.add_argument("--kill", action="append", default=[], help="K or K+J; may be repeated")
    parser.add_argument("--stride", type=int, default=0, help="kill at every so many steps")
    parser.add_argument("--first", type=int, default=0, help="the first step for --stride")
    parser.add_argument("--pairs", type=int, default=0, help="so many random pairs of kills")
    parser.add_argument("--seed", type=int, default=1, help="for --pairs")
    parser.add_argument("--json", action="store_true", help="one line of JSON for every run")
    parser.add_argument("--verbose", action="store_true", help="with the log of the replica")
    arguments = parser.parse_args()
    quiet_logs(is_verbose=arguments.verbose)
    asked: list[Kills] = [tuple(map(int, kill.split("+"))) for kill in arguments.kill]
    if arguments.stride:
        asked += [(step,) for step in range(arguments.first, steps(), arguments.stride)]
    asked += pairs(arguments.pairs, arguments.seed)
    if not asked:
        say(f"{steps()} steps")
    failed = False
    for kills in asked:
        outcome = run(kills)
        failed = failed or bool(outcome.violations)
        if arguments.json:
            say(as_json(outcome, kills=written(kills)))
        else:
            say(f"killed at {written(kills)}: {outcome.tally}, {outcome.cpu_s:.3f} s CPU")
            for violation in outcome.violations:
                say(f"  {violation}")
    return 1 if failed else 0


if __name__ == "__main__":
    restart_with_fixed_hashes("simulation.every_step")
    sys.exit(main())
