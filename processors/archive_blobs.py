"""An archive in append blobs: one folder an hour, by the time at which events reached the hub.

Each blob has one writer, whose name has a part by chance, so that replicas never meet. A block holds whole
lines and is taken whole or not at all; it is appended only at the very place where the writer knows the end
to be, so a request that the client repeats adds nothing twice. After an error the blob is left as it is, and
another one begun.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError
from azure.eventhub.extensions.checkpointstoreblobaio._vendor.storage.blob import ContentSettings
from azure.eventhub.extensions.checkpointstoreblobaio._vendor.storage.blob.aio import (
    BlobClient,
    ContainerClient,
)

from consumer.errors import ProcessorSettingsError, StoreUnavailable
from consumer.events import Event
from consumer.processor import Retry
from processors.archive_lines import Line
from processors.archive_place import BlobPlace
from processors.identities import credential_of
from processors.secret_files import SecretFile

BLOCK_MAX_BYTES = 4 * 1024 * 1024
"""Of one append, for every version of the service."""
BLOCKS_MAX = 49_000
"""Blocks of one blob; the service takes 50,000."""
_HOURS_MAX = 100
"""Hours whose newest blob is remembered; an earlier one that comes again has another blob."""
_REQUEST_TIMEOUT_S = 10.0
_HOUR_MS = 3_600_000
_API_VERSION = "2019-07-07"  # every cloud, gateway and emulator speaks it
_OPTIONS: dict[str, Any] = {
    "api_version": _API_VERSION,
    "connection_timeout": _REQUEST_TIMEOUT_S / 2,
    "read_timeout": _REQUEST_TIMEOUT_S,
    "retry_total": 1,
    "initial_backoff": 1,
    "increment_base": 2,
}


class _OpenBlob:
    """A blob of this writer, and how far it is known to be good."""

    def __init__(self, client: BlobClient, opened_at_s: float) -> None:
        self.client = client
        self.opened_at_s = opened_at_s
        self.size = 0
        self.blocks = 0

    async def append(self, block: bytes) -> None:
        try:
            # As a stream: of bytes the HTTP client would send all at once, while nothing else runs.
            stream = io.BytesIO(block)
            await self.client.append_block(stream, length=len(block), appendpos_condition=self.size)
        except HttpResponseError as error:
            if _code(error) != "AppendPositionConditionNotMet":
                raise
            # Nobody else writes here: the client sent it again because the first answer was lost.
            found = await self.client.get_blob_properties()
            if found.size != self.size + len(block):
                raise
        self.size += len(block)
        self.blocks += 1


class _Hour:
    """The newest blob of an hour, and whose turn it is to append."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.blob: _OpenBlob | None = None


class BlobKeeper:
    """Keeps lines in a container."""

    def __init__(
        self,
        place: BlobPlace,
        *,
        rotate_bytes: int,
        rotate_s: float,
        compress: bool,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._place = place
        self._rotate_bytes = rotate_bytes
        self._rotate_s = rotate_s
        self._compress = compress
        self._now_s = now_s
        self._writer = secrets.token_hex(4)
        self._number = 0
        self._hours: dict[int, _Hour] = {}
        self._client: ContainerClient | None = None
        self._closing = AsyncExitStack()

    async def open(self) -> None:
        """Reach the container, and try whether blobs may be written; leaves nothing behind.

        Raises `ProcessorSettingsError` for settings that cannot work, `StoreUnavailable` if it does not
        answer or refuses us.
        """
        client: ContainerClient = await self._closing.enter_async_context(await self._new_client())
        self._client = client
        try:
            async with asyncio.timeout(2 * _REQUEST_TIMEOUT_S):
                if self._place.create_container:
                    await _make(client)
                await _probe(client)
        except (AzureError, OSError, TimeoutError) as error:
            await self.close()
            raise StoreUnavailable(
                f"blob: the archive cannot be written to {self._name}: {_said(error)}"
            ) from error

    async def keep(self, lines: Sequence[Line], kept: Callable[[Line], None]) -> None:
        """Append lines, those of an hour in order, and call `kept` for each that is durable.

        Raises `Retry`.
        """
        hours: dict[int, list[Line]] = {}
        for line in lines:
            hours.setdefault(line.event.enqueued_time_ms // _HOUR_MS, []).append(line)
        for number, each in hours.items():
            for part in _blocks(each):
                block = b"".join(line.text for line in part)
                if self._compress:
                    # A file of several packed pieces is a packed file.
                    block = await asyncio.to_thread(gzip.compress, block, 6)
                await self._append(number, block)
                for line in part:
                    kept(line)

    async def close(self) -> None:
        """Close the connections; what was written needs no end."""
        await self._closing.aclose()

    def folder_of(self, event: Event) -> str:
        """The folder in which an event is kept, with a slash behind it."""
        return self._folder(event.enqueued_time_ms // _HOUR_MS)

    @property
    def _name(self) -> str:
        return f"container {self._place.container}"

    def _folder(self, hour: int) -> str:
        prefix = self._place.prefix.strip("/")
        time_ = datetime.fromtimestamp(hour * _HOUR_MS / 1000, UTC)
        return f"{prefix}/{time_:%Y/%m/%d/%H}/".lstrip("/")

    async def _append(self, number: int, block: bytes) -> None:
        hour = self._hours.pop(number, None) or _Hour()
        self._hours[number] = hour  # at the end: the least used ones go first
        if len(self._hours) > _HOURS_MAX:
            del self._hours[next(iter(self._hours))]
        async with hour.turn:
            try:
                async with asyncio.timeout(2 * _REQUEST_TIMEOUT_S):
                    blob, hour.blob = hour.blob, None  # until it is known how it ended
                    if blob is None or self._is_full(blob, len(block)):
                        blob = await self._new_blob(number)
                    await blob.append(block)
                    hour.blob = blob
            except (AzureError, OSError, TimeoutError) as error:
                raise Retry(f"{self._name} does not take the archive: {_said(error)}") from error

    def _is_full(self, blob: _OpenBlob, coming: int) -> bool:
        age_s = self._now_s() - blob.opened_at_s
        is_old = not 0 <= age_s <= self._rotate_s
        return is_old or blob.size + coming > self._rotate_bytes or blob.blocks >= BLOCKS_MAX

    async def _new_blob(self, hour: int) -> _OpenBlob:
        assert self._client is not None
        self._number += 1
        now_s = self._now_s()
        ending, kind = (".jsonl.gz", "gzip") if self._compress else (".jsonl", "x-ndjson")
        stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        name = f"{self._folder(hour)}{stamp}-{self._writer}-{self._number:04d}{ending}"
        client = self._client.get_blob_client(name)
        await client.create_append_blob(
            content_settings=ContentSettings(content_type=f"application/{kind}"),
            match_condition=MatchConditions.IfMissing,
        )
        return _OpenBlob(client, now_s)

    async def _new_client(self) -> ContainerClient:
        place = self._place
        if place.account_url is not None:
            credential = await self._closing.enter_async_context(
                credential_of(place.credential, place.client_id)
            )
            return ContainerClient(place.account_url, place.container, credential=credential, **_OPTIONS)
        if place.connection_string_file is not None:
            text = SecretFile(place.connection_string_file, "blob.connection_string_file").read()
        else:
            assert place.connection_string is not None
            text = place.connection_string.get_secret_value()
        try:
            return ContainerClient.from_connection_string(text, place.container, **_OPTIONS)
        except ValueError:
            # What the client says may quote the string, and with it the key.
            raise ProcessorSettingsError("blob.connection_string: not one of a storage account") from None


def _blocks(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Lines in as few blocks as possible, with a little room for what packing may add."""
    part: list[Line] = []
    size = 0
    for line in lines:
        if part and size + len(line.text) > BLOCK_MAX_BYTES - 4_096:
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line.text)
    if part:
        yield part


async def _make(client: ContainerClient) -> None:
    try:
        await client.create_container()
    except ResourceExistsError as error:
        if _code(error) != "ContainerAlreadyExists":
            raise


async def _probe(client: ContainerClient) -> None:
    """Try a write that must fail, for it replaces a version that cannot exist: rights are checked first."""
    blob = client.get_blob_client("inturn-probe")
    try:
        await blob.create_append_blob(etag='"0x0"', match_condition=MatchConditions.IfNotModified)
    except HttpResponseError as error:
        if _code(error) not in {"ConditionNotMet", "TargetConditionNotMet", "BlobNotFound"}:
            raise


def _code(error: AzureError) -> str:
    code = getattr(error, "error_code", None)  # set by the storage client on every answer
    return str(getattr(code, "value", code) or "")


def _said(error: Exception) -> str:
    """One line for an operator: never the request, whose address may be signed."""
    code = _code(error) if isinstance(error, AzureError) else ""
    if code == "ContainerNotFound":
        return "the container does not exist; create it, or configure create_container"
    if isinstance(error, HttpResponseError) and error.status_code in {401, 403}:
        return f"access is refused ({code or error.status_code}); check the key, or the identity's role"
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        return f"the request failed ({error.status_code} {code})"
    return f"no answer ({type(error).__name__})"
