"""The metrics of several workers: one for each process that a supervisor keeps running."""

from __future__ import annotations

from collections.abc import Callable

from consumer.status import WorkerStatus
from consumer.telemetry.metric_kinds import Kind, Metric


def _worker(
    name: str, text: str, read: Callable[[WorkerStatus], float | None], kind: Kind = Kind.GAUGE
) -> Metric[WorkerStatus]:
    return Metric(name, kind, ("worker",), text, read)


WORKER_METRICS: tuple[Metric[WorkerStatus], ...] = (
    _worker(
        "inturn_worker_up",
        "1 while the worker answers. 0 for long: the log says how it ended; /status shows it too.",
        lambda w: float(w.state in {"running", "draining"}),
    ),
    _worker(
        "inturn_worker_restarts_total",
        "How often the worker was started again. Rising: it dies; the log says of what.",
        lambda w: w.restarts,
        Kind.COUNTER,
    ),
    _worker(
        "inturn_worker_partitions_owned",
        "Partitions the worker owns. Very unequal for long: the workers do not see each other's ownership.",
        lambda w: w.partitions,
    ),
    _worker(
        "inturn_worker_cpu_seconds_total",
        "Processor time the worker used. Its rate near 1: it is at its limit, add workers or replicas.",
        lambda w: w.cpu_s,
        Kind.COUNTER,
    ),
    _worker(
        "inturn_worker_resident_memory_bytes",
        "Memory the worker has. Growth without end: lower the limits under `dedupe` and `sequence`.",
        lambda w: w.resident_bytes,
    ),
)
"""There only if several workers run."""
