"""One run of one rival, in a process of its own.

``python -m benchmarks.running RIVAL LOG [OPTIONS]`` prints a `benchmarks.work.Result` as JSON; the options
are those of `Options`, as JSON. The clock runs from the first event to the last result: what was imported,
read and connected before it does not count, and is put out of the garbage collector's sight.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import resource
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.work import Course, Log, Result, digest_of, load


class Options(NamedTuple):
    """What a run is told besides."""

    folder: str = "."
    """Empty, and this run's own."""
    checkpoints: int = 0
    """How many to make."""
    connection_string: str = ""
    """Of the hub to read."""
    partitions: int = 4
    messages: int = 0
    """How many come, where that is not what is in the log."""
    core: int | None = None
    """The processor core to stay on."""


class Finish(NamedTuple):
    """What a rival gives back."""

    checkpoints: int = 0
    build: str = ""
    latencies_ms: Sequence[float] = ()
    """Of each event that came."""


Run = Callable[[], Coroutine[Any, Any, Finish]]
Start = Callable[[Log, Options, Course], Run]
"""A rival's function: gets ready, and gives what is to be measured; what it releases goes to the course."""

RIVALS = {
    "hand": "benchmarks.rivals.hand_loop:in_memory",
    "hand-durable": "benchmarks.rivals.hand_loop:durable",
    "sdk-default": "benchmarks.rivals.sdk:with_default_settings",
    "sdk-best": "benchmarks.rivals.sdk:with_best_settings",
    "sdk-latency": "benchmarks.rivals.sdk:latency",
    "bytewax": "benchmarks.rivals.bytewax_flow:in_memory",
    "faust": "benchmarks.rivals.faust_agents:in_memory",
    "quix": "benchmarks.rivals.quix_frame:in_memory",
    "inturn": "benchmarks.product:in_memory",
    "inturn-lanes": "benchmarks.product:in_memory_with_eight_lanes",
    "inturn-durable": "benchmarks.product:durable",
    "inturn-hub": "benchmarks.product:from_the_hub",
    "inturn-latency": "benchmarks.product:latency",
}


def main(rival: str, log_file: str, told: str = "{}") -> None:
    """Run it once."""
    log, options = load(Path(log_file)), Options(**json.loads(told))
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    module, _, name = RIVALS[rival].partition(":")
    start: Start = getattr(importlib.import_module(module), name)
    course = Course(log.delivered)
    run = start(log, options, course)
    gc.collect()
    gc.freeze()
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    course.begin()
    finish = _runner(rival)(run())
    after_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    result = Result(
        course.cpu_s,
        course.wall_s,
        log.events,
        [digest_of(tally.ids, log.objects) for tally in course.tallies],
        course.tallies[0].count,
        finish.checkpoints,
        finish.build,
        after_mb - before_mb,
        finish.latencies_ms,
    )
    json.dump(result._asdict(), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # taking half a million objects apart takes longer than the run


def _runner(rival: str) -> Callable[[Coroutine[Any, Any, Finish]], Finish]:
    """What runs a rival: the product's own way for the product; uvloop, where it is installed, for all."""
    if rival.startswith("inturn"):
        run_async: Callable[[Coroutine[Any, Any, Finish]], Finish]
        run_async = importlib.import_module("consumer.cli.event_loop").run_async
        return run_async
    module = importlib.import_module("asyncio" if find_spec("uvloop") is None else "uvloop")
    # Not a runner: that waits for every task to end, and agents of Faust begin anew when cancelled.
    loop: asyncio.AbstractEventLoop = module.new_event_loop()
    return loop.run_until_complete


if __name__ == "__main__":
    main(*sys.argv[1:])
