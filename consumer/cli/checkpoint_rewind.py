"""Move the checkpoint of a partition by hand: what it would mean, and then the doing of it.

A place in the log is taken without the state that was remembered there, since that would make the events
that are handled again stale or duplicates. Only a kept state brings its own.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TypeAlias

import msgspec

from consumer.cli.checkpoint_survey import Owner, named, read, when
from consumer.core.snapshot import Snapshot, encode, new_snapshot
from consumer.errors import CorruptState, FenceLost, InturnError, NewerState, StoreUnavailable
from consumer.events import NOTHING_DONE, Checkpoint, PartitionId
from consumer.replay.places import Mark
from consumer.sources.stretch import Extent, Log
from consumer.stores import CopyKind, InspectableStore, KeptState, StoredState

Target: TypeAlias = "Mark | int | datetime | str"
"""Where to go: the earliest event, an event, a time, or the name of a kept state."""


class NotMoved(InturnError):
    """The checkpoint may not be moved so; the message says why. Nothing was written."""


class Move(msgspec.Struct, frozen=True):
    """What is going to be done to a partition."""

    name: PartitionId
    stored: StoredState
    to: Checkpoint
    state: Snapshot
    """What is going to be remembered there."""
    kept: KeptState | None
    """The copy that the state is from."""
    begin: int | None
    """The oldest event that the log still has, if it was asked."""
    is_damaged: bool
    """What is stored cannot be read: it is put aside as evidence, and not as a backup."""

    @property
    def at(self) -> int:
        """The sequence number of the checkpoint as it is."""
        return (self.stored.checkpoint or NOTHING_DONE).sequence_number

    @property
    def skipped(self) -> int:
        """Events that would be passed over."""
        return max(0, self.to.sequence_number - self.at)

    def describe(self) -> list[str]:
        """What it means, for a person."""
        at = "none" if self.stored.checkpoint is None else self.at
        head = f"partition {self.name.partition}: checkpoint {at} -> {self.to.sequence_number}"
        if self.kept is not None:
            head += f", with the state of {when(self.kept.kept_at_ms)}"
        return [head, f"  {self._meaning()}", f"  {self._memory()}"]

    def _meaning(self) -> str:
        if self.skipped:
            span = f"{self.skipped} events, {self.at + 1} to {self.to.sequence_number},"
            if self.kept is not None:
                return f"{span} count as handled, as they did when the state was put aside."
            return f"{span} will never be handled."
        first = (
            self.to.sequence_number + 1
            if self.begin is None
            else max(self.to.sequence_number + 1, self.begin)
        )
        again = max(0, self.at - first + 1)
        if not again:
            return "No event is handled again."
        return f"{again} events, {first} to {self.at}, are handled again, with the same idempotency keys."

    def _memory(self) -> str:
        objects, identities = len(self.state.objects), len(self.state.identities)
        if self.kept is not None:
            return f"Remembered: {objects} objects and {identities} identities of the kept state."
        return "Objects and identities are forgotten, so that nothing is stale or a duplicate by them."


async def plan(
    store: InspectableStore, name: PartitionId, target: Target, log: Log | None, extents: Sequence[Extent]
) -> Move:
    """Work out a move; changes nothing.

    Raises `NotMoved`, `NewerState` if a newer version of inturn has the partition, `StoreUnavailable`,
    `SourceUnavailable`.
    """
    stored = await store.load(name)
    reading, current = read(stored.snapshot)
    if reading.condition == "newer":
        raise NewerState(f"Partition {name.partition}: {reading.trouble} Move it with the newer version.")
    is_damaged = reading.condition == "damaged"
    epoch = 0 if current is None else current.epoch
    if isinstance(target, str) and not isinstance(target, Mark):
        copy = await _copy(store, name, target)
        state = _state_of(name, target, copy)
        state = msgspec.structs.replace(state, epoch=max(epoch, state.epoch) + 1, owner=_owner())
        return Move(name, stored, copy.checkpoint, state, copy, None, is_damaged)
    extent = next((each for each in extents if each.partition.lower() == name.partition), None)
    if log is None or extent is None:
        raise NotMoved(f"The source has no partition {name.partition}.")
    to = await _place(log, extent, target)
    state = msgspec.structs.replace(new_snapshot(to, _owner()), epoch=epoch + 1)
    return Move(name, stored, to, state, None, extent.begin, is_damaged)


def check_owner(name: PartitionId, owner: Owner | None, *, force: bool) -> None:
    """Raise `NotMoved` if a partition would be pulled from under a consumer's feet."""
    if owner is not None and owner.active and not force:
        raise NotMoved(
            f"Partition {name.partition}: a consumer owns it: {owner.id}, "
            f"renewed {owner.renewed_s:.0f} s ago. "
            "Stop it, or wait until its ownership has expired. With --force it is moved all the same, and "
            "the consumer loses it."
        )


def check_direction(move: Move, *, skips: bool) -> None:
    """Raise `NotMoved` if events would be passed over that nobody has said may be.

    A kept state has been reached by handling what lies before it: to go there skips nothing.
    """
    if move.skipped and move.kept is None and not skips:
        raise NotMoved(
            f"Partition {move.name.partition}: that is ahead of the checkpoint: {move.skipped} events would "
            "never be handled. If that is meant, say --skip-events."
        )


async def carry_out(store: InspectableStore, move: Move) -> None:
    """Put what is stored aside, then replace it, if it is still what was planned on.

    Raises `NotMoved` if a consumer has written meanwhile, `StoreUnavailable`.
    """
    stored, name = move.stored, move.name
    if stored.checkpoint is not None:
        kind = CopyKind.DAMAGED if move.is_damaged else CopyKind.BACKUP
        await store.keep(name, stored.checkpoint, stored.snapshot or b"", kind)
    body = encode(move.state)
    try:
        await store.save(name, move.to, body, stored.fence)
    except FenceLost as error:
        raise NotMoved(
            f"Partition {name.partition}: a consumer has written it meanwhile, so it was not moved. Stop the "
            "consumers and try again."
        ) from error
    except StoreUnavailable:
        # The answer may be lost and the write done: the name of the writer in it is like no other.
        if (await store.load(name)).snapshot != body:
            raise


async def _copy(store: InspectableStore, name: PartitionId, label: str) -> KeptState:
    copies = dict(named(await store.kept(name)))
    if label not in copies:
        there = ", ".join(copies) or "nothing is kept"
        raise NotMoved(f"Partition {name.partition}: there is no {label}; {there}.")
    return copies[label]


def _state_of(name: PartitionId, label: str, copy: KeptState) -> Snapshot:
    reading, state = read(copy.snapshot or None)
    if reading.condition == "none":
        return new_snapshot(copy.checkpoint, "")
    if state is None:
        raise CorruptState(f"Partition {name.partition}: {label} cannot be used: {reading.trouble}")
    return state


async def _place(log: Log, extent: Extent, target: Mark | int | datetime) -> Checkpoint:
    """The checkpoint after which the target is the first event. Raises `NotMoved`, `SourceUnavailable`."""
    if isinstance(target, Mark):
        return NOTHING_DONE
    number = await log.before(extent, target) if isinstance(target, datetime) else target - 1
    if number > extent.newest:
        raise NotMoved(
            f"Partition {extent.partition}: there is no event {number} yet; the newest is {extent.newest}."
        )
    if number < extent.begin:
        return NOTHING_DONE  # what lies before the oldest event has no offset any more
    # The offset is the hub's secret: the event has to be looked at.
    async with aclosing(log.batches(extent.partition, number - 1, number)) as batches:
        async for batch in batches:
            if number in batch.sequence_numbers:
                return Checkpoint(number, batch.offsets[batch.sequence_numbers.index(number)])
            break
    raise NotMoved(f"Partition {extent.partition}: the event {number} could not be found.")


def _owner() -> str:
    """Names this very move."""
    return f"{socket.gethostname()}/{os.getpid()} checkpoint rewind#{uuid.uuid4().hex[:8]}"
