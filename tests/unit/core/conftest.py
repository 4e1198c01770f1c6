"""Bodies, batches and decoding for the core's tests."""

from __future__ import annotations

import json
from typing import Any

from consumer.core.catalogue import Catalogue
from consumer.core.decode import Rejection, decode
from consumer.events import Event, RawBatch

STORAGE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a"
ML = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"


def grid_event(**changes: Any) -> dict[str, Any]:
    """An Event Grid event; a change to None leaves the field out."""
    known = {
        "id": "1",
        "topic": STORAGE,
        "subject": "/blobServices/default/containers/c/blobs/b",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-11-21T06:00:00.1234567Z",
        "data": {"api": "PutBlob"},
        "dataVersion": "",
        "metadataVersion": "1",
    } | changes
    return {key: value for key, value in known.items() if value is not None}


def cloud_event(**changes: Any) -> dict[str, Any]:
    """A CloudEvents event; a change to None leaves the field out."""
    known = {
        "specversion": "1.0",
        "id": "1",
        "source": STORAGE,
        "subject": "/blobServices/default/containers/c/blobs/b",
        "type": "Microsoft.Storage.BlobCreated",
        "time": "2026-11-21T06:00:00.1234567Z",
        "data": {"api": "PutBlob"},
    } | changes
    return {key: value for key, value in known.items() if value is not None}


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def as_batch(*bodies: bytes, time_ms: int = 1_000, first: int = 0, key: str | None = "key") -> RawBatch:
    numbers = list(range(first, first + len(bodies)))
    offsets = [str(number) for number in numbers]
    times = [time_ms] * len(bodies)
    return RawBatch("0", list(bodies), numbers, offsets, times, [key] * len(bodies), lambda _: {})


def decoded(body: bytes) -> list[Event | Rejection]:
    return decode(as_batch(body), 0, Catalogue())


def one(body: bytes) -> Event:
    """The only event of a body that has to be fine."""
    (entry,) = decoded(body)
    assert isinstance(entry, Event), entry
    return entry
