"""Copies of a partition's state in Azure Storage: ``<namespace>/<hub>/<group>/inturn/<partition>/<slot>``.

They lie beside the checkpoints and never among them, since every blob below ``checkpoint/`` counts as a
partition to the SDKs and to KEDA. Each kind of copy has a fixed number of slots; a new copy goes into an
empty one, else over the oldest, and under the condition that this is still the one we saw.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from azure.core.exceptions import HttpResponseError

from consumer.events import Checkpoint, PartitionId
from consumer.stores import COPIES_MAX, CopyKind, KeptState
from consumer.stores.blob_checkpoint import checkpoint_in, metadata_of
from consumer.stores.blob_container import LISTING_TIMEOUT_S, BlobContainer, is_missing
from consumer.stores.naming import COPIES, blob_name

_KEPT_AT = "inturnkeptat"

_log = structlog.get_logger("inturn.stores")


class _Slot(NamedTuple):
    """A copy as a listing tells of it. The storage's clock has whole seconds and is one for all machines."""

    modified: datetime
    kept_at_ms: int
    name: str
    etag: str


class BlobCopies:
    """The copies in a container."""

    def __init__(self, container: BlobContainer) -> None:
        self._container = container

    async def keep(
        self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, kind: CopyKind
    ) -> None:
        """Put a copy aside. Raises `StoreUnavailable`, and `FenceLost` if somebody else does so just now."""
        prefix = _prefix(partition)
        taken = {slot.name.removeprefix(prefix): slot for slot in await self._slots(prefix)}
        names = [f"{kind}-{number}" for number in range(1, COPIES_MAX[kind] + 1)]
        empty = [name for name in names if name not in taken]
        name = empty[0] if empty else min(names, key=lambda name: taken[name])
        metadata = {**metadata_of(checkpoint), _KEPT_AT: str(time.time_ns() // 1_000_000)}
        await self._container.put(prefix + name, snapshot, metadata, "" if empty else taken[name].etag)

    async def kept(self, partition: PartitionId) -> list[KeptState]:
        """All copies, newest first. Raises `StoreUnavailable`."""
        slots = sorted(await self._slots(_prefix(partition)), reverse=True)
        found = [await self._read(slot) for slot in slots]
        return [copy for copy in found if copy is not None]

    async def _slots(self, prefix: str) -> list[_Slot]:
        found = []
        async with self._container.call(timeout_s=LISTING_TIMEOUT_S):
            async for blob in self._container.client.list_blobs(
                name_starts_with=prefix, include=["metadata"]
            ):
                # A listing gives the ETag bare; a condition wants it in quotes.
                etag = f'"{blob.etag.strip(chr(34))}"'
                found.append(_Slot(blob.last_modified, _kept_at_ms(blob), blob.name, etag))
        return found

    async def _read(self, slot: _Slot) -> KeptState | None:
        async with self._container.call():
            try:
                download = await self._container.client.download_blob(slot.name)
            except HttpResponseError as error:
                if not is_missing(error):
                    raise
                return None  # removed since it was listed
            snapshot = await download.readall()
        found = download.properties
        checkpoint = checkpoint_in(found.metadata)
        kind = slot.name.rpartition("/")[2].rpartition("-")[0]
        if checkpoint is None or kind not in set(CopyKind):
            _log.warning("A kept state cannot be read and is left out.", blob=slot.name)
            return None
        return KeptState(CopyKind(kind), checkpoint, snapshot, _kept_at_ms(found))


def _prefix(partition: PartitionId) -> str:
    return blob_name(partition, COPIES) + "/"


def _kept_at_ms(properties: Any) -> int:
    told = (properties.metadata or {}).get(_KEPT_AT, "")
    return int(told) if told.isdecimal() else int(properties.last_modified.timestamp() * 1_000)
