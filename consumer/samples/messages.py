"""What a trace consists of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from consumer.events import Reason


class Intent(StrEnum):
    """What a message is in the plan for."""

    FRESH = "fresh"
    OVERTAKEN = "overtaken"
    """Sent after a newer event of its object, within the reorder window: to be put back in order."""
    REDELIVERED = "redelivered"
    """The same event once more, as Event Grid's retries do."""
    REPUBLISHED = "republished"
    """The same change under a new id."""
    CONFLICTING = "conflicting"
    """The identity of an earlier event, but other data: another event."""
    SEVERAL = "several"
    """Several events of one object in one array, and one element that is none."""
    LATE = "late"
    """Sent when a newer event of its object has gone out: stale."""
    POISON = "poison"
    FOREIGN_TOPIC = "foreign_topic"
    UNWANTED_TYPE = "unwanted_type"
    CONTROL = "control"
    EMPTY = "empty"


class Message(NamedTuple):
    """One message to send."""

    body: bytes
    properties: dict[str, str]
    partition_key: str | None
    intent: Intent
    elements: int = 1
    """How many outcomes it must lead to."""
    reason: Reason | None = None
    """For which reason it (of `Intent.SEVERAL`: its bad element) must be dead-lettered."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Phase:
    """Messages that are sent one after the other."""

    name: str
    messages: tuple[Message, ...]
    pause_before_windows: float = 0.0

    def pause_before_s(self, window_s: float) -> float:
        """How long to send nothing before the phase, given the consumer's reorder window."""
        return self.pause_before_windows * window_s


@dataclass(frozen=True, slots=True)
class Trace:
    """What to send, and the admission that the consumer has to be configured with for it."""

    seed: int
    phases: tuple[Phase, ...]
    topics: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def messages(self) -> list[Message]:
        """The messages of all phases in order."""
        return [message for phase in self.phases for message in phase.messages]

    @property
    def events(self) -> int:
        """How many outcomes the trace must lead to."""
        return sum(message.elements for message in self.messages)


@dataclass(frozen=True, slots=True)
class Mix:
    """What the plan is made of: shares of all events, and a few plain numbers."""

    repeated: float = 0.2
    overtaken: float = 0.2
    late: float = 0.02
    poison: float = 0.01
    foreign: float = 0.01
    unwanted: float = 0.01
    several: float = 0.004
    """Messages with several events."""
    controls: int = 6
    empties: int = 4
