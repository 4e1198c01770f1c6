"""What the Event Hubs source is told: where the hub is, who we are there, and its limits."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from azure.core.credentials_async import AsyncTokenCredential

from consumer.errors import ConfigurationError
from consumer.succession import ALONE, Succession

PREFETCH_MAX = 1_000
"""More than this and the client, from Python 3.12 on, keeps the event loop for too long at a time (D14)."""
_TLS_PORT = 5671
_PLAIN_PORT = 5672


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy for the websocket transport."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHubSettings:
    """Either `connection_string`, or `namespace` and `credential`. No secret is in the repr."""

    connection_string: str | None = field(default=None, repr=False)
    namespace: str | None = None
    """The fully qualified one: ``contoso.servicebus.windows.net``."""
    credential: AsyncTokenCredential | None = field(default=None, repr=False)
    """Closed by whoever made it."""
    hub: str = ""
    """May be left out if the connection string has an EntityPath."""
    consumer_group: str = "$Default"
    start: Literal["earliest", "latest"] | datetime = "earliest"
    """Where to begin in a partition of which nothing is stored; a time has to have an offset.

    Whatever it is, it is made a checkpoint when the partition is first taken, and stored as one: after a
    restart "latest" still means what it meant then. A time becomes the event before its first one.
    """
    prefetch: int = PREFETCH_MAX
    """Messages the client fetches ahead, per partition; no more than `PREFETCH_MAX` are."""
    batch_max: int = 300
    idle_timeout_s: float = 10
    """A connection on which nothing was heard for so long is given up. The service refuses connections that
    ask for too little; that it takes ten seconds is known from the client's own tests against it."""
    load_balancing_interval_s: float = 3
    """Replicas look at who owns what three times in it, renew what is theirs every second one, and take what
    was not renewed for six."""
    stall_after_s: float = 30
    """A partition that gives nothing for so long, though the hub has more, is opened anew."""
    connect_timeout_s: float = 60
    """In this time the first connection has to succeed."""
    receive: Literal["auto", "fast", "sdk"] = "auto"
    """fast: our own receive loop on the client's links; sdk: the client's own; auto: fast where it can be."""
    transport: Literal["amqp", "websocket"] = "amqp"
    proxy: Proxy | None = None
    allow_plaintext_hosts: tuple[str, ...] = ()
    """Hosts besides loopback that may be spoken to without TLS, such as an emulator's service name."""
    succession: Succession = ALONE
    """Whose ownerships are known to be nobody's."""
    deliveries_max: int = 2**31
    """A link that has delivered so many is opened anew: the client's counters do not wrap at 2^32 (D13)."""


class Address(NamedTuple):
    """Where the hub is, as far as it can be said aloud."""

    namespace: str
    """Host, and port if one was given; this is how stores file what belongs to it."""
    hub: str
    host: str
    port: int
    is_plain: bool
    """Without TLS."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def address_of(settings: EventHubSettings) -> Address:
    """Where `settings` point to. Raises `ConfigurationError`, without a word of the connection string."""
    if settings.connection_string is None:
        if not settings.namespace or settings.credential is None:
            raise ConfigurationError("Event Hubs: give a connection string, or a namespace and a credential.")
        netloc, entity, is_plain = settings.namespace, "", False
    else:
        netloc, entity, is_plain = _parse(settings.connection_string)
    if settings.hub and entity and settings.hub.casefold() != entity.casefold():
        raise ConfigurationError(
            f"Event Hubs: the hub is {settings.hub}, but the connection string's EntityPath is {entity}."
        )
    hub = settings.hub or entity
    if not hub:
        raise ConfigurationError("Event Hubs: name the hub; the connection string has no EntityPath.")
    try:
        parts = urlsplit(f"//{netloc}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigurationError("Event Hubs: the namespace is not a host name.")
    if is_plain and not (
        _is_loopback(host) or host in {name.casefold() for name in settings.allow_plaintext_hosts}
    ):
        raise ConfigurationError(
            f"Event Hubs: UseDevelopmentEmulator=true means no TLS, and {host} is not this machine. "
            "List it under allow_plaintext_hosts if it is an emulator."
        )
    # With TLS the client goes to 5671 whatever the address says.
    return Address(netloc, hub, host, (port or _PLAIN_PORT) if is_plain else _TLS_PORT, is_plain)


def fields_of(connection_string: str) -> dict[str, str]:
    """The fields of a connection string by their names in lower case. Raises `ConfigurationError`."""
    fields: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in connection_string.split(";"))):
        name, equals, value = part.partition("=")
        if not equals or name.casefold() in fields:
            raise ConfigurationError("Event Hubs: the connection string is not made of name=value; pairs.")
        fields[name.casefold()] = value
    return fields


def _parse(connection_string: str) -> tuple[str, str, bool]:
    """Namespace, entity path, and whether it is an emulator's."""
    fields = fields_of(connection_string)
    endpoint = urlsplit(fields.get("endpoint", ""))
    if not endpoint.netloc:
        raise ConfigurationError("Event Hubs: the connection string has no Endpoint=sb://….")
    has_key = bool(fields.get("sharedaccesskeyname")) and bool(fields.get("sharedaccesskey"))
    if not has_key and not fields.get("sharedaccesssignature"):
        raise ConfigurationError(
            "Event Hubs: the connection string has neither SharedAccessKeyName and SharedAccessKey "
            "nor SharedAccessSignature."
        )
    emulator = fields.get("usedevelopmentemulator", "false")
    if emulator not in {"true", "false"}:
        # The client takes anything else for false, and would try TLS.
        raise ConfigurationError("Event Hubs: UseDevelopmentEmulator has to be exactly true or false.")
    return endpoint.netloc, fields.get("entitypath", ""), emulator == "true"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
