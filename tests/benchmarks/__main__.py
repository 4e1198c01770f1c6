"""`make bench`: measure, and say whether the goals are met.

Prints a line for every figure, ``figure NAME VALUE UNIT goal OP VALUE``. Exit codes: 0 every goal is met;
1 one is missed, or a rival did not do the work.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import in_process, over_the_hub
from benchmarks.dataset import EVENTS, open_log
from benchmarks.goals import Figure
from benchmarks.rounds import WrongResult
from benchmarks.work import Log, load

QUICK_EVENTS, QUICK_ROUNDS, ROUNDS = 20_000, 1, 5
Measure = Callable[[Path, Log, int], Iterator[Figure]]


class Part(NamedTuple):
    """What can be measured by itself."""

    measure: Measure
    partitions: int = 4
    events_max: int = EVENTS


PARTS = {
    "in-memory": Part(in_process.in_memory),
    "in-memory-lanes": Part(in_process.lanes),
    "durable": Part(in_process.durable),
    "socket": Part(over_the_hub.throughput),
    "one-partition": Part(over_the_hub.one_partition, 1, 40_000),
    "latency": Part(over_the_hub.latency, events_max=20_000),
    "half-load": Part(over_the_hub.half_load),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; gives the exit code."""
    told = _parser().parse_args(arguments)
    events = told.events or (QUICK_EVENTS if told.quick else EVENTS)
    rounds = told.rounds or (QUICK_ROUNDS if told.quick else ROUNDS)
    figures: list[Figure] = []
    try:
        for name in told.only or PARTS:
            part = PARTS[name]
            path = open_log(min(events, part.events_max), part.partitions)
            for figure in part.measure(path, load(path), rounds):
                figures.append(figure)
                sys.stdout.write(figure.line(judged=not told.quick) + "\n")
                sys.stdout.flush()
    except WrongResult as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0 if told.quick or all(figure.is_met for figure in figures) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short form, of which no goal is asked")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar=",".join(PARTS))
    parser.add_argument("--rounds", type=int, help=f"runs of each rival; {ROUNDS} if nothing is said")
    parser.add_argument("--events", type=int, help=f"messages in the log; {EVENTS:,} if nothing is said")
    return parser


if __name__ == "__main__":
    sys.exit(main())
