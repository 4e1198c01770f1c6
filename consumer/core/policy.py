"""The numbers a pipeline goes by, and the numbers it counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from consumer.core.expectations import Rule
from consumer.core.packed_token import KINDS
from consumer.core.sequencer import SequencerLimits
from consumer.events import Outcome, Reason

# A member of an enumeration is slow to look up for each event.
HANDLED: Final = Outcome.HANDLED
DUPLICATE: Final = Outcome.DUPLICATE
IGNORED: Final = Outcome.IGNORED


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
    internal_max: int = 1_000
    """Internal events that somebody is not done with; at this the source is paused."""
    rules: tuple[Rule, ...] = ()
    """What is expected after what."""
    checkpoint_interval_ms: int = 1_000
    checkpoint_stretch: int = 10
    """The interval is at least this many times as long as the last write took,"""
    checkpoint_interval_max_ms: int = 20_000
    """but not longer than this: a write may have been slow because the process was frozen meanwhile."""
    owner: str = ""
    config_hash: str = ""


class Counts:
    """What a pipeline has counted since it was assigned."""

    def __init__(self) -> None:
        self.handled = 0
        """Events; like all other outcomes they are in `outcomes`."""
        self.duplicates = 0
        self.other_outcomes: Counter[tuple[Outcome, Reason | None]] = Counter()
        self.ordered_by_code = [0] * len(KINDS)
        """By the code of a packed token."""
        self.redelivered = 0
        """Messages at or below the highest sequence number that was received."""
        self.gaps = 0
        """Sequence numbers that were never received."""
        self.unkeyed = 0
        """Events without a partition key."""
        self.identity_conflicts = 0
        """Events with the identity of an earlier one and other data."""

    @property
    def outcomes(self) -> Counter[tuple[Outcome, Reason | None]]:
        """How many events ended how."""
        outcomes = self.other_outcomes.copy()
        if self.handled:
            outcomes[Outcome.HANDLED, None] = self.handled
        if self.duplicates:
            outcomes[Outcome.DUPLICATE, None] = self.duplicates
        return outcomes

    @property
    def ordered_by(self) -> Counter[str]:
        """How many events were ordered by what."""
        by = zip(KINDS, self.ordered_by_code, strict=True)
        return Counter({str(kind): count for kind, count in by if count})

    def note(self, outcome: Outcome, reason: Reason | None) -> None:
        """Count an event that has ended."""
        if outcome is HANDLED:
            self.handled += 1
        elif outcome is DUPLICATE:
            self.duplicates += 1
        else:
            self.other_outcomes[outcome, reason] += 1
