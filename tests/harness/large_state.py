"""Many objects and identities, remembered in the way in which a running partition comes to remember them.

``python -m harness.large_state objects|identities COUNT`` fills one table and prints by how many bytes the
memory of the process grew.
"""

from __future__ import annotations

import gc
import hashlib
import os
import sys
from pathlib import Path

import msgspec

from consumer.core.deduplicator import Deduplicator
from consumer.core.sequencer import Held, Sequencer, SequencerLimits
from consumer.core.snapshot import Snapshot, new_snapshot
from consumer.events import Checkpoint, ObjectId, OrderedBy, OrderToken
from harness.places import object_key, placed

START_MS = 1_795_240_800_000
"""Log time of the first event."""
_TOPIC = (
    "/subscriptions/0b1d2c3e-aaaa-bbbb-cccc-444444444444/resourcegroups/ml-prod/providers/"
    "microsoft.{}/churn{}"
)
_SPACE = _TOPIC.format("machinelearningservices/workspaces", "-prod")
_ACCOUNT = _TOPIC.format("storage/storageaccounts", "prod")
_MEMORY = Path("/proc/self/statm")


def event_at(number: int) -> Held:
    """An event of an object of its own: a blob, a run or a model."""
    kind, rest = number % 3, f"{number * 2_654_435_761 % 2**32:08x}-{number}"
    if kind == 0:
        blob = ObjectId(
            _ACCOUNT, f"/blobServices/default/containers/daily/blobs/2026/11/21/part-{rest}.parquet"
        )
        token = OrderToken(OrderedBy.SEQUENCER, f"{number + 1:048x}")
        return _held(number, blob, token, "Microsoft.Storage.BlobCreated")
    if kind == 1:
        token = OrderToken(OrderedBy.STATUS, (number % 2, 17_952_408_000_000_000 + number))
        type_ = "Microsoft.MachineLearningServices.RunStatusChanged"
        return _held(number, ObjectId(_SPACE, f"runs/train-{rest}"), token, type_)
    token = OrderToken(OrderedBy.VERSION, number)
    type_ = "Microsoft.MachineLearningServices.ModelRegistered"
    return _held(number, ObjectId(_SPACE, f"models/churn-{rest}"), token, type_)


def _held(number: int, object_id: ObjectId, token: OrderToken, event_type: str) -> Held:
    held = placed(Held(number), object_key(object_id), token, event_type)
    held.size = 1_000
    return held


def sequencer_of(objects: int) -> Sequencer[Held]:
    """A sequencer that remembers so many objects."""
    sequencer: Sequencer[Held] = Sequencer(SequencerLimits(0, objects_max=objects))
    for number in range(objects):
        sequencer.offer(event_at(number), START_MS + number)
        sequencer.due(START_MS + number, number)
        sequencer.new_objects.clear()
    return sequencer


def deduplicator_of(identities: int) -> Deduplicator:
    """A deduplicator that remembers so many identities."""
    deduplicator = Deduplicator(window_ms=10**9, identities_max=identities)
    for number in range(identities):
        digest = hashlib.blake2b(str(number).encode(), digest_size=24).digest()
        deduplicator.remember(digest, START_MS + number)
    return deduplicator


def state_of(count: int, checkpoint: Checkpoint) -> Snapshot:
    """The state of a partition that remembers so many objects, and as many identities."""
    return msgspec.structs.replace(
        new_snapshot(checkpoint, "who had it before"),
        watermark_ms=START_MS + count,
        objects=sequencer_of(count).image(),
        identities=deduplicator_of(count).image(),
    )


def _resident() -> int:
    gc.collect()
    return int(_MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(what: str, count: str) -> None:
    """Fill a table and print how many bytes of memory that took."""
    make = {"objects": sequencer_of, "identities": deduplicator_of}[what]
    make(1_000)  # whatever is made once
    before = _resident()
    kept = make(int(count))
    sys.stdout.write(f"{_resident() - before}\n")
    assert len(kept) == int(count)


if __name__ == "__main__":
    main(*sys.argv[1:])
