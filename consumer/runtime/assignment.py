"""Make of what is stored the state that a new owner begins with."""

from __future__ import annotations

import msgspec
import structlog

from consumer.core.policy import PipelinePolicy
from consumer.core.snapshot import Snapshot, decode, new_snapshot
from consumer.events import Checkpoint
from consumer.stores import StoredState

_log = structlog.get_logger("inturn.engine")


def adopt(stored: StoredState, start: Checkpoint, policy: PipelinePolicy, partition: str) -> Snapshot:
    """Give the state to begin with, one epoch later and with a new owner. Raises `CorruptState`.

    Another client may have moved the checkpoint and left our state beside it. Forward: we go on there,
    with what we remember. Backward: somebody wants those events again, so nothing is remembered of them.
    """
    if stored.snapshot is None:
        snapshot = new_snapshot(stored.checkpoint or start, policy.owner)
    else:
        snapshot = decode(stored.snapshot)
    checkpoint = stored.checkpoint
    if checkpoint is not None and checkpoint.sequence_number != snapshot.checkpoint.sequence_number:
        ahead = checkpoint.sequence_number > snapshot.checkpoint.sequence_number
        _log.warning(
            "Another client has moved the checkpoint; going on from there.",
            partition=partition,
            ours=snapshot.checkpoint.sequence_number,
            theirs=checkpoint.sequence_number,
            state="kept" if ahead else "dropped",
        )
        if ahead:
            snapshot = msgspec.structs.replace(
                snapshot,
                checkpoint=checkpoint,
                done_above=_above(snapshot.done_above, checkpoint),
                released=[],
                acks=[ack for ack in snapshot.acks if ack[0] > checkpoint.sequence_number],
            )
        else:
            snapshot = msgspec.structs.replace(new_snapshot(checkpoint, policy.owner), epoch=snapshot.epoch)
    if snapshot.config_hash not in ("", policy.config_hash):
        _log.info("What is admitted has changed since the checkpoint.", partition=partition)
    return msgspec.structs.replace(
        snapshot, epoch=snapshot.epoch + 1, owner=policy.owner, config_hash=policy.config_hash
    )


def _above(done: dict[int, list[int]], checkpoint: Checkpoint) -> dict[int, list[int]]:
    return {number: indexes for number, indexes in done.items() if number > checkpoint.sequence_number}
