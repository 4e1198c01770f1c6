"""Adds up what several workers report: one status and one set of metrics for all of them.

What only rises is summed over the workers, and over the processes that had a worker's place before: a
counter does not go back when a worker dies. At most what a process counted after its last report is missing.
Everything else is as it is now: summed where it is an amount, the largest where it is an age or a reading of
something that all share, and by partition where it is a partition's.
"""

from __future__ import annotations

import resource
import sys
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from consumer.status import EngineStatus, PartitionStatus, ProcessorStatus, WorkerReport, WorkerStatus
from consumer.telemetry.durations import BOUNDS, Durations
from consumer.telemetry.metric_definitions import BREAKER_STATES
from consumer.telemetry.totals import Counts as NamedCounts

Key = tuple[str, ...]
Counts = Mapping[Key, float]

_OUTCOME, _PROCESSOR, _PARTITION, _ORDERED, _BUCKET, _DURATION = (
    "outcome",
    "processor",
    "partition",
    "ordered",
    "bucket",
    "duration",
)
_CPU, _BLOCKS = ("cpu_s",), ("loop_blocks",)
_PROCESSOR_TIMES = ("busy_s", "breaker_waited_s", "rate_waited_s")
_PROCESSOR_COUNTS = (
    *("handled", "attempts_failed", "dead_lettered", "stale_skipped", "refused", "breaker_opened"),
    *_PROCESSOR_TIMES,
)


def report_of(
    status: EngineStatus,
    not_live: Iterable[str],
    totals: Iterable[tuple[str, NamedCounts]],
    durations: Iterable[Durations],
) -> WorkerReport:
    """What this process reports to its supervisor."""
    counters = counters_of(status, totals, durations)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    counters[_CPU] = usage.ru_utime + usage.ru_stime
    return WorkerReport(status, list(not_live), counters, _resident_bytes(usage.ru_maxrss))


def counters_of(
    status: EngineStatus, totals: Iterable[tuple[str, NamedCounts]], durations: Iterable[Durations]
) -> dict[Key, float]:
    """Everything that only rises, under names that are the same in every worker."""
    counters: dict[Key, float] = {_BLOCKS: status.loop_blocks}
    counters |= {(_OUTCOME, outcome): count for outcome, count in status.outcomes.items()}
    for each in status.processors:
        counters |= {(_PROCESSOR, each.name, name): getattr(each, name) for name in _PROCESSOR_COUNTS}
    for partition, counts in totals:
        for name, count in counts.items():
            # A plain name is a metric's; a tuple is what events were ordered by.
            key = (_PARTITION, name) if isinstance(name, str) else (_ORDERED, *_values(name))
            counters[(key[0], partition, *key[1:])] = count
    for processor, outcome, buckets, sum_s in durations:
        counters |= {(_BUCKET, processor, outcome, bound): count for bound, count in buckets}
        counters[_DURATION, processor, outcome] = sum_s
    return counters


class WorkersBook:
    """The numbers of all workers of a supervisor."""

    def __init__(self) -> None:
        self._reports: dict[str, WorkerReport] = {}
        """The last report of every process that runs."""
        self._kept: defaultdict[str, Counts] = defaultdict(dict)
        """What the processes counted that had a worker's place before."""
        self._model: EngineStatus | None = None
        """Some worker's status: what all of them have alike, while none has anything to say."""

    def report(self, worker: str, report: WorkerReport) -> None:
        """Take what a worker reports."""
        self._reports[worker] = report
        self._model = report.status

    def ended(self, worker: str) -> None:
        """Keep the counts of a worker's process that has ended."""
        report = self._reports.pop(worker, None)
        if report is not None:
            self._kept[worker] = sum_of((self._kept[worker], report.counters))

    def sums(self) -> dict[Key, float]:
        """All counters, summed over workers and the processes before them."""
        return sum_of((*self._kept.values(), *(each.counters for each in self._reports.values())))

    def status(
        self, workers: Sequence[WorkerStatus], *, version: str, state: str, up_s: float
    ) -> EngineStatus:
        """One status for all. `workers`, `state` and `up_s` are the supervisor's."""
        reports = {worker.worker: self._reports.get(worker.worker) for worker in workers}
        known = {worker: report.status for worker, report in reports.items() if report is not None}
        sums = self.sums()
        partitions = merged_partitions(known)
        not_ready = reasons_of(workers, self._reports)
        if state != "running":
            not_ready.append(f"inturn is {state}.")
        counted = [each.dead_letters for each in known.values() if each.dead_letters is not None]
        model = self._model
        return EngineStatus(
            version=version,
            state=state,
            ready=not not_ready,
            not_ready=not_ready,
            uptime_s=up_s,
            source="" if model is None else model.source,
            # They all count the same store; the highest is most likely the latest.
            dead_letters=max(counted, default=None),
            objects_spread=sum(each.objects_spread for each in known.values()),
            partitions=partitions,
            processors=merged_processors([] if model is None else model.processors, known.values(), sums),
            outcomes={key[1]: int(count) for key, count in sums.items() if key[0] == _OUTCOME},
            loop_blocks=int(sums.get(_BLOCKS, 0)),
            loop_longest_block_s=max((each.loop_longest_block_s for each in known.values()), default=0.0),
            workers=[self._with_numbers(each, partitions) for each in workers],
        )

    def _with_numbers(self, worker: WorkerStatus, partitions: list[PartitionStatus]) -> WorkerStatus:
        report = self._reports.get(worker.worker)
        cpu_s = self._kept[worker.worker].get(_CPU, 0.0)
        return msgspec.structs.replace(
            worker,
            partitions=sum(each.worker == worker.worker for each in partitions),
            cpu_s=cpu_s if report is None else cpu_s + report.counters.get(_CPU, 0.0),
            resident_bytes=0 if report is None else report.resident_bytes,
        )

    def totals(self, _: EngineStatus) -> Iterable[tuple[str, NamedCounts]]:
        """What every partition has counted until now, wherever it was."""
        found: defaultdict[str, dict[Hashable, float]] = defaultdict(dict)
        for (kind, *names), count in self.sums().items():
            if kind == _PARTITION:
                found[names[0]][names[1]] = count
            elif kind == _ORDERED:
                found[names[0]][tuple(names[1:])] = count
        return sorted(found.items())

    def __iter__(self) -> Iterator[Durations]:
        """Every histogram, sorted."""
        sums = self.sums()
        for kind, *names in sorted(key for key in sums if key[0] == _DURATION):
            buckets = [(bound, sums[_BUCKET, names[0], names[1], bound]) for bound in BOUNDS]
            yield names[0], names[1], buckets, sums[kind, *names]


def merged_partitions(statuses: Mapping[str, EngineStatus]) -> list[PartitionStatus]:
    """Every partition once, with its worker: at a hand-over two show it, and the later owner has it."""
    found: dict[str, PartitionStatus] = {}
    for worker, status in statuses.items():
        for each in status.partitions:
            other = found.get(each.partition)
            if other is None or each.epoch > other.epoch:
                found[each.partition] = msgspec.structs.replace(each, worker=worker)
    return sorted(found.values(), key=lambda each: _natural(each.partition))


def merged_processors(
    models: Sequence[ProcessorStatus], statuses: Iterable[EngineStatus], sums: Mapping[Key, float]
) -> list[ProcessorStatus]:
    """Every processor once: what it counts, from `sums`, and what it has now, added up."""
    now: defaultdict[str, list[ProcessorStatus]] = defaultdict(list)
    for status in statuses:
        for each in status.processors:
            now[each.name].append(each)
    merged = []
    for model in models:
        parts = now[model.name]
        counts = {name: sums.get((_PROCESSOR, model.name, name), 0.0) for name in _PROCESSOR_COUNTS}
        counts |= {name: int(count) for name, count in counts.items() if name not in _PROCESSOR_TIMES}
        merged.append(
            msgspec.structs.replace(
                model,
                **counts,
                queued=sum(each.queued for each in parts),
                running=sum(each.running for each in parts),
                abandoned=sum(each.abandoned for each in parts),
                breaker=max((each.breaker for each in parts), key=_badness, default=model.breaker),
                parked=sum(each.parked for each in parts),
                last_error=next((each.last_error for each in parts if each.last_error), ""),
            )
        )
    return merged


def reasons_of(workers: Sequence[WorkerStatus], reports: Mapping[str, WorkerReport]) -> list[str]:
    """Why not all workers are ready: a sentence for each reason, with the workers that have it."""
    who: defaultdict[str, list[str]] = defaultdict(list)
    for each in workers:
        report = reports.get(each.worker)
        match each.state:
            case "silent":
                who[f"no answer for {each.silent_s:.0f} s."].append(each.worker)
            case "waiting":
                who[f"ended ({each.last_end}) and is to be started again."].append(each.worker)
            case "starting" if report is None:
                who["not started yet."].append(each.worker)
        if report is not None:
            for reason in [*report.not_live, *report.status.not_ready]:
                who[reason].append(each.worker)
    return [
        f"Worker{'s' if len(names) > 1 else ''} {', '.join(names)}: {reason}" for reason, names in who.items()
    ]


def sum_of(several: Iterable[Counts]) -> dict[Key, float]:
    """Add counts up, name by name."""
    sums: defaultdict[Key, float] = defaultdict(float)
    for counts in several:
        for name, count in counts.items():
            sums[name] += count
    return dict(sums)


def _badness(breaker: str) -> int:
    return BREAKER_STATES.index(breaker) if breaker else -1


def _values(name: object) -> Key:
    assert isinstance(name, tuple)
    return name


def _natural(partition: str) -> tuple[str, int, str]:
    """By consumer group, the shared one first, and then by number."""
    group, _, name = partition.rpartition("/")
    return (group, int(name), "") if name.isdecimal() else (group, 1 << 62, name)


def _resident_bytes(highest: int) -> int:
    """Memory this process has now; where that cannot be asked, the most it ever had."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return highest if sys.platform == "darwin" else highest * 1024
    return pages * resource.getpagesize()
