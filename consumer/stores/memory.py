"""Checkpoints, state and dead letters in memory: for tests, dry runs and replays. Gone with the process."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, NoReturn

from azure.eventhub.aio import CheckpointStore as SdkCheckpointStore

from consumer.errors import FenceLost
from consumer.events import Checkpoint, DeadLetter, PartitionId
from consumer.stores import COPIES_MAX, COUNTED_MAX, CopyKind, KeptState, LetterFilter, StoredState
from consumer.stores.dead_letter_record import Scope, order_of, scope_of
from consumer.stores.letter_filter import Line, line_in, line_of
from consumer.stores.naming import folded, refuse_update
from consumer.stores.ownership import Ownership, checkpoint_dict, names_of, partition_of

_NOTHING = StoredState(None, None, "")


class MemoryStore(SdkCheckpointStore):
    """A checkpoint store that several engines of one process can share."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        """Seconds since 1970."""
        self._states: dict[PartitionId, StoredState] = {}
        self._copies: dict[PartitionId, list[KeptState]] = {}
        self._ownerships: dict[PartitionId, Ownership] = {}

    async def load(self, partition: PartitionId) -> StoredState:
        """Read what is stored."""
        return self._states.get(folded(partition), _NOTHING)

    async def save(self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, fence: str) -> str:
        """Replace the version `fence`; raises `FenceLost` if another one is stored."""
        key = folded(partition)
        if self._states.get(key, _NOTHING).fence != fence:
            raise FenceLost(f"Partition {partition.partition}: another version is stored.")
        written = StoredState(checkpoint, bytes(snapshot), uuid.uuid4().hex)
        self._states[key] = written
        return written.fence

    async def is_current(self, partition: PartitionId, fence: str) -> bool:
        """Whether what is stored is still the version `fence`."""
        return self._states.get(folded(partition), _NOTHING).fence == fence

    async def keep(
        self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, kind: CopyKind
    ) -> None:
        """Put a copy aside, in place of the oldest of its kind once there are enough."""
        copies = self._copies.setdefault(folded(partition), [])
        copies.insert(0, KeptState(kind, checkpoint, bytes(snapshot), int(self._clock() * 1_000)))
        for surplus in [copy for copy in copies if copy.kind is kind][COPIES_MAX[kind] :]:
            copies.remove(surplus)

    async def kept(self, partition: PartitionId) -> list[KeptState]:
        """All copies, newest first."""
        return list(self._copies.get(folded(partition), ()))

    async def partitions(self) -> list[tuple[PartitionId, Checkpoint]]:
        """Every stored checkpoint, by partition."""
        return sorted((key, state.checkpoint) for key, state in self._states.items() if state.checkpoint)

    async def probe(self) -> None:
        """Memory can always be written."""

    async def close(self) -> None:
        """Nothing to let go of: what is stored stays for the next engine."""

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> list[Ownership]:
        """Every ownership in a consumer group."""
        asked = PartitionId(fully_qualified_namespace, eventhub_name, consumer_group, "")
        return [
            ownership | names_of(asked._replace(partition=key.partition))
            for key, ownership in self._ownerships.items()
            if key[:3] == folded(asked)[:3]
        ]

    async def claim_ownership(self, ownership_list: Iterable[Ownership], **_: Any) -> list[Ownership]:
        """Claim partitions; gives the claims that won, with their new version."""
        won = []
        for claim in ownership_list:
            key = folded(partition_of(claim))
            if self._ownerships.get(key, {}).get("etag") == (claim.get("etag") or None):
                stored = claim | {"etag": uuid.uuid4().hex, "last_modified_time": self._clock()}
                self._ownerships[key] = stored
                won.append(dict(stored))
        return won

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> list[dict[str, Any]]:
        """Every checkpoint of a consumer group, as the SDK reads it."""
        asked = PartitionId(fully_qualified_namespace, eventhub_name, consumer_group, "")
        return [
            checkpoint_dict(asked._replace(partition=key.partition), checkpoint)
            for key, checkpoint in await self.partitions()
            if key[:3] == folded(asked)[:3]
        ]

    async def update_checkpoint(self, checkpoint: dict[str, Any], **_: Any) -> NoReturn:  # noqa: ARG002 - the SDK's form
        """Refuse the SDK's unconditional write."""
        refuse_update()


class MemoryDeadLetters:
    """Dead letters of this process."""

    is_indexed = True

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        """Seconds since 1970."""
        self._letters: dict[Scope, DeadLetter] = {}
        self._lines: Counter[Line] = Counter()
        self._claim = ("", 0.0)
        """Who may redrive, and until when."""

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters; one that is there already changes nothing."""
        for letter in letters:
            if scope_of(letter) not in self._letters:
                self._set(letter)

    async def replace(self, letter: DeadLetter) -> bool:
        """Write a letter anew that is there."""
        kept = self._letters.get(scope_of(letter))
        if kept is None:
            return False
        self._leave_line(kept)
        self._set(letter)
        return True

    async def letters(
        self, *, limit: int = 1_000, where: LetterFilter | None = None
    ) -> AsyncIterator[DeadLetter]:
        """The letters that are meant, oldest first."""
        meant = (letter for letter in self._letters.values() if where is None or where.matches(letter))
        for letter in sorted(meant, key=order_of)[:limit]:
            yield letter

    async def count(self, where: LetterFilter | None = None) -> int:
        """How many letters are meant."""
        meant = sum(where is None or where.matches(letter) for letter in self._letters.values())
        return min(meant, COUNTED_MAX)

    async def remove(self, letters: Sequence[DeadLetter]) -> int:
        """Forget letters; gives how many were there."""
        return sum(map(self._drop, letters))

    async def holds(self, partition: PartitionId, processor: str, topic: str, object_path: str) -> bool:
        """Whether there is a letter of a processor and an object."""
        return self._lines[line_in(partition, processor, topic, object_path)] > 0

    async def claim(self, owner: str, lasts_s: int) -> bool:
        """Take, or renew, the right to redrive."""
        if self._claim[0] not in {"", owner} and self._clock() < self._claim[1]:
            return False
        self._claim = (owner, self._clock() + lasts_s)
        return True

    async def release(self, owner: str) -> None:
        """Give the right to redrive back."""
        if self._claim[0] == owner:
            self._claim = ("", 0.0)

    async def probe(self) -> None:
        """Memory can always be written."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def _set(self, letter: DeadLetter) -> None:
        self._letters[scope_of(letter)] = letter
        line = line_of(letter)
        if line is not None:
            self._lines[line] += 1

    def _drop(self, letter: DeadLetter) -> bool:
        kept = self._letters.pop(scope_of(letter), None)
        if kept is not None:
            self._leave_line(kept)
        return kept is not None

    def _leave_line(self, letter: DeadLetter) -> None:
        line = line_of(letter)
        if line is not None:
            self._lines[line] -= 1
            if not self._lines[line]:
                del self._lines[line]
