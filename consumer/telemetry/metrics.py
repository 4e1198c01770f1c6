"""Renders an `EngineStatus` for Prometheus, at scrape time, from plain numbers.

Nothing is counted here. The engine counts in plain integers; a scrape reads them once, on the event loop.
The one exception is `ProcessDurations`, which is fed once per chunk. Every `Metrics` has a registry
of its own, so that several can live in one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from platform import python_version

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from consumer.status import EngineStatus, PartitionStatus
from consumer.telemetry import metric_definitions as definitions
from consumer.telemetry.durations import AttemptOutcome, Durations, ProcessDurations
from consumer.telemetry.metric_kinds import Kind
from consumer.telemetry.totals import Counts, FoldedTotals
from consumer.telemetry.worker_metrics import WORKER_METRICS

__all__ = ["AttemptOutcome", "Exposition", "Metrics", "ProcessDurations", "StatusCollector"]

_COUNTERS = tuple(metric for metric in definitions.PARTITION_METRICS if metric.kind is Kind.COUNTER)
_GAUGES = tuple(metric for metric in definitions.PARTITION_METRICS if metric.kind is Kind.GAUGE)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Exposition:
    """What a scraper is shown; `collector` is asked once per scrape."""

    def __init__(self, collector: Collector) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(collector)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type, in the format that a scraper's ``Accept`` header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class Metrics(Exposition):
    """The metrics of one engine.

    `status` is asked once per scrape. The engine calls `retire` when it gives a partition up, and
    `durations.observe` when a chunk is done.
    """

    def __init__(self, status: Callable[[], EngineStatus], *, now_ms: Callable[[], int] = _now_ms) -> None:
        self.status = status
        self.durations = ProcessDurations()
        self._totals = FoldedTotals()
        super().__init__(StatusCollector(status, self.totals, self.durations, now_ms=now_ms))

    def retire(self, partition: PartitionStatus) -> None:
        """Keep the counts of an assignment that ends.

        Call it with the last status of the partition, in the same step (without an await between) in
        which the partition leaves what `status` returns: then its totals are exact. Without this call
        they still never fall, but what came after the last scrape is missing from them.
        """
        self._totals.retire(partition.partition, _counts(partition))

    def totals(self, status: EngineStatus) -> Iterable[tuple[str, Counts]]:
        """What every partition has counted until now, over all its assignments in this process."""
        self._totals.observe({p.partition: _counts(p) for p in status.partitions})
        return self._totals


class StatusCollector(Collector):
    """Makes families of a status, of what partitions have counted until then, and of durations."""

    def __init__(
        self,
        status: Callable[[], EngineStatus],
        totals: Callable[[EngineStatus], Iterable[tuple[str, Counts]]],
        durations: Iterable[Durations],
        *,
        now_ms: Callable[[], int] = _now_ms,
    ) -> None:
        self._status = status
        self._totals = totals
        self._durations = durations
        self._now_ms = now_ms

    def describe(self) -> Iterable[Metric]:
        """No names: what is registered beside this is fixed, and `collect` would ask the engine too early."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family, with what is known now."""
        status = self._status()
        totals = list(self._totals(status))
        yield from self._of_engine(status)
        yield from self._of_partitions(status.partitions)
        yield from _of_totals(totals)
        yield from _of_processors(status)
        if status.workers:
            yield from _of_workers(status)
        yield self._of_durations()

    def _of_engine(self, status: EngineStatus) -> Iterator[Metric]:
        for metric in definitions.ENGINE_METRICS:
            family = GaugeMetricFamily(metric.name, metric.help)
            _add(family, (), metric.read(status))
            yield family
        state = GaugeMetricFamily(*definitions.ENGINE_STATE, labels=("state",))
        for name in definitions.ENGINE_STATES:
            _add(state, (name,), status.state == name)
        yield state
        by = definitions.EVENTS
        events = CounterMetricFamily(by.name, by.help, labels=by.labels)
        for values, count in by.split(status).items():
            _add(events, values, count)
        yield events
        build = GaugeMetricFamily(*definitions.BUILD_INFO, labels=("version", "python"))
        _add(build, (status.version, python_version()), 1)
        yield build

    def _of_partitions(self, partitions: list[PartitionStatus]) -> Iterator[Metric]:
        for metric in _GAUGES:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for partition in partitions:
                _add(family, (partition.partition,), metric.read(partition))
            yield family
        age = GaugeMetricFamily(*definitions.WATERMARK_AGE, labels=("partition",))
        state = GaugeMetricFamily(*definitions.PARTITION_STATE, labels=("partition", "state"))
        for partition in partitions:
            if partition.watermark_ms is not None:
                _add(age, (partition.partition,), max(0, self._now_ms() - partition.watermark_ms) / 1_000)
            for name in definitions.PARTITION_STATES:
                _add(state, (partition.partition, name), partition.state == name)
        yield from (age, state)

    def _of_durations(self) -> Metric:
        family = HistogramMetricFamily(*definitions.PROCESS_DURATION, labels=("processor", "outcome"))
        for processor, outcome, buckets, sum_s in self._durations:
            family.add_metric((processor, outcome), buckets, sum_s)
        return family


def _of_totals(totals: list[tuple[str, Counts]]) -> Iterator[Metric]:
    for metric in _COUNTERS:
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        for partition, counts in totals:
            _add(family, (partition,), counts.get(metric.name, 0))
        yield family
    by = definitions.ORDERED_BY
    ordered = CounterMetricFamily(by.name, by.help, labels=by.labels)
    for values in (*by.values.values(), by.other):
        _add(ordered, values, sum(counts.get(values, 0) for _, counts in totals))
    yield ordered


def _of_processors(status: EngineStatus) -> Iterator[Metric]:
    for metric in definitions.PROCESSOR_METRICS:
        build = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
        family = build(metric.name, metric.help, labels=metric.labels)
        for processor in status.processors:
            _add(family, (processor.name,), metric.read(processor))
        yield family
    state = GaugeMetricFamily(*definitions.BREAKER_STATE, labels=("processor", "state"))
    for processor in status.processors:
        for name in definitions.BREAKER_STATES if processor.breaker else ():
            _add(state, (processor.name, name), processor.breaker == name)
    yield state


def _of_workers(status: EngineStatus) -> Iterator[Metric]:
    for metric in WORKER_METRICS:
        build = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
        family = build(metric.name, metric.help, labels=metric.labels)
        for worker in status.workers:
            _add(family, (worker.worker,), metric.read(worker))
        yield family


def _counts(partition: PartitionStatus) -> dict[Hashable, float]:
    """The counters of a partition by name, and what its events were ordered by, by label values."""
    counts: dict[Hashable, float] = {metric.name: metric.read(partition) or 0 for metric in _COUNTERS}
    return counts | definitions.ORDERED_BY.split(partition)


def _add(
    family: CounterMetricFamily | GaugeMetricFamily, labels: tuple[str, ...], value: float | None
) -> None:
    if value is not None:
        family.add_metric(labels, float(value))
