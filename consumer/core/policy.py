"""The numbers a pipeline goes by, and the numbers it counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from consumer.core.sequencer import SequencerLimits
from consumer.events import Outcome, Reason


@dataclass(frozen=True, slots=True)
class PipelinePolicy:
    """What a pipeline goes by; times in milliseconds."""

    sequencer: SequencerLimits
    idle_margin_ms: int = 5_000
    """How far behind the local clock the watermark of an idle partition stays."""
    dedupe_window_ms: int = 25 * 3_600_000
    identities_max: int = 200_000
    in_flight_max: int = 5_000
    """Events past the sequencer and not resolved; at this the source is paused."""
    checkpoint_interval_ms: int = 1_000
    checkpoint_stretch: int = 10
    """The interval is at least this many times as long as the last write took,"""
    checkpoint_interval_max_ms: int = 20_000
    """but not longer than this: a write may have been slow because the process was frozen meanwhile."""
    owner: str = ""
    config_hash: str = ""


@dataclass(slots=True)
class Counts:
    """What a pipeline has counted since it was assigned."""

    outcomes: Counter[tuple[Outcome, Reason | None]] = field(default_factory=Counter)
    ordered_by: Counter[str] = field(default_factory=Counter)
    redelivered: int = 0
    """Messages at or below the highest sequence number that was received."""
    gaps: int = 0
    """Sequence numbers that were never received."""
    unkeyed: int = 0
    """Events without a partition key."""
    identity_conflicts: int = 0
    """Events with the identity of an earlier one and other data."""
