"""One run of one rival, in a process of its own.

``python -m benchmarks.running RIVAL LOG [FOLDER CHECKPOINTS]`` prints a `benchmarks.work.Result` as JSON. The clock runs from the first event to the last result, with
everything that was imported and read before it put out of the garbage collector's sight.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.work import Log, Result, Tally, digest_of, load


class Finish(NamedTuple):
    """What a rival gives back."""

    tallies: list[Tally]
    checkpoints: int = 0
    build: str = ""


Start = Callable[[Log, Path, int], Callable[[], Coroutine[Any, Any, Finish]]]
"""A rival's module-level function: gets ready, and gives what is to be measured."""

RIVALS = {
    "hand": "benchmarks.rivals.hand_loop:in_memory",
    "hand-durable": "benchmarks.rivals.hand_loop:durable",
    "inturn": "benchmarks.product:in_memory",
    "inturn-lanes": "benchmarks.product:in_memory_with_eight_lanes",
    "inturn-durable": "benchmarks.product:durable",
}


def main(rival: str, log_file: str, folder: str = ".", checkpoints: str = "0") -> None:
    """Run it once."""
    log = load(Path(log_file))
    module, _, name = RIVALS[rival].partition(":")
    start: Start = getattr(importlib.import_module(module), name)
    run = start(log, Path(folder), int(checkpoints))
    gc.collect()
    gc.freeze()
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    finish = asyncio.run(run())
    cpu_s, wall_s = time.process_time() - began_cpu_s, time.perf_counter() - began_s
    after_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    result = Result(
        cpu_s,
        wall_s,
        log.events,
        [digest_of(tally.ids, log.objects) for tally in finish.tallies],
        finish.tallies[0].count,
        finish.checkpoints,
        finish.build,
        after_mb - before_mb,
    )
    json.dump(result._asdict(), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # taking half a million objects apart takes longer than the run


if __name__ == "__main__":
    main(*sys.argv[1:])
