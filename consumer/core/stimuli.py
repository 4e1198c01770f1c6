"""What can happen to a partition. Each stimulus carries a batch."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from consumer.core.flights import Flight
from consumer.core.parking import Answer
from consumer.events import RawBatch, Reason


class Received(msgspec.Struct, frozen=True):
    """The source gave a batch."""

    batch: RawBatch
    now_ms: int
    """Processing time, milliseconds since 1970."""


class Verdict(StrEnum):
    """How one processor ended with one event."""

    HANDLED = "handled"
    SKIPPED = "skipped"
    """A `latest` processor got a later event of the object instead."""
    FAILED = "failed"
    """It is to be dead-lettered."""
    PARKED = "parked"
    """It was not attempted: it follows an earlier event of its object into the dead letters."""


class Result(NamedTuple):
    """One processor's last word on one event."""

    ticket: Flight
    processor: int
    """Index in the pipeline's list of processors."""
    verdict: Verdict
    reason: Reason | None = None
    error: str = ""
    attempts: int = 1


class Emitted(NamedTuple):
    """An internal event that a processor asked for."""

    cause: Flight
    """One of the events that were handled."""
    type: str
    subject: str
    data: bytes
    """JSON."""


class Handled(msgspec.Struct, frozen=True):
    """One processor handled a chunk of events: what nearly always happens."""

    processor: int
    """Index in the pipeline's list of processors."""
    tickets: list[Flight]
    emitted: Sequence[Emitted] = ()


class Resolved(msgspec.Struct, frozen=True):
    """Processors are done with events, one way or another."""

    results: list[Result]


class DeadLettered(msgspec.Struct, frozen=True):
    """Dead letters are stored durably: the tickets and processors (-1: none) of a `PutDeadLetters` effect."""

    letters: list[tuple[Flight, int]]


class LettersLookedFor(msgspec.Struct, frozen=True):
    """The store has said whether there are still letters of parked objects."""

    answers: list[Answer]


class Ticked(msgspec.Struct, frozen=True):
    """Time went on."""

    now_ms: int
    is_caught_up: bool = True
    """False if the hub is known to have events that we have not received: then silence is not idleness."""


class Stored(msgspec.Struct, frozen=True):
    """The checkpoint of a `StoreCheckpoint` effect was stored, or not."""

    ok: bool
    now_ms: int
    took_ms: int


class Ended(msgspec.Struct, frozen=True):
    """The partition has no more events, ever: nothing need be held any longer."""


class Revoked(msgspec.Struct, frozen=True):
    """The partition is to be given up: nothing new is dispatched; one last checkpoint is asked for."""


Stimulus = Received | Handled | Resolved | DeadLettered | LettersLookedFor | Ticked | Stored | Ended | Revoked
