"""The events that a storage account raises about blobs: the ones with a sequencer, and some with an etag."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from consumer.samples.events import Element, Stamp, envelope

PREFIX = "Microsoft.Storage."
TYPES = tuple(PREFIX + name for name in ("BlobCreated", "BlobDeleted", "BlobRenamed", "BlobTierChanged"))


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob, as far as its events name it."""

    account: str
    """The account's name, not its resource id."""
    container: str
    name: str
    content_type: str = "application/octet-stream"

    @property
    def subject(self) -> str:
        """What its events are about."""
        return f"/blobServices/default/containers/{self.container}/blobs/{self.name}"

    @property
    def url(self) -> str:
        """Where it is. Captured ones are not percent-encoded."""
        return f"https://{self.account}.blob.core.windows.net/{self.container}/{self.name}"


@dataclass(frozen=True, slots=True)
class Change:
    """What the storage service notes about one operation."""

    sequencer: str
    request_id: str
    client_request_id: str
    batch_id: str
    etag: str = ""
    """Bare, like ``0x8DE1A2B3C4D5E6F``; deletions, renames and tier changes have none."""
    length: int = 0
    """Bytes."""


def sequencer(count: int, *, account: int = 0x01EA0B, is_lower: bool = False) -> str:
    """48 hexadecimal digits in three parts: the last one rises, the others belong to the account.

    Most accounts write upper case in the middle and lower case at the end; data lakes only lower case.
    """
    text = f"{0:016X}{account:016X}{count:016x}"
    return text.lower() if is_lower else text


def draw_etag(rng: random.Random) -> str:
    """Draw an etag, bare."""
    return f"0x8DE{rng.getrandbits(48):012X}"


def blob_created(stamp: Stamp, blob: Blob, change: Change, *, api: str = "PutBlob") -> Element:
    """A blob was created or replaced."""
    quoted = f'"{change.etag}"' if stamp.style.is_etag_quoted else change.etag
    return _blob_event(stamp, "BlobCreated", blob, change, {"api": api, "eTag": quoted})


def blob_deleted(stamp: Stamp, blob: Blob, change: Change) -> Element:
    """A blob was deleted."""
    return _blob_event(stamp, "BlobDeleted", blob, change, {"api": "DeleteBlob"})


def blob_tier_changed(stamp: Stamp, blob: Blob, change: Change) -> Element:
    """A blob was moved to another access tier."""
    return _blob_event(stamp, "BlobTierChanged", blob, change, {"api": "SetBlobTier"})


def blob_renamed(stamp: Stamp, blob: Blob, change: Change, *, old_name: str) -> Element:
    """A blob got this name; the event has no url but two."""
    data = {
        "api": "RenameFile",
        "requestId": change.request_id,
        "destinationUrl": blob.url,
        "sourceUrl": blob.url.removesuffix(blob.name) + old_name,
        "sequencer": change.sequencer,
        "storageDiagnostics": {"batchId": change.batch_id},
    }
    return envelope(stamp, f"{PREFIX}BlobRenamed", blob.subject, data)


def directory_created(stamp: Stamp, blob: Blob, change: Change) -> Element:
    """A directory was created; nobody asked for it in the trace."""
    return _blob_event(stamp, "DirectoryCreated", blob, change, {"api": "CreateDirectory"})


def _blob_event(stamp: Stamp, name: str, blob: Blob, change: Change, first: dict[str, Any]) -> Element:
    data = first | {
        "clientRequestId": change.client_request_id,
        "requestId": change.request_id,
        "contentType": blob.content_type,
        "contentLength": change.length,
        "blobType": "BlockBlob",
        "url": blob.url,
        "sequencer": change.sequencer,
        "storageDiagnostics": {"batchId": change.batch_id},
    }
    return envelope(stamp, f"{PREFIX}{name}", blob.subject, data)
