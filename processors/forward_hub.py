"""Sends to an event hub by the real client: batches of one partition key, over a few connections.

The client says that a batch was taken or that it was not, but an attempt that is cut off leaves its link in a
state that nobody knows: such a client is given up, and a new one made.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import zlib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import certifi
from azure.core.exceptions import AzureError
from azure.eventhub import EventData, EventDataBatch, TransportType
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from consumer.errors import ProcessorSettingsError
from consumer.processor import Retry
from processors.forward import Parcel
from processors.forward_settings import ForwardSettings, connection_string_flaws
from processors.identities import credential_of
from processors.secret_files import SecretFile

_log = logging.getLogger("inturn.processors.forward")

_BUSY_RETRY_S = 4.0
"""What the service asks of those that it throttles."""
_DENIED_RETRY_S = 30.0
_CLOSE_S = 5.0


class Hub:
    """An event hub that is sent to."""

    def __init__(self, settings: ForwardSettings) -> None:
        self.name = f"hub {settings.hub} at {settings.place[0]}"
        self._settings = settings
        self._file = (
            None
            if settings.connection_string_file is None
            else SecretFile(settings.connection_string_file, "connection_string_file")
        )
        self._trust: ssl.SSLContext | None = None
        self._credential: Any = None
        self._links = [
            _Link(self.new_client, self.name, settings.timeout_s) for _ in range(settings.connections)
        ]
        self._closing = AsyncExitStack()

    async def open(self) -> None:
        """Read secrets and certificates. Raises `ProcessorSettingsError`."""
        self._trust = await asyncio.to_thread(_trusted)
        if self._settings.namespace is not None:
            identity = credential_of(self._settings.credential, self._settings.client_id)
            self._credential = await self._closing.enter_async_context(identity)
        else:
            self._connection_string()

    async def send(self, parcels: Sequence[Parcel], taken: Callable[[Parcel], None]) -> list[Parcel]:
        """See `processors.forward.Target`."""
        shares: dict[_Link, dict[str | None, list[Parcel]]] = {}
        for parcel in parcels:
            shares.setdefault(self._link_of(parcel), {}).setdefault(parcel.partition_key, []).append(parcel)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(link.send(list(share.values()), taken, self._version()))
                for link, share in shares.items()
            ]
        results = [task.result() for task in running]
        # Those that can be tried again go first: what is too large stays so.
        for _, error in results:
            if error is not None:
                raise error
        return [parcel for too_large, _ in results for parcel in too_large]

    async def close(self) -> None:
        """Close all clients, and the identity."""
        for link in self._links:
            await link.close()
        await self._closing.aclose()

    def new_client(self) -> EventHubProducerClient:
        """A client as configured. Raises `ProcessorSettingsError` for a secret that cannot be read."""
        settings = self._settings
        websocket = settings.transport == "websocket"
        options: dict[str, Any] = {
            "retry_total": 0,  # the engine tries again
            "auth_timeout": settings.timeout_s,
            "user_agent": "inturn",
            "ssl_context": self._trust,
            "transport_type": TransportType.AmqpOverWebsocket if websocket else TransportType.Amqp,
        }
        assert settings.hub is not None
        if settings.namespace is not None:
            return EventHubProducerClient(settings.namespace, settings.hub, self._credential, **options)
        text = self._connection_string()
        return EventHubProducerClient.from_connection_string(text, eventhub_name=settings.hub, **options)

    def _link_of(self, parcel: Parcel) -> _Link:
        # What is not kept together is spread as well, but an object's events go one way even so.
        name = parcel.partition_key or parcel.event.object_path
        return self._links[zlib.crc32(name.encode("utf-8", "surrogatepass")) % len(self._links)]

    def _version(self) -> str:
        return "" if self._file is None else self._file.read()

    def _connection_string(self) -> str:
        if self._file is None:
            assert self._settings.connection_string is not None
            return self._settings.connection_string.get_secret_value()
        text = self._file.read()
        for flaw in connection_string_flaws(text, self._settings):
            raise ProcessorSettingsError(flaw.replace("connection_string", "connection_string_file", 1))
        return text


class _Link:
    """One client, which sends one batch at a time."""

    def __init__(self, new_client: Callable[[], EventHubProducerClient], name: str, timeout_s: float) -> None:
        self._new_client = new_client
        self._name = name
        self._timeout_s = timeout_s
        self._client: EventHubProducerClient | None = None
        self._version = ""
        self._given_up: list[EventHubProducerClient] = []
        self._turn = asyncio.Lock()

    async def send(
        self, groups: Sequence[Sequence[Parcel]], taken: Callable[[Parcel], None], version: str
    ) -> tuple[list[Parcel], Retry | None]:
        """Send groups of one partition key each; a client of another `version` of the secret is replaced."""
        too_large: list[Parcel] = []
        async with self._turn:
            is_whole = False
            try:
                await self._put_away()
                client = self._usable(version)
                for group in groups:
                    too_large += await self._send_group(client, group, taken)
                is_whole = True
            except AuthenticationError as error:
                return too_large, self._retry("refuses us", error, _DENIED_RETRY_S)
            except EventHubError as error:
                is_busy = "server-busy" in str(error) or "quota" in str(error)
                return too_large, self._retry(
                    "does not take events", error, _BUSY_RETRY_S if is_busy else None
                )
            except (AzureError, OSError, TimeoutError) as error:
                return too_large, self._retry("cannot be reached", error)
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    raise
                # A client that was cut off before cancels parts of itself, and tells whoever comes next.
                return too_large, self._retry("broke off", error)
            finally:
                if not is_whole:
                    self._give_up()
        return too_large, None

    async def close(self) -> None:
        """Close what is open."""
        self._give_up()
        await self._put_away()

    async def _send_group(
        self, client: EventHubProducerClient, group: Sequence[Parcel], taken: Callable[[Parcel], None]
    ) -> list[Parcel]:
        """Send a group in order, up to the first that is too large: what comes behind it may have to wait."""
        waiting: list[Parcel] = []
        batch = await self._new_batch(client, group[0])
        for parcel in group:
            data = _data_of(parcel)
            if not _fits(batch, data):
                if waiting:
                    await self._send_batch(client, batch, waiting, taken)
                    waiting, batch = [], await self._new_batch(client, parcel)
                if not _fits(batch, data):
                    return [parcel]
            waiting.append(parcel)
        await self._send_batch(client, batch, waiting, taken)
        return []

    async def _new_batch(self, client: EventHubProducerClient, first: Parcel) -> EventDataBatch:
        async with asyncio.timeout(self._timeout_s):  # it may have to connect, for which it has no limit
            return await client.create_batch(partition_key=first.partition_key)

    async def _send_batch(
        self,
        client: EventHubProducerClient,
        batch: EventDataBatch,
        parcels: Sequence[Parcel],
        taken: Callable[[Parcel], None],
    ) -> None:
        async with asyncio.timeout(self._timeout_s):
            await client.send_batch(batch)
        for parcel in parcels:
            taken(parcel)

    def _usable(self, version: str) -> EventHubProducerClient:
        if self._client is not None and version != self._version:
            self._give_up()
        if self._client is None:
            self._client, self._version = self._new_client(), version
        return self._client

    def _give_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._given_up.append(client)

    async def _put_away(self) -> None:
        while self._given_up:
            client = self._given_up.pop()
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await client.close()
            except (AzureError, OSError, TimeoutError, asyncio.CancelledError) as error:
                if _is_cancelled():
                    raise
                _log.debug("A client could not be closed in time. error=%s", type(error).__name__)

    def _retry(self, what: str, error: BaseException, after_s: float | None = None) -> Retry:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        retry = Retry(f"{self._name} {what}: {said}", after_s=after_s)
        retry.__cause__ = error
        return retry


def _data_of(parcel: Parcel) -> EventData:
    data = EventData(parcel.body)
    data.message_id = parcel.message_id
    data.content_type = parcel.content_type
    for name, value in parcel.properties.items():
        data.properties[name] = value
    return data


def _is_cancelled() -> bool:
    """Whether it is us who are to end, and not a part of the client."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _fits(batch: EventDataBatch, data: EventData) -> bool:
    try:
        batch.add(data)
    except ValueError:
        return False
    return True


def _trusted() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=certifi.where())
    return context
