"""One worker process and two, each `inturn run --workers N` as users have it.

Everything is in the hub before, which hands next to nothing out until the partitions are shared; so what is
measured is workers at work, and the hub's own process beside them. On two cores that one is not free: two
workers have what it leaves.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.goals import Figure
from benchmarks.noting import FOLDER, PROGRESS
from benchmarks.over_the_hub import Hub, hub
from benchmarks.rounds import TESTS, WrongResult, check, python_for, run
from benchmarks.work import BATCH, PROCESSORS, QUEUE_EVENTS, Log, digest_of

_SHARED_WITHIN_S = 10.0
"""Until the partitions are shared out; then the hub is let go."""
_RUN_S_MAX = 120.0
_STOP_S_MAX = 30.0


class _Work(NamedTuple):
    count: int
    first_ns: int
    last_ns: int


def scaling(log_file: Path, log: Log, rounds: int) -> Iterator[Figure]:
    """Throughput of two workers against one, on the clock."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    hub_us: list[float] = []
    for _ in range(rounds):
        for count, measured in rates.items():
            took_s, hub_s = _run(log_file, log, count)
            measured.append(log.events / took_s)
            hub_us.append(hub_s / log.events * 1e6)
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}; the hub runs on the same cores"
    yield Figure("two-workers-vs-one", statistics.median(ratios), "x", spread)
    for name, measured in (("one-worker", rates[1]), ("two-workers", rates[2])):
        yield Figure(f"{name}-throughput", statistics.median(measured), "events/s")
    yield Figure("workers-hub-cpu-per-event", statistics.median(hub_us), "us", "of the hub's own process")
    control = statistics.median(_control(log_file, log) for _ in range(rounds))
    yield Figure("two-hand-loops-vs-one", control, "x", "what this machine gives two processes")


def _control(log_file: Path, log: Log) -> float:
    """Throughput of two hand-written loops at once against one: no product, and no hub beside them."""

    def rate(_: int) -> float:
        result = run("hand", log_file)
        check("hand", result, log)
        return result.events / result.wall_s

    alone = rate(0)
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(rate, range(2))) / alone


def _run(log_file: Path, log: Log, workers: int) -> tuple[float, float]:
    """Seconds that the workers took, and CPU seconds of the hub meanwhile. Raises `WrongResult`."""
    with tempfile.TemporaryDirectory(prefix="inturn-bench-") as name:
        folder = Path(name)
        with hub(log_file, partitions=len(log.partitions), waits=True) as running:
            (folder / "inturn.yaml").write_text(json.dumps(_configuration(log, running)))
            command = [python_for("inturn"), "-m", "consumer", "run", "--workers", str(workers)]
            env = os.environ | {"PYTHONPATH": str(TESTS), FOLDER: str(folder)}
            with (folder / "log.txt").open("wb") as errors:
                process = subprocess.Popen(command, cwd=folder, env=env, stderr=errors)
            try:
                time.sleep(_SHARED_WITHIN_S)
                before_s = running.cpu_s()
                running.go()
                _wait(folder, process, log.delivered * len(PROCESSORS))
                hub_s = running.cpu_s() - before_s
                process.send_signal(signal.SIGTERM)
                process.wait(_STOP_S_MAX)
            finally:
                process.kill()
                process.wait()
        return _check(folder, log, workers), hub_s


def _configuration(log: Log, running: Hub) -> dict[str, Any]:
    processor = {
        "type": "benchmarks.noting:Noting",
        "types": log.types,
        "concurrency": 1,
        "chunk_max": BATCH,
        "queue_max": QUEUE_EVENTS,
    }
    return {
        "source": {
            "type": "eventhub",
            "hub": "events",
            "connection_string": running.connection_string,
            "load_balancing_interval_s": 1,
        },
        "state": {"type": "sqlite", "path": "state.sqlite"},
        "admission": {"topics": log.topics},
        "processors": [processor | {"name": name} for name in PROCESSORS],
        "admin": {"port": 0},
        "logging": {"level": "warning"},
    }


def _progress(folder: Path) -> dict[str, _Work]:
    read = {path.stem: path.read_bytes() for path in folder.glob("*.progress")}
    return {name: _Work(*PROGRESS.unpack(content)) for name, content in read.items() if content}


def _wait(folder: Path, process: subprocess.Popen[bytes], expected: int) -> None:
    give_up_s = time.monotonic() + _RUN_S_MAX
    while (done := sum(work.count for work in _progress(folder).values())) < expected:
        if process.poll() is not None or time.monotonic() > give_up_s:
            log = (folder / "log.txt").read_text()[-4_000:]
            raise WrongResult(f"The workers delivered {done} of {expected} events.\n{log}")
        time.sleep(0.05)


def _check(folder: Path, log: Log, workers: int) -> float:
    """See that all was done, in turn and by all workers; gives the seconds it took."""
    ids: dict[str, list[str]] = {}
    for path in folder.glob("*.json"):
        ids.setdefault(path.stem.rpartition("-")[2], []).extend(json.loads(path.read_text()))
    digests = {digest_of(each, log.objects) for each in ids.values()}
    if digests != {log.digest}:
        raise WrongResult(f"The workers came to {digests}; right is {log.digest}")
    work = _progress(folder)
    processes = {name.partition("-")[0] for name in work}
    if len(processes) != workers:
        raise WrongResult(f"{len(processes)} of {workers} workers had something to do")
    return (max(each.last_ns for each in work.values()) - min(each.first_ns for each in work.values())) / 1e9
