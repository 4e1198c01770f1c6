"""What an engine says of itself: why it is not ready, and what its processors do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from consumer.runtime.attempts import RunningProcessor
from consumer.status import ProcessorStatus

if TYPE_CHECKING:
    from consumer.runtime.engine import Reader
    from consumer.runtime.partition import PartitionRunner


def reading_troubles(reader: Reader) -> list[str]:
    """What keeps the source from reading, a sentence each."""
    troubles = [
        f"Partition {partition} cannot be read: {why}." for partition, why in reader.problems().items()
    ]
    trouble = reader.trouble()
    return [*troubles, f"The source cannot be read: {trouble}"] if trouble else troubles


def storing_troubles(runners: Iterable[PartitionRunner]) -> list[str]:
    """What keeps partitions from being stored, or from going on, a sentence each."""
    troubles = []
    for runner in runners:
        if runner.store_trouble:
            troubles.append(
                f"The checkpoint of partition {runner.partition} cannot be stored: {runner.store_trouble}"
            )
        if runner.lease.trouble:
            troubles.append(
                f"Whether partition {runner.partition} is still ours cannot be asked: {runner.lease.trouble}"
            )
    return troubles


def processing_troubles(processors: Iterable[RunningProcessor]) -> list[str]:
    """Processors that do not end what was cut off, a sentence each."""
    return [
        f"Attempts of the processor {processor.plan.name} that were cut off and go on all the same: "
        f"{len(processor.counts.strays)}."
        for processor in processors
        if processor.counts.strays
    ]


def processor_status(
    processor: RunningProcessor, stale_skipped: int, parked: int, refused: int
) -> ProcessorStatus:
    """A processor as it is now."""
    counts, plan, gate = processor.counts, processor.plan, processor.gate
    return ProcessorStatus(
        name=plan.name,
        type=processor.type,
        delivery=plan.delivery.value,
        queued=counts.queued,
        running=counts.running,
        handled=counts.handled,
        attempts_failed=counts.attempts_failed,
        dead_lettered=counts.dead_lettered,
        stale_skipped=stale_skipped,
        busy_s=counts.busy_s,
        last_error=counts.last_error,
        abandoned=len(counts.strays),
        breaker="" if gate.breaker is None else gate.breaker.state.value,
        breaker_opened=0 if gate.breaker is None else gate.breaker.opened,
        breaker_waited_s=gate.breaker_waited_s,
        rate_waited_s=gate.rate_waited_s,
        parked=parked,
        refused=refused,
    )
