"""Take a partition over: read its state and make sure of it, then shut out who had it before.

What cannot be read is never begun afresh. The newest copy that was kept takes its place, and what happened
since is handled once more with the same idempotency keys; without such a copy the partition halts.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import NamedTuple

import msgspec
import structlog

from consumer.core.policy import PipelinePolicy
from consumer.core.snapshot import Snapshot, decode, encode, new_snapshot
from consumer.errors import CorruptState, FenceLost, NewerState, StoreUnavailable
from consumer.events import Checkpoint, PartitionId
from consumer.runtime.writers import CheckpointWriter
from consumer.stores import CheckpointStore, CopyKind, KeptState, StoredState

_log = structlog.get_logger("inturn.engine")

_WRITES_MAX = 3
"""Fence writes that are tried at once; after that the source asks again in its own time."""


class Taken(NamedTuple):
    """A partition that is ours."""

    snapshot: Snapshot
    """The state to begin with, as it is stored, but for the name of this very assignment."""
    writer: CheckpointWriter


async def take_over(
    store: CheckpointStore, name: PartitionId, start: Checkpoint, policy: PipelinePolicy
) -> Taken:
    """Load the state of a partition and store it one epoch later, so that its old owner is refused.

    `start` is where to begin if nothing is stored. Raises `StoreUnavailable`; `FenceLost` if another new
    owner was faster; `CorruptState` if the state cannot be read and no copy can take its place. A write
    whose result is unknown is looked up, never blindly repeated.
    """
    nonce = uuid.uuid4().hex[:8]
    sent: dict[bytes, Snapshot] = {}
    epoch: int | None = None
    attempt = 0
    while True:
        attempt += 1
        stored = await store.load(name)
        ours = sent.get(stored.snapshot) if stored.snapshot else None
        if ours is not None:
            return _taken(store, name, stored.fence, ours, None)
        good, remembered = await _readable(store, name, stored)
        snapshot = adopt(remembered, good.checkpoint, start, policy, name.partition)
        if epoch is not None and snapshot.epoch != epoch:
            raise FenceLost(f"Another owner was faster to take partition {name.partition}.")
        epoch = snapshot.epoch
        # The owner alone may be the same twice (a container's host name and process id); this is not.
        marked = msgspec.structs.replace(snapshot, owner=f"{snapshot.owner}#{nonce}")
        body = await asyncio.to_thread(encode, marked)
        try:
            fence = await store.save(name, snapshot.checkpoint, body, stored.fence)
        except (FenceLost, StoreUnavailable) as error:
            # Refused: the old owner has stored once more meanwhile. Unknown: it may be there, or come yet.
            if attempt == _WRITES_MAX:
                raise
            if isinstance(error, StoreUnavailable):
                sent[body] = snapshot
        else:
            return _taken(store, name, fence, snapshot, good)


def _taken(
    store: CheckpointStore, name: PartitionId, fence: str, snapshot: Snapshot, read: StoredState | None
) -> Taken:
    writer = CheckpointWriter(store, name, fence)
    if read is not None and read.checkpoint is not None and read.snapshot is not None:
        writer.offer_copy(read.checkpoint, read.snapshot)
    return Taken(snapshot, writer)


async def _readable(
    store: CheckpointStore, name: PartitionId, stored: StoredState
) -> tuple[StoredState, Snapshot | None]:
    """What is stored, or what takes its place, and its state. Raises `CorruptState`, `StoreUnavailable`."""
    if stored.snapshot is None:
        await _tell_of_missing_state(store, name, stored)
        return stored, None
    try:
        return stored, await asyncio.to_thread(decode, stored.snapshot)
    except NewerState:
        raise
    except CorruptState as damage:
        copy, snapshot = await _newest_good(store, name, stored, damage)
    # The next write replaces what is damaged: somebody may want to know what became of it.
    assert stored.checkpoint is not None
    await store.keep(name, stored.checkpoint, stored.snapshot, CopyKind.DAMAGED)
    return StoredState(copy.checkpoint, copy.snapshot, stored.fence), snapshot


async def _tell_of_missing_state(store: CheckpointStore, name: PartitionId, stored: StoredState) -> None:
    if stored.checkpoint is not None:
        _log.warning(
            "Another client stored the checkpoint, without state; nothing is remembered of what was before.",
            partition=name.partition,
            checkpoint=stored.checkpoint.sequence_number,
        )
    elif await store.kept(name):
        _log.warning(
            "The checkpoint was removed; beginning as if the partition had never been read. "
            "`inturn checkpoint rewind --to kept:1` goes back to the newest state that was kept.",
            partition=name.partition,
        )


async def _newest_good(
    store: CheckpointStore, name: PartitionId, stored: StoredState, damage: CorruptState
) -> tuple[KeptState, Snapshot]:
    """The newest kept state that can be read and skips nothing. Raises `CorruptState` if there is none."""
    assert stored.checkpoint is not None
    limit = stored.checkpoint.sequence_number
    unusable: list[str] = []
    for copy in await store.kept(name):
        number = copy.checkpoint.sequence_number
        if copy.kind is not CopyKind.GOOD:
            continue
        if number > limit:
            unusable.append(f"the one at {number} is ahead of the checkpoint {limit}")
            continue
        try:
            snapshot = await asyncio.to_thread(decode, copy.snapshot)
        except NewerState:
            raise
        except CorruptState:
            unusable.append(f"the one at {number} is damaged as well")
            continue
        _log.error(
            "The stored state is damaged; going on from the newest kept one. The events since are handled "
            "again with the same idempotency keys. The damaged bytes are kept aside.",
            partition=name.partition,
            damage=str(damage),
            checkpoint=limit,
            used=number,
            kept_at_ms=copy.kept_at_ms,
        )
        return copy, snapshot
    raise CorruptState(
        f"{damage} No kept state can take its place: {'; '.join(unusable) or 'there is none'}. Nothing was "
        "overwritten. Restore the state from a backup of your own, or see `inturn checkpoint show` and move "
        "the checkpoint with `inturn checkpoint rewind`, which forgets what is damaged."
    ) from damage


def adopt(
    snapshot: Snapshot | None,
    checkpoint: Checkpoint | None,
    start: Checkpoint,
    policy: PipelinePolicy,
    partition: str,
) -> Snapshot:
    """Give the state to begin with, one epoch later and with a new owner.

    Another client may have moved the `checkpoint` and left our state beside it. Forward: we go on there,
    with what we remember. Backward: somebody wants those events again, so nothing is remembered of them;
    what lies outside of the hub, or came of events before them, stays.
    """
    if snapshot is None:
        snapshot = new_snapshot(checkpoint or start, policy.owner)
    elif checkpoint is not None and checkpoint.sequence_number != snapshot.checkpoint.sequence_number:
        ahead = checkpoint.sequence_number > snapshot.checkpoint.sequence_number
        _log.warning(
            "Another client has moved the checkpoint; going on from there.",
            partition=partition,
            ours=snapshot.checkpoint.sequence_number,
            theirs=checkpoint.sequence_number,
            state="kept" if ahead else "dropped",
        )
        moved = _moved_forward if ahead else _moved_backward
        snapshot = moved(snapshot, checkpoint)
    if snapshot.config_hash not in ("", policy.config_hash):
        _log.info("What is admitted has changed since the checkpoint.", partition=partition)
    return msgspec.structs.replace(
        snapshot, epoch=snapshot.epoch + 1, owner=policy.owner, config_hash=policy.config_hash
    )


def _moved_backward(snapshot: Snapshot, checkpoint: Checkpoint) -> Snapshot:
    """A state that remembers nothing of what lies behind an earlier checkpoint."""
    number = checkpoint.sequence_number
    rules = [
        rule._replace(pending=[each for each in rule.pending if each.sequence_number <= number], recent=[])
        for rule in snapshot.rules
    ]
    return msgspec.structs.replace(
        new_snapshot(checkpoint, snapshot.owner),
        epoch=snapshot.epoch,
        parked=snapshot.parked,
        internal=[each for each in snapshot.internal if each.progress.sequence_number <= number],
        rules=rules,
        folded_to=min(snapshot.folded_to, number),
    )


def _moved_forward(snapshot: Snapshot, checkpoint: Checkpoint) -> Snapshot:
    """The same state without what lies at or before a later checkpoint.

    What was released and is not done stays known as such: judged anew, it would be stale.
    """
    number = checkpoint.sequence_number
    released = [
        (topic, path, [position for position in positions if position[0] > number])
        for topic, path, positions in snapshot.released
    ]
    return msgspec.structs.replace(
        snapshot,
        checkpoint=checkpoint,
        done_above={above: done for above, done in snapshot.resolved_above().items() if above > number},
        done_rows=[],
        released=[entry for entry in released if entry[2]],
        acks=[ack for ack in snapshot.acks if ack.sequence_number > number],
    )
