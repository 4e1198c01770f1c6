"""`make bench`: measure, and say whether the goals are met.

Prints a line for every figure, ``figure NAME VALUE UNIT goal OP VALUE``. Exit codes: 0 every goal is met;
1 one is missed, or a rival did not do the work; 2 a wrong option.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import in_process, memory, over_the_hub, peers, workers
from benchmarks.dataset import EVENTS, open_log
from benchmarks.goals import Figure
from benchmarks.report import keep
from benchmarks.rounds import WrongResult, build_of_the_product
from benchmarks.work import Log, load

QUICK_EVENTS, QUICK_ROUNDS, ROUNDS = 20_000, 1, 5
Measure = Callable[[Path, Log, int], Iterator[Figure]]


class Part(NamedTuple):
    """What can be measured by itself."""

    measure: Measure
    partitions: int = 4
    events_max: int = EVENTS
    is_default: bool = True


PARTS = {
    "in-memory": Part(in_process.in_memory),
    "in-memory-interpreted": Part(in_process.interpreted),
    "in-memory-lanes": Part(in_process.lanes),
    "durable": Part(in_process.durable),
    "socket": Part(over_the_hub.throughput),
    "one-partition": Part(over_the_hub.one_partition, 1, 40_000),
    "latency": Part(over_the_hub.latency, events_max=20_000),
    "half-load": Part(over_the_hub.half_load),
    "workers": Part(workers.scaling),
    "memory": Part(memory.million),
    "peers": Part(peers.in_memory, is_default=False),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; gives the exit code."""
    told = _parser().parse_args(arguments)
    events = told.events or (QUICK_EVENTS if told.quick else EVENTS)
    rounds = told.rounds or (QUICK_ROUNDS if told.quick else ROUNDS)
    names = told.only or [name for name, part in PARTS.items() if part.is_default]
    sys.stderr.write(f"Measuring {build_of_the_product()}.\n")
    figures: list[Figure] = []
    failures: list[str] = []
    for name in names:
        try:
            for figure in _measure(PARTS[name], events, rounds):
                figures.append(figure)
                sys.stdout.write(figure.line(judged=not told.quick) + "\n")
                sys.stdout.flush()
        except WrongResult as error:
            failures.append(name)
            sys.stderr.write(f"{name}: {error}\n")
    if told.keep and not told.quick and told.only in (None, ["peers"]):
        keep(figures)
    missed = [] if told.quick else [figure.name for figure in figures if not figure.is_met]
    if missed:
        sys.stderr.write(f"Missed: {', '.join(missed)}.\n")
    return 1 if failures or missed else 0


def _measure(part: Part, events: int, rounds: int) -> Iterator[Figure]:
    path = open_log(min(events, part.events_max), part.partitions)
    yield from part.measure(path, load(path), rounds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short form, of which no goal is asked")
    parser.add_argument("--only", type=_names, metavar="PART,PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--keep", action="store_true", help="write a whole run to RESULTS.md and results.svg")
    parser.add_argument("--rounds", type=int, help=f"runs of each rival; {ROUNDS} if nothing is said")
    parser.add_argument("--events", type=int, help=f"messages in the log; {EVENTS:,} if nothing is said")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"there is no part {', '.join(unknown)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
