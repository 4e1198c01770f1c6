"""Where checkpoints, state and dead letters are kept: the contracts, and one file for each technology."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from consumer.events import Checkpoint, DeadLetter, PartitionId
from consumer.stores.letter_filter import LetterFilter as LetterFilter


class StoredState(msgspec.Struct, frozen=True):
    """What a store holds for a partition."""

    checkpoint: Checkpoint | None
    """None if nothing was ever stored."""
    snapshot: bytes | None
    """The state that belongs to the checkpoint; None if another client wrote the checkpoint alone.

    Empty bytes are not None: that is a state of ours which was lost.
    """
    fence: str
    """Names this very version; "" if nothing was ever stored. Opaque."""


class CopyKind(StrEnum):
    """Why a copy of a partition's state was put aside, and with it how many of the kind stay."""

    GOOD = "good"
    """Known to be readable and to have been stored; a damaged state is replaced by one of these."""
    BACKUP = "backup"
    """What was stored before an operator moved the checkpoint."""
    DAMAGED = "damaged"
    """What could not be read, before it was replaced."""


COPIES_MAX = {CopyKind.GOOD: 3, CopyKind.BACKUP: 1, CopyKind.DAMAGED: 1}
"""Copies of a kind that stay, per partition; another one takes the place of the oldest."""


class KeptState(msgspec.Struct, frozen=True):
    """A copy of what was stored for a partition."""

    kind: CopyKind
    checkpoint: Checkpoint
    snapshot: bytes
    """Empty if the checkpoint had no state beside it."""
    kept_at_ms: int
    """Processing time, milliseconds since 1970."""


class CheckpointStore(Protocol):
    """Stores the checkpoint of a partition and the state that belongs to it, in one conditional write."""

    async def load(self, partition: PartitionId) -> StoredState:
        """Read what is stored. Raises `StoreUnavailable`, `CorruptState`."""

    async def save(self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, fence: str) -> str:
        """Replace what is stored, if it is still the version `fence`; gives the fence of the new version.

        All or nothing, durable on return. Raises `FenceLost` if another version is stored (then nothing
        was written), `StoreUnavailable` if the result is unknown or nothing was written: the caller
        loads and compares before it writes again.
        """

    async def is_current(self, partition: PartitionId, fence: str) -> bool:
        """Whether what is stored is still the version `fence`; reads no state. Raises `StoreUnavailable`."""

    async def keep(
        self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, kind: CopyKind
    ) -> None:
        """Put a copy aside, durably; once there are `COPIES_MAX`, in place of the oldest of its kind.

        What `load` gives is not touched. Raises `StoreUnavailable`, and `FenceLost` if another process
        puts one aside at this very moment.
        """

    async def kept(self, partition: PartitionId) -> list[KeptState]:
        """All copies, newest first. Raises `StoreUnavailable`, `CorruptState`."""

    async def close(self) -> None:
        """Let go of connections and files."""


class InspectableStore(CheckpointStore, Protocol):
    """A checkpoint store that can be looked at from outside; all of ours can."""

    async def partitions(self) -> list[tuple[PartitionId, Checkpoint]]:
        """Every stored checkpoint, names in lower case. Raises `StoreUnavailable`."""

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **options: Any
    ) -> list[dict[str, Any]]:
        """Who has which partition of a group; see `consumer.stores.ownership`. Raises `StoreUnavailable`."""

    async def probe(self) -> None:
        """Raise `StoreUnavailable` unless the store can be read and written; leaves nothing behind."""


COUNTED_MAX = 50_000
"""Letters that are counted at most: in blobs, counting is a listing, of ten requests then."""


class DeadLetterStore(Protocol):
    """Keeps dead letters until somebody looks at them."""

    is_indexed: bool
    """Whether `count` and `holds` are cheap enough to be asked every few seconds by every replica."""

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters durably; one with a key that is there already changes nothing.

        Raises `StoreUnavailable`; then any part of `letters` may have been kept, and all are put again.
        """

    async def replace(self, letter: DeadLetter) -> bool:
        """Write a letter anew that is there under its key; False, and nothing is written, if it is not.

        Its age and its place among the others stay. Raises `StoreUnavailable`.
        """

    def letters(self, *, limit: int = 1_000, where: LetterFilter | None = None) -> AsyncIterator[DeadLetter]:
        """The letters that are meant (None: all), oldest first. Raises `StoreUnavailable`."""

    async def count(self, where: LetterFilter | None = None) -> int:
        """How many letters are meant; `COUNTED_MAX` means so many or more. Raises `StoreUnavailable`."""

    async def remove(self, letters: Sequence[DeadLetter]) -> int:
        """Forget letters; gives how many were there. Raises `StoreUnavailable`."""

    async def holds(self, partition: PartitionId, processor: str, topic: str, object_path: str) -> bool:
        """Whether there is a letter of a processor and an object, from any partition of the consumer group.

        Answers what is stored, in one small request, unless the store is not `is_indexed`. Letters that were
        put aside before their object was written down are not found. Raises `StoreUnavailable`.
        """

    async def claim(self, owner: str, lasts_s: int) -> bool:
        """Take, or renew, the one right to redrive what is in the store, for 15 to 60 seconds.

        `owner` is a UUID. False: another has it. A store that cannot keep anybody from it says True to all,
        which only one that is not `is_indexed` may. Raises `StoreUnavailable`.
        """

    async def release(self, owner: str) -> None:
        """Give the right to redrive back, if `owner` has it. Raises `StoreUnavailable`."""

    async def probe(self) -> None:
        """Raise `StoreUnavailable` unless the store can be reached."""

    async def close(self) -> None:
        """Let go of connections and files."""
