"""Checkpoints and state in one SQLite file: the default where no Azure Storage is configured.

Several processes of one machine share the file. A checkpoint and its state are one row, written by one
statement that compares the fence.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from azure.eventhub.aio import CheckpointStore as SdkCheckpointStore

from consumer.errors import FenceLost, StoreUnavailable
from consumer.events import Checkpoint, PartitionId
from consumer.stores import COPIES_MAX, CopyKind, KeptState, StoredState
from consumer.stores.naming import folded, refuse_update
from consumer.stores.ownership import Ownership, checkpoint_dict, claims_failed, names_of, partition_of
from consumer.stores.sqlite_file import BUSY_TIMEOUT_S, SqliteFile

_SELECT_STATE = """
SELECT sequence_number, offset, snapshot, fence FROM checkpoints
WHERE namespace = ? AND hub = ? AND consumer_group = ? AND partition = ?
"""
_SELECT_FENCE = """
SELECT fence FROM checkpoints
WHERE namespace = ? AND hub = ? AND consumer_group = ? AND partition = ?
"""
_INSERT_STATE = """
INSERT OR IGNORE INTO checkpoints
(sequence_number, offset, snapshot, fence, namespace, hub, consumer_group, partition)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_REPLACE_STATE = """
UPDATE checkpoints SET sequence_number = ?, offset = ?, snapshot = ?, fence = ?
WHERE namespace = ? AND hub = ? AND consumer_group = ? AND partition = ? AND fence = ?
"""
_SELECT_CHECKPOINTS = """
SELECT namespace, hub, consumer_group, partition, sequence_number, offset FROM checkpoints
ORDER BY namespace, hub, consumer_group, partition
"""
_INSERT_COPY = """
INSERT INTO kept_states
(kind, kept_at_ms, sequence_number, offset, snapshot, namespace, hub, consumer_group, partition)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_DELETE_OLD_COPIES = """
DELETE FROM kept_states WHERE id IN (
    SELECT id FROM kept_states
    WHERE kind = ? AND namespace = ? AND hub = ? AND consumer_group = ? AND partition = ?
    ORDER BY id DESC LIMIT -1 OFFSET ?
)
"""
_SELECT_COPIES = """
SELECT kind, sequence_number, offset, snapshot, kept_at_ms FROM kept_states
WHERE namespace = ? AND hub = ? AND consumer_group = ? AND partition = ?
ORDER BY id DESC
"""
_SELECT_OWNERSHIPS = """
SELECT partition, owner_id, etag, last_modified_time FROM ownerships
WHERE namespace = ? AND hub = ? AND consumer_group = ?
"""
_INSERT_OWNERSHIP = """
INSERT OR IGNORE INTO ownerships
(owner_id, etag, last_modified_time, namespace, hub, consumer_group, partition)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_REPLACE_OWNERSHIP = """
UPDATE ownerships SET owner_id = ?, etag = ?, last_modified_time = ?
WHERE namespace = ? AND hub = ? AND consumer_group = ? AND partition = ? AND etag = ?
"""


class SqliteStore(SdkCheckpointStore):
    """A checkpoint store in a file on a local disk; its folder is made when missing."""

    def __init__(
        self,
        *,
        path: Path,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives seconds since 1970; it stamps ownerships, for all processes of the machine."""
        self._file = SqliteFile(path, busy_timeout_s=busy_timeout_s)
        self._clock = clock

    async def load(self, partition: PartitionId) -> StoredState:
        """Read what is stored."""

        def select(connection: sqlite3.Connection) -> StoredState:
            row = connection.execute(_SELECT_STATE, folded(partition)).fetchone()
            return (
                StoredState(Checkpoint(row[0], row[1]), row[2], row[3])
                if row
                else StoredState(None, None, "")
            )

        return await self._file.read(select)

    async def save(self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, fence: str) -> str:
        """Replace the version `fence`; raises `FenceLost` if another one is stored."""
        # Random, not counted: a file that was deleted and made anew must not honour an old fence.
        new_fence = uuid.uuid4().hex
        values = (*checkpoint, snapshot, new_fence, *folded(partition))

        def write(connection: sqlite3.Connection) -> None:
            if fence:
                done = connection.execute(_REPLACE_STATE, (*values, fence))
            else:
                done = connection.execute(_INSERT_STATE, values)
            if not done.rowcount:
                raise FenceLost(f"Partition {partition.partition}: another version is stored.")

        await self._file.transact(write)
        return new_fence

    async def is_current(self, partition: PartitionId, fence: str) -> bool:
        """Whether what is stored is still the version `fence`."""

        def select(connection: sqlite3.Connection) -> bool:
            row = connection.execute(_SELECT_FENCE, folded(partition)).fetchone()
            return (row[0] if row else "") == fence

        return await self._file.read(select)

    async def keep(
        self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, kind: CopyKind
    ) -> None:
        """Put a copy aside, in place of the oldest of its kind once there are enough."""
        name = folded(partition)
        kept_at_ms = int(self._clock() * 1_000)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_INSERT_COPY, (kind.value, kept_at_ms, *checkpoint, snapshot, *name))
            connection.execute(_DELETE_OLD_COPIES, (kind.value, *name, COPIES_MAX[kind]))

        await self._file.transact(write)

    async def kept(self, partition: PartitionId) -> list[KeptState]:
        """All copies, newest first."""

        def select(connection: sqlite3.Connection) -> list[KeptState]:
            rows = connection.execute(_SELECT_COPIES, folded(partition))
            known = set(CopyKind)  # a later version may keep other kinds as well
            return [
                KeptState(CopyKind(kind), Checkpoint(number, offset), snapshot, kept_at_ms)
                for kind, number, offset, snapshot, kept_at_ms in rows
                if kind in known
            ]

        return await self._file.read(select)

    async def partitions(self) -> list[tuple[PartitionId, Checkpoint]]:
        """Every stored checkpoint, by partition."""

        def select(connection: sqlite3.Connection) -> list[tuple[PartitionId, Checkpoint]]:
            rows = connection.execute(_SELECT_CHECKPOINTS)
            return [(PartitionId(*row[:4]), Checkpoint(*row[4:])) for row in rows]

        return await self._file.read(select)

    async def probe(self) -> None:
        """Raise `StoreUnavailable` or `CorruptState` unless the file can be written; makes a missing one."""
        await self._file.probe()

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> list[Ownership]:
        """Every ownership in a consumer group."""
        asked = PartitionId(fully_qualified_namespace, eventhub_name, consumer_group, "")

        def select(connection: sqlite3.Connection) -> list[Ownership]:
            rows = connection.execute(_SELECT_OWNERSHIPS, folded(asked)[:3])
            return [
                names_of(asked._replace(partition=partition))
                | {"owner_id": owner_id, "etag": etag, "last_modified_time": last_modified_time}
                for partition, owner_id, etag, last_modified_time in rows
            ]

        return await self._file.read(select)

    async def claim_ownership(self, ownership_list: Iterable[Ownership], **_: Any) -> list[Ownership]:
        """Claim partitions; gives the claims that won, with their new version. Raises `StoreUnavailable`."""
        claims = [dict(claim) for claim in ownership_list]

        def claim_all(connection: sqlite3.Connection) -> list[Ownership]:
            return [won for claim in claims if (won := self._claim(connection, claim))]

        try:
            return await self._file.transact(claim_all)
        except StoreUnavailable as error:
            return claims_failed(claims, error)

    def _claim(self, connection: sqlite3.Connection, claim: Ownership) -> Ownership | None:
        won = claim | {"etag": uuid.uuid4().hex, "last_modified_time": self._clock()}
        values = (won["owner_id"], won["etag"], won["last_modified_time"], *folded(partition_of(claim)))
        if claim.get("etag"):
            done = connection.execute(_REPLACE_OWNERSHIP, (*values, claim["etag"]))
        else:
            done = connection.execute(_INSERT_OWNERSHIP, values)
        return won if done.rowcount else None

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> list[dict[str, Any]]:
        """Every checkpoint of a consumer group, as the SDK reads it."""
        asked = PartitionId(fully_qualified_namespace, eventhub_name, consumer_group, "")
        return [
            checkpoint_dict(asked._replace(partition=stored.partition), checkpoint)
            for stored, checkpoint in await self.partitions()
            if stored[:3] == folded(asked)[:3]
        ]

    async def update_checkpoint(self, checkpoint: dict[str, Any], **_: Any) -> NoReturn:  # noqa: ARG002 - the SDK's form
        """Refuse the SDK's unconditional write."""
        refuse_update()
