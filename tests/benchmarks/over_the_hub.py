"""The figures behind a socket: the local hub on one core, a rival on the other."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.goals import Figure
from benchmarks.rounds import TESTS, Comparison, check, run
from benchmarks.work import Log, Result

LOW_RATE = 59
"""Events a second; not in step with anything."""
LOW_RATE_S, HALF_LOAD_S = 10, 4
_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
HUB_CORE, CLIENT_CORE = (_CORES[1], _CORES[0]) if len(_CORES) > 1 else (None, None)


class Hub(NamedTuple):
    """A hub that runs."""

    process: subprocess.Popen[str]
    connection_string: str

    def go(self) -> None:
        """Let it hand out what it has."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def cpu_s(self) -> float:
        """CPU time that it has taken so far; 0 where the system does not tell."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        if not stat.exists():
            return 0.0
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rate(self) -> float:
        """Wait until it has sent everything; gives the rate at which it did."""
        assert self.process.stdout is not None
        return float(self.process.stdout.readline())


@contextmanager
def hub(log_file: Path, **options: Any) -> Iterator[Hub]:
    """Run a hub on its core until the block ends."""
    command = [sys.executable, "-m", "benchmarks.hub_process", str(log_file), json.dumps(options)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    env = os.environ | {"PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, env=env, text=True, **pipes) as process:
        try:
            assert process.stdout is not None
            yield Hub(process, process.stdout.readline().strip())
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.kill()


def throughput(log_file: Path, log: Log, rounds: int) -> Iterator[Figure]:
    """CPU time of an event from the socket to the processors; all is in the hub before."""
    ours, theirs = _alternating(log_file, log, rounds, ["sdk-default", "sdk-best"])
    for name, results in theirs.items():
        found = Comparison(ours, results)
        low, high = found.spread
        yield Figure(f"socket-cpu-vs-{name}", found.ratio, "x", f"{low:.2f} to {high:.2f}")
        yield Figure(f"socket-{name}-cpu-per-event", found.microseconds()[1], "us")
    yield Figure("socket-cpu-per-event", found.microseconds()[0], "us", ours[-1].build)
    rate = statistics.median(each.delivered / each.wall_s for each in ours)
    yield Figure("socket-throughput", rate, "events/s", "delivered to each of three processors; one core")


def one_partition(log_file: Path, log: Log, rounds: int) -> Iterator[Figure]:
    """Time on the clock for one partition, with default settings."""
    ours, theirs = _alternating(log_file, log, rounds, ["sdk-default"])
    ratios = [one.wall_s / other.wall_s for one, other in zip(theirs["sdk-default"], ours, strict=True)]
    spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
    yield Figure("one-partition-wall-vs-sdk-default", statistics.median(ratios), "x", spread)
    for name, results in {"ours": ours, "sdk": theirs["sdk-default"]}.items():
        rate = statistics.median(each.delivered / each.wall_s for each in results)
        yield Figure(f"one-partition-throughput-{name}", rate, "events/s")


def _alternating(
    log_file: Path, log: Log, rounds: int, rivals: list[str]
) -> tuple[list[Result], dict[str, list[Result]]]:
    found: dict[str, list[Result]] = {name: [] for name in ("inturn-hub", *rivals)}
    partitions = len(log.partitions)
    with hub(log_file, partitions=partitions, core=HUB_CORE) as running:
        for _ in range(rounds):
            for name, results in found.items():
                results.append(_run(name, log_file, running, partitions))
                check(name, results[-1], log)
    return found.pop("inturn-hub"), found


def _run(rival: str, log_file: Path, running: Hub, partitions: int, **options: Any) -> Result:
    told = {"connection_string": running.connection_string, "partitions": partitions, "core": CLIENT_CORE}
    return run(rival, log_file, **told, **options)


def latency(log_file: Path, log: Log, rounds: int) -> Iterator[Figure]:
    """From the hub's log to a processor, at a low rate: ours on arrival, and the client's callback."""
    found: dict[str, list[_Latency]] = {"inturn": [], "sdk": []}
    for _ in range(rounds):
        for name, measured in found.items():
            measured.append(_latency(name, log_file, LOW_RATE, round(LOW_RATE * LOW_RATE_S)))
    ours, theirs = (_middle(measured) for measured in found.values())
    spread = (
        f"{min(each.p99 for each in found['inturn']):.2f} to {max(each.p99 for each in found['inturn']):.2f}"
    )
    yield Figure("low-rate-latency-p50", ours.p50, "ms", f"{LOW_RATE} events a second")
    yield Figure("low-rate-latency-p99", ours.p99, "ms", spread)
    yield Figure("low-rate-latency-sdk-p50", theirs.p50, "ms")
    yield Figure("low-rate-latency-sdk-p99", theirs.p99, "ms")
    yield Figure("low-rate-latency-p99-vs-sdk", theirs.p99 / ours.p99, "x")


def half_load(log_file: Path, log: Log, rounds: int) -> Iterator[Figure]:
    """The same at half of the rate at which messages are read when all of them are in the hub already."""
    with hub(log_file, partitions=len(log.partitions), core=HUB_CORE) as running:
        full = _run("inturn-hub", log_file, running, len(log.partitions))
        check("inturn-hub", full, log)
    rate = full.events / full.wall_s
    # Each event is sent once: the log may not last as long as it should.
    messages = min(round(rate / 2 * HALF_LOAD_S), len(log.objects))
    measured = [_latency("inturn", log_file, rate / 2, messages) for _ in range(rounds)]
    middle = _middle(measured)
    spread = f"{min(each.p99 for each in measured):.2f} to {max(each.p99 for each in measured):.2f}"
    yield Figure("half-load-rate", middle.rate, "events/s", f"of {rate:.0f}")
    yield Figure("half-load-latency-p50", middle.p50, "ms")
    yield Figure("half-load-latency-p99", middle.p99, "ms", spread)


class _Latency(NamedTuple):
    """Of one run, in milliseconds."""

    p50: float
    p99: float
    rate: float
    """That was reached, in events a second."""


def _latency(rival: str, log_file: Path, rate: float, messages: int) -> _Latency:
    """Of the last three quarters of the messages: the first one warms up."""
    with hub(log_file, core=HUB_CORE, rate=rate, messages=messages) as running:
        result = _run(f"{rival}-latency", log_file, running, 4, messages=messages)
        sent = running.rate()
    warm = sorted(result.latencies_ms[messages // 4 :])
    return _Latency(statistics.median(warm), warm[int(len(warm) * 0.99)], sent)


def _middle(measured: list[_Latency]) -> _Latency:
    return _Latency(*(statistics.median(column) for column in zip(*measured, strict=True)))
