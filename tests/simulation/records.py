"""What is written down of a simulated run."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from property.oracle import Spot

from consumer.core.snapshot import Snapshot


class Place(NamedTuple):
    """An event."""

    partition: str
    number: int
    index: int

    @property
    def spot(self) -> Spot:
        return self.number, self.index


class Violation(NamedTuple):
    """Something that must never happen."""

    kind: str
    """lost, out-of-order, unaccounted, repeated, checkpoint, lease, limit or stuck."""
    what: str
    at_s: float

    def __str__(self) -> str:
        return f"{self.kind} at {self.at_s:.3f} s: {self.what}"


@dataclass
class Life:
    """A partition with one owner, from its assignment on."""

    number: int
    owner: str
    partition: str
    epoch: int
    begun: Snapshot
    last_made_s: float = 0.0
    """When it last asked for its state to be stored."""
    durable_s: float = 0.0
    """When the newest state of it that is stored was made."""
    is_clean: bool = False
    """It was drained, and all that it did is stored."""
    fenced_s: float = float("inf")
    """When another owner had taken the partition."""
    freezes: list[tuple[float, float]] = field(default_factory=list)
    """When its process was frozen, and when it went on."""

    def awake_s(self, since_s: float, until_s: float) -> float:
        """For how long its process ran between two times."""
        frozen_s = sum(max(0.0, min(until_s, on_s) - max(since_s, off_s)) for off_s, on_s in self.freezes)
        return until_s - since_s - frozen_s


@dataclass
class Effect:
    """What a processor did at its receiver."""

    at_s: float
    life: Life
    is_acked: bool = False
    """The attempt that did it has returned."""
    acked_s: float = 0.0


@dataclass
class Tally:
    """What happened, in numbers."""

    effects: int = 0
    repeats: int = 0
    letters: int = 0
    parked: int = 0
    redriven: int = 0
    told: int = 0
    saves: int = 0
    lives: int = 0
    events: int = 0


LIFE: ContextVar[Life | None] = ContextVar("life", default=None)
