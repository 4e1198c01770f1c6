"""One container in Azure Storage: how to reach it, to write a blob under a condition, to read its errors.

It uses the storage client that the checkpoint store's package carries, so nothing else has to be installed.

A conditional write is sent once. Sending it again without looking could be refused by its own first success,
whose answer was lost; and the HTTP client below does send a PUT once more by itself when the connection
breaks. Every write therefore carries an id of its own in the blob's metadata, and a refused one looks whether
it was itself that got through.
"""

from __future__ import annotations

import asyncio
import io
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from azure.core import MatchConditions
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.eventhub.extensions.checkpointstoreblobaio._vendor.storage.blob.aio import ContainerClient

from consumer.errors import ConfigurationError, FenceLost, StoreUnavailable

REQUEST_TIMEOUT_S = 10.0
"""How long one request may take; shorter than the time after which an owner without writes gives up."""
LISTING_TIMEOUT_S = 120.0
"""How long a listing may take, all its pages together."""
_READ_RETRIES_MAX = 1
_BODY_AT_ONCE_MAX_BYTES = 1_048_576
_API_VERSION = "2019-07-07"  # the checkpoint store's own: every cloud, gateway and emulator speaks it
WRITE_ID = "inturnwrite"
"""Metadata of every blob that inturn wrote."""
_NAME = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_REFUSED = {
    "ConditionNotMet",
    "TargetConditionNotMet",
    "BlobAlreadyExists",
    "BlobNotFound",
    "ResourceNotFound",
}


class Written(NamedTuple):
    """What a write made."""

    etag: str
    last_modified: datetime


class BlobContainer:
    """A container, opened at the first call. It belongs to one store, which closes it."""

    def __init__(
        self,
        name: str,
        *,
        connection_string: str | None = None,
        connection_string_file: Path | None = None,
        account_url: str | None = None,
        credential: AsyncTokenCredential | None = None,
        create_container: bool = False,
        ca_file: Path | None = None,
    ) -> None:
        """Say how to reach the container; raises `ConfigurationError`.

        Give exactly one of `connection_string`, `connection_string_file` and `account_url`. An account URL
        needs a `credential`, which its maker closes, or carries a shared access signature. `ca_file` holds
        certificates to trust instead of the usual ones.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"container: {name!r} cannot be a container's name: 3 to 63 lower-case letters, digits and "
                "single dashes, beginning and ending with a letter or digit."
            )
        given = [connection_string, connection_string_file, account_url]
        if sum(way is not None for way in given) != 1:
            raise ConfigurationError(
                "Give exactly one of connection_string, connection_string_file and account_url."
            )
        if connection_string_file is not None:
            connection_string = _read_secret(connection_string_file)
        options = _options(ca_file)
        if connection_string is not None:
            self.client = _client_from_connection_string(connection_string, name, options)
        else:
            self.client = _client_from_url(account_url or "", name, credential, options)
        self.name = name
        address = urlsplit(self.client.url)
        self.place = f"Container {name!r} at {address.netloc}{address.path.removesuffix('/' + name)}"
        """How log lines name it: never with a signature."""
        self._to_create = create_container
        self._creating = asyncio.Lock()
        self._closed = False

    @asynccontextmanager
    async def call(
        self, *, timeout_s: float = REQUEST_TIMEOUT_S * (_READ_RETRIES_MAX + 1)
    ) -> AsyncIterator[None]:
        """Around every use of `client`: creates the container if told to, and names errors."""
        if self._closed:
            raise StoreUnavailable(f"{self.place}: the store is closed.")
        try:
            async with asyncio.timeout(timeout_s):
                if self._to_create:
                    await self._create()
                yield
        except TimeoutError as error:
            raise StoreUnavailable(f"{self.place}: no answer within {timeout_s:g} s.") from error
        except AzureError as error:
            raise StoreUnavailable(f"{self.place}: {_meaning(error)}") from error

    async def _create(self) -> None:
        async with self._creating:
            if self._to_create:
                try:
                    await self.client.create_container()
                except ResourceExistsError as error:
                    if _code(error) != "ContainerAlreadyExists":
                        raise
                self._to_create = False

    async def put(self, name: str, body: bytes, metadata: dict[str, str], fence: str) -> Written:
        """Write a whole blob if its ETag is still `fence`; an empty fence: if there is none yet.

        Raises `FenceLost` if it is another version; `StoreUnavailable` if nothing was written, or nobody
        knows.
        """
        write_id = uuid.uuid4().hex
        condition = (
            {"etag": fence, "match_condition": MatchConditions.IfNotModified}
            if fence
            else {"match_condition": MatchConditions.IfMissing}
        )
        blob = self.client.get_blob_client(name)
        async with self.call(timeout_s=REQUEST_TIMEOUT_S):
            try:
                answer = await blob.upload_blob(
                    body,
                    overwrite=True,
                    metadata={**metadata, WRITE_ID: write_id},
                    retry_total=0,
                    **condition,
                )
            except HttpResponseError as error:
                if _code(error) not in _REFUSED:
                    raise
            else:
                return Written(answer["etag"], answer["last_modified"])
        return await self._own_write(name, write_id)

    async def _own_write(self, name: str, write_id: str) -> Written:
        """After a refusal: what is there, if it is this very write that is there; else `FenceLost`."""
        async with self.call(timeout_s=REQUEST_TIMEOUT_S):
            try:
                found = await self.client.get_blob_client(name).get_blob_properties()
            except HttpResponseError as error:
                if not is_missing(error):
                    raise
            else:
                if (found.metadata or {}).get(WRITE_ID) == write_id:
                    return Written(found.etag, found.last_modified)
        raise FenceLost(f"{self.place}: another version of {name} is stored.")

    async def groups(self) -> list[str]:
        """The start of the blob names of every consumer group, with its slash; lists folders, not blobs."""
        prefixes = [""]
        for _ in ("namespace", "hub", "group"):
            deeper: list[str] = []
            for prefix in prefixes:
                async with self.call(timeout_s=LISTING_TIMEOUT_S):
                    found = self.client.walk_blobs(name_starts_with=prefix or None, delimiter="/")
                    deeper += [item.name async for item in found if item.name.endswith("/")]
            prefixes = deeper
        return prefixes

    async def probe(self) -> None:
        """Raise `StoreUnavailable` unless the container can be listed and written; leaves nothing behind.

        The write is one that must fail: it replaces a version that cannot exist. Rights are checked first.
        """
        async with self.call():
            async for _ in self.client.list_blob_names(results_per_page=1):
                break
        try:
            await self.put("inturn-probe", b"", {}, '"0x0"')
        except FenceLost:
            return

    async def close(self) -> None:
        """Close the connections; a second call does nothing."""
        self._closed = True
        await self.client.close()  # type: ignore[no-untyped-call]


def is_missing(error: HttpResponseError) -> bool:
    """Whether the blob is missing, rather than its container."""
    return error.status_code == 404 and _code(error) in {"BlobNotFound", "ResourceNotFound"}


def _code(error: AzureError) -> str:
    code = getattr(error, "error_code", None)  # set by the storage client on every answer
    return str(getattr(code, "value", code) or "")


def _meaning(error: AzureError) -> str:
    """One line for an operator: what happened and what to do."""
    code = _code(error)
    status = error.status_code if isinstance(error, HttpResponseError) else None
    reason = next(iter(str(error).splitlines()), type(error).__name__)[:300]
    if code == "ContainerNotFound":
        return "the container does not exist. Create it, or configure create_container."
    if isinstance(error, ClientAuthenticationError) and not code:
        return f"no token could be had for the storage ({reason}). Check the configured identity."
    if status in {401, 403}:
        return (
            f"access is refused ({code or status}). Check the key or signature, or give the identity the "
            "role Storage Blob Data Contributor on the container; check the account's firewall."
        )
    if status is not None:
        return f"the request failed ({status} {code})."
    return f"no answer ({type(error).__name__}: {reason})."


class _Transport(AioHttpTransport):  # type: ignore[misc] # azure.core loads it lazily, untyped
    """Sends large bodies piece by piece, so that the event loop turns meanwhile."""

    def _get_request_data(self, request: Any) -> Any:
        data = super()._get_request_data(request)
        return io.BytesIO(data) if isinstance(data, bytes) and len(data) > _BODY_AT_ONCE_MAX_BYTES else data


def _options(ca_file: Path | None) -> dict[str, Any]:
    return {
        "api_version": _API_VERSION,
        "transport": _Transport(
            connection_timeout=REQUEST_TIMEOUT_S / 2,
            read_timeout=REQUEST_TIMEOUT_S,
            connection_verify=True if ca_file is None else str(ca_file),
        ),
        # Reads and unconditional calls; put() allows itself none.
        "retry_total": _READ_RETRIES_MAX,
        "initial_backoff": 1,
        "increment_base": 2,
        "random_jitter_range": 1,
    }


def _read_secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"connection_string_file: {path} cannot be read ({error}).") from error


def _client_from_connection_string(text: str, name: str, options: dict[str, Any]) -> ContainerClient:
    try:
        return ContainerClient.from_connection_string(text, name, **options)
    except ValueError:
        # What the SDK says may quote the string, and with it the key.
        raise ConfigurationError(
            "connection_string: not a storage connection string. It reads "
            "DefaultEndpointsProtocol=https;AccountName=…;AccountKey=…;EndpointSuffix=core.windows.net."
        ) from None


def _client_from_url(
    url: str, name: str, credential: AsyncTokenCredential | None, options: dict[str, Any]
) -> ContainerClient:
    address = urlsplit(url)
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise ConfigurationError("account_url: not a URL; it reads https://<account>.blob.core.windows.net.")
    if credential is None and "sig=" not in address.query:
        raise ConfigurationError("account_url: needs a credential, or a shared access signature in the URL.")
    if credential is not None and address.scheme != "https":
        raise ConfigurationError("account_url: an identity is sent over https only.")
    return ContainerClient(url, name, credential=credential, **options)
