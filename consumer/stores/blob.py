"""Checkpoints and state in Azure Storage, in the very blobs that the SDK's checkpoint store uses.

A checkpoint is the blob ``<namespace>/<hub>/<group>/checkpoint/<partition>``, in lower case. Its metadata
hold ``offset`` and ``sequencenumber`` as every Event Hubs SDK and KEDA read them; its body holds the state.
One Put Blob writes both, under the condition that the blob is still the version we read. (Above 64 MiB the
client stages blocks first and commits them under the same condition, which is as atomic.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NoReturn

import structlog
from azure.core.exceptions import HttpResponseError
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore

from consumer.errors import CorruptState, FenceLost, StoreUnavailable
from consumer.events import Checkpoint, PartitionId
from consumer.stores import CopyKind, KeptState, StoredState
from consumer.stores.blob_checkpoint import checkpoint_in, metadata_of
from consumer.stores.blob_container import LISTING_TIMEOUT_S, WRITE_ID, BlobContainer, is_missing
from consumer.stores.blob_copies import BlobCopies
from consumer.stores.naming import CHECKPOINT, OWNERSHIP, blob_name, folded, group_prefix, refuse_update
from consumer.stores.ownership import Ownership, checkpoint_dict, claims_failed, partition_of

log = structlog.get_logger("inturn.stores")


class BlobStore(BlobCheckpointStore):
    """A checkpoint store for any number of machines; the SDK balances partitions with it, too."""

    def __init__(self, container: BlobContainer) -> None:
        super().__init__("", container.name, container_client=container.client)
        self._container = container
        self._copies = BlobCopies(container)

    async def load(self, partition: PartitionId) -> StoredState:
        """Read what is stored. Raises `StoreUnavailable`, `CorruptState`."""
        name = blob_name(partition, CHECKPOINT)
        async with self._container.call():
            try:
                download = await self._container.client.download_blob(name)
            except HttpResponseError as error:
                if not is_missing(error):
                    raise
                return StoredState(None, None, "")
            snapshot = await download.readall()
        found = download.properties
        checkpoint = checkpoint_in(found.metadata)
        if checkpoint is None:
            raise CorruptState(
                f"{self._container.place}: blob {name} has no readable offset and sequencenumber. Nothing "
                "was changed. Restore it, or delete it and use `inturn checkpoint rewind --to kept:1`."
            )
        is_ours = WRITE_ID in found.metadata
        return StoredState(checkpoint, snapshot if snapshot or is_ours else None, found.etag)

    async def save(self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, fence: str) -> str:
        """Replace the version `fence`; raises `FenceLost` if another one is stored, `StoreUnavailable`."""
        metadata = metadata_of(checkpoint)
        written = await self._container.put(blob_name(partition, CHECKPOINT), snapshot, metadata, fence)
        return written.etag

    async def is_current(self, partition: PartitionId, fence: str) -> bool:
        """Whether what is stored is still the version `fence`. Raises `StoreUnavailable`."""
        blob = self._container.client.get_blob_client(blob_name(partition, CHECKPOINT))
        async with self._container.call():
            try:
                found = await blob.get_blob_properties()
            except HttpResponseError as error:
                if not is_missing(error):
                    raise
                return not fence
        return bool(found.etag == fence)

    async def keep(
        self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, kind: CopyKind
    ) -> None:
        """Put a copy aside, out of sight of the SDK. Raises `StoreUnavailable`, `FenceLost`."""
        await self._copies.keep(partition, checkpoint, snapshot, kind)

    async def kept(self, partition: PartitionId) -> list[KeptState]:
        """All copies, newest first. Raises `StoreUnavailable`."""
        return await self._copies.kept(partition)

    async def partitions(self) -> list[tuple[PartitionId, Checkpoint]]:
        """Every stored checkpoint in the container, by partition."""
        found = []
        for prefix in await self._container.groups():
            found += await self._checkpoints(_group_named(prefix))
        return sorted(found)

    async def probe(self) -> None:
        """Raise `StoreUnavailable` unless the container can be read and written; leaves nothing behind."""
        await self._container.probe()

    async def close(self) -> None:
        """Close the connections."""
        await self._container.close()

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **kwargs: Any
    ) -> list[Ownership]:
        """Every ownership in a consumer group. Raises `StoreUnavailable`."""
        async with self._container.call():
            found = await super().list_ownership(
                fully_qualified_namespace, eventhub_name, consumer_group, **kwargs
            )
        # A listing answers None where an owner id is empty.
        return [ownership | {"owner_id": ownership["owner_id"] or ""} for ownership in found]

    async def claim_ownership(self, ownership_list: Iterable[Ownership], **_: Any) -> list[Ownership]:
        """Claim partitions; gives the claims that won, with their new version. Raises `StoreUnavailable`.

        The SDK's own would count an unexpected error as success, and would let several first claims win,
        because Set Blob Metadata does not heed ``If-None-Match: *``. Put Blob does.
        """
        claims = [dict(claim) for claim in ownership_list]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._claim(claim)) for claim in claims]
        answers = [task.result() for task in tasks]
        failures = [answer for answer in answers if isinstance(answer, StoreUnavailable)]
        if failures:
            # Those that won meanwhile are found as ours by the SDK's next turn.
            return claims_failed(claims, failures[0])
        return [answer for answer in answers if isinstance(answer, dict)]

    async def _claim(self, claim: Ownership) -> Ownership | StoreUnavailable | None:
        name = blob_name(partition_of(claim), OWNERSHIP)
        try:
            written = await self._container.put(
                name, b"", {"ownerid": claim["owner_id"]}, claim.get("etag") or ""
            )
        except FenceLost:
            return None
        except StoreUnavailable as error:
            return error
        return claim | {"etag": written.etag, "last_modified_time": written.last_modified.timestamp()}

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> list[dict[str, Any]]:
        """Every readable checkpoint of a consumer group, as the SDK reads it. Raises `StoreUnavailable`."""
        asked = PartitionId(fully_qualified_namespace, eventhub_name, consumer_group, "")
        return [checkpoint_dict(*found) for found in await self._checkpoints(asked)]

    async def _checkpoints(self, group: PartitionId) -> list[tuple[PartitionId, Checkpoint]]:
        prefix = group_prefix(*folded(group)[:3]) + CHECKPOINT + "/"
        found = []
        async with self._container.call(timeout_s=LISTING_TIMEOUT_S):
            blobs = self._container.client.list_blobs(name_starts_with=prefix, include=["metadata"])
            async for blob in blobs:
                checkpoint = checkpoint_in(blob.metadata)
                if checkpoint is None:
                    # load() refuses it; one damaged blob must not stop the balancing of all partitions.
                    log.warning("A checkpoint blob cannot be read and is left out.", blob=blob.name)
                else:
                    found.append((group._replace(partition=blob.name.removeprefix(prefix)), checkpoint))
        return found

    async def update_checkpoint(self, checkpoint: dict[str, Any], **_: Any) -> NoReturn:  # noqa: ARG002 - the SDK's form
        """Refuse the SDK's unconditional write."""
        refuse_update()


def _group_named(prefix: str) -> PartitionId:
    namespace, hub, group, _ = prefix.split("/")
    return PartitionId(namespace, hub, group, "")
