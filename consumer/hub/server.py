"""Start and stop a local Event Hubs, and reach into it without AMQP."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec
import structlog

from consumer.errors import ConfigurationError, SourceUnavailable
from consumer.hub.connection import Connection
from consumer.hub.entity import EventHub, Placed
from consumer.hub.faults import Faults
from consumer.hub.log import PartitionLog, StoredEvent
from consumer.hub.messages import compose_all, read_content
from consumer.hub.namespace import Namespace
from consumer.hub.settings import HubSettings, LocalHubSettings
from consumer.hub.storage import Storage
from consumer.hub.tokens import TokenPolicy

_log = structlog.get_logger("inturn.hub")

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_GOODBYE_S = 1.0
"""How long `close` waits for clients to take what was sent to them; then they are reset."""


class LoggedEvent(msgspec.Struct, frozen=True):
    """A stored event as an oracle wants it."""

    sequence_number: int
    offset: str
    enqueued_time_ms: int
    partition_key: str | None
    body: bytes
    application_properties: Mapping[str, Any]


class LocalHub:
    """A namespace of event hubs on a TCP port; an async context manager."""

    def __init__(self, settings: LocalHubSettings | None = None) -> None:
        self.settings = settings or LocalHubSettings()
        _check(self.settings)
        tokens = TokenPolicy(self.settings.key_name, self.settings.key, _now_ms)
        hubs = [self._make_hub(hub) for hub in self.settings.hubs]
        self._namespace = Namespace(hubs, self.settings.limits, tokens, _now_ms)
        self._storage = Storage(self.settings.data_folder)
        self._server: asyncio.Server | None = None
        self._port = self.settings.port

    @property
    def port(self) -> int:
        """Where it listens; what the system chose if 0 was asked for."""
        return self._port

    @property
    def faults(self) -> Faults:
        """What tests can do to its clients."""
        return self._namespace.faults

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Read the data folder and listen.

        Raises `SourceUnavailable` if the port cannot be had, and for the folder `StoreUnavailable`,
        `CorruptState` and `ConfigurationError`.
        """
        hubs = self._namespace.hubs.values()
        logs = {(hub.name, partition): log for hub in hubs for partition, log in hub.logs.items()}
        await asyncio.to_thread(self._storage.open, logs)
        try:
            for hub in hubs:
                hub.retain()
            await self.resume_listening()
        except BaseException:
            self._storage.close()
            raise
        _log.info("The local hub is listening.", host=self.settings.host, port=self._port)

    async def resume_listening(self) -> None:
        """Listen again on the same port. Raises `SourceUnavailable`."""
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        tls = None
        if self.settings.tls_pem is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            await asyncio.to_thread(tls.load_cert_chain, self.settings.tls_pem)
        host = "127.0.0.1" if self.settings.host == "localhost" else self.settings.host  # one port, not two
        try:
            self._server = await loop.create_server(
                lambda: Connection(self._namespace), host, self._port, ssl=tls
            )
        except OSError as error:
            raise SourceUnavailable(
                f"The local hub cannot listen on {host}:{self._port}: {error.strerror or error}."
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]

    def pause_listening(self) -> None:
        """Close the port: connections are refused by the system; those that exist stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """Say goodbye to the clients, stop listening, write everything down."""
        self.pause_listening()
        for peer in list(self._namespace.peers):
            if isinstance(peer, Connection):
                peer.shut_down()
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._namespace.deserted.wait()
        except TimeoutError:
            for peer in list(self._namespace.peers):
                peer.abort()
            await asyncio.sleep(0)
        self._storage.close()

    def connection_string(self, hub: str | None = None) -> str:
        """What the Event Hubs clients want to be given; with a hub's name it is in it as the entity path."""
        settings = self.settings
        path = f";EntityPath={hub}" if hub else ""
        emulator = ";UseDevelopmentEmulator=true" if settings.tls_pem is None else ""
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return (
            f"Endpoint=sb://{host}:{self._port};SharedAccessKeyName={settings.key_name};"
            f"SharedAccessKey={settings.key or 'any'}{emulator}{path}"
        )

    def log(self, hub: str, partition: str) -> list[LoggedEvent]:
        """The events of a partition that are kept, oldest first. Raises `LookupError`."""
        log = self._log_of(hub, partition)
        return [_logged(event) for event in log.read(log.begin, log.end - log.begin, 2**63)]

    def publish(
        self, hub: str, *bodies: bytes, partition: str | None = None, partition_key: str | None = None,
        properties: Mapping[str, Any] | None = None, enqueued_time_ms: int | None = None,
    ) -> Placed | None:  # fmt: skip
        """Append events, one for each body, as one sending does, without AMQP; gives where they are.

        With `enqueued_time_ms` the clock is overridden, but never goes back within a partition.
        Raises `LookupError` if there is no such hub or partition, `CodecError` for properties that AMQP
        has no form for, `OSError` if the data folder cannot be written.
        """
        entity = self._entity(hub)
        if partition is not None:
            self._log_of(hub, partition)
        return entity.append(compose_all(bodies, properties, partition_key), partition, enqueued_time_ms)

    def trim(self, hub: str, partition: str, before: int) -> None:
        """Forget the events of a partition below the sequence number `before`, as retention does."""
        self._log_of(hub, partition).trim_before(before)

    def stats(self) -> dict[str, Any]:
        """Totals since the start, and what is there now."""
        totals: dict[str, Any] = msgspec.structs.asdict(self._namespace.totals)
        hubs = {
            entity.name: {
                "bytes": entity.bytes,
                "trimmed": entity.trimmed,
                "partitions": {name: log.properties()._asdict() for name, log in entity.logs.items()},
            }
            for entity in self._namespace.hubs.values()
        }
        links = sum(len(list(peer.entity_links())) for peer in self._namespace.peers)
        return totals | {"open_connections": len(self._namespace.peers), "open_links": links, "hubs": hubs}

    def _entity(self, hub: str) -> EventHub:
        found = self._namespace.hubs.get(hub.casefold())
        if found is None:
            raise LookupError(f"There is no event hub {hub!r}.")
        return found

    def _log_of(self, hub: str, partition: str) -> PartitionLog:
        log = self._entity(hub).logs.get(partition)
        if log is None:
            raise LookupError(f"The event hub {hub!r} has no partition {partition!r}.")
        return log

    def _make_hub(self, settings: HubSettings) -> EventHub:
        logs = [PartitionLog(_now_ms) for _ in range(settings.partitions)]
        return EventHub(settings, logs, _now_ms(), self.settings.limits.receivers_max)


def _check(settings: LocalHubSettings) -> None:
    findings: list[str] = []
    names: Sequence[str] = [hub.name.casefold() for hub in settings.hubs]
    if len(set(names)) != len(names):
        findings.append("Two hubs have the same name.")
    findings += [
        f"{hub.name!r} cannot be a hub's name: letters, digits and . - _ inside, at most 256."
        for hub in settings.hubs
        if not _NAME.fullmatch(hub.name)
    ]
    findings += [
        f"The hub {hub.name!r} has {hub.partitions} partitions; 1 to 1024 are possible."
        for hub in settings.hubs
        if not 1 <= hub.partitions <= 1024
    ]
    if not settings.beyond_loopback and not _is_loopback(settings.host):
        findings.append(
            f"The host {settings.host!r} is not the loopback interface; say --beyond-loopback if it is meant."
        )
    if findings:
        raise ConfigurationError(*findings)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _logged(event: StoredEvent) -> LoggedEvent:
    content = read_content(event.message)
    return LoggedEvent(
        event.sequence_number, str(event.offset), event.enqueued_time_ms, event.partition_key,
        content.body, content.application_properties,
    )  # fmt: skip


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
