"""What a partition wants done. Each effect carries a batch."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from consumer.core.decode import Rejection
from consumer.core.flights import Flight
from consumer.core.snapshot import Snapshot
from consumer.events import Event, Reason


class Dispatch(msgspec.Struct, frozen=True):
    """Give events to a processor, in this order for each object; columns of equal length.

    Several dispatches may share their columns: they are not to be changed.
    """

    processor: int
    """Index in the pipeline's list of processors."""
    events: list[Event]
    tickets: list[Flight]
    """To be given back with the result; nothing in them concerns anybody but the pipeline."""


class Letter(NamedTuple):
    """What to put aside. The shell adds the time and the partition's full name."""

    ticket: Flight
    processor: int
    """Index of the processor that failed; -1 if none was to see it."""
    subject: Event | Rejection
    reason: Reason
    error: str
    attempts: int


class PutDeadLetters(msgspec.Struct, frozen=True):
    """Store dead letters durably, then say so with `DeadLettered`."""

    letters: list[Letter]


class StoreCheckpoint(msgspec.Struct, frozen=True):
    """Store the checkpoint and the state in one write, then say so with `Stored`. One at a time."""

    snapshot: Snapshot
    settles: list[tuple[Flight, int]]
    """Tickets and processors whose failures or skips are in this snapshot: what follows them in their lanes
    must not begin before it is stored, or a crash could try them again afterwards."""


class Pause(msgspec.Struct, frozen=True):
    """Take nothing more from the source."""


class Resume(msgspec.Struct, frozen=True):
    """Take from the source again."""


class WakeAt(msgspec.Struct, frozen=True):
    """Send `Ticked` at this time at the latest, milliseconds since 1970."""

    time_ms: int


Effect = Dispatch | PutDeadLetters | StoreCheckpoint | Pause | Resume | WakeAt
