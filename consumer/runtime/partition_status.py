"""What a partition says of itself, in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.events import Outcome, Reason
from consumer.status import PartitionStatus

if TYPE_CHECKING:
    from consumer.runtime.partition import PartitionRunner


def outcomes_of(runner: PartitionRunner) -> dict[str, int]:
    """How many events ended how: ``outcome`` or ``outcome:reason``."""
    return {_label(*key): count for key, count in runner.pipeline.counts.outcomes.items()}


def status_of(runner: PartitionRunner, now_s: float) -> PartitionStatus:
    """A partition as it is at `now_s`, on the clock of its ages."""
    pipeline, counts = runner.pipeline, runner.pipeline.counts
    checkpoint = pipeline.tracker.checkpoint.sequence_number
    newest = runner.newest
    return PartitionStatus(
        partition=runner.partition,
        state="draining" if runner.is_closing else "paused" if pipeline.is_paused else "reading",
        checkpoint=checkpoint,
        last_received=pipeline.highest_received,
        newest=newest,
        lag=None if newest is None else newest - checkpoint,
        in_flight=pipeline.in_flight,
        held=pipeline.sequencer.held,
        held_bytes=pipeline.sequencer.held_bytes,
        watermark_ms=pipeline.watermark.time_ms,
        checkpoint_age_s=now_s - runner.stored_s,
        heartbeat_age_s=now_s - runner.turned_s,
        objects=len(pipeline.sequencer),
        identities=len(pipeline.deduplicator),
        outcomes=outcomes_of(runner),
        ordered_by=dict(counts.ordered_by),
        redelivered=counts.redelivered + runner.dropped_by_source,
        gaps=counts.gaps,
        unkeyed=counts.unkeyed,
        identity_conflicts=counts.identity_conflicts,
        incomparable=pipeline.sequencer.incomparable,
        identities_evicted=pipeline.deduplicator.evicted,
        released_early=pipeline.sequencer.released_early,
        lease_s=runner.lease.remaining_s,
        epoch=pipeline.epoch,
        internal=len(pipeline.internal),
        internal_outcomes=dict(pipeline.internal.counts),
        expectations={} if pipeline.expectations is None else pipeline.expectations.summary(),
    )


def _label(outcome: Outcome, reason: Reason | None) -> str:
    return outcome.value if reason is None else f"{outcome.value}:{reason.value}"
