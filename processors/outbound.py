"""Requests to an endpoint outside: over verified TLS, only to addresses that were checked, never redirected.

A name is resolved once for a connection, every address of it is checked, and the connection goes to one of
those: an answer of the name service that changes in between changes nothing. The host stays the name, for
TLS and in the request. Proxies and passwords of the environment are not looked at. Of an answer the status
and the headers count; its body is read up to a limit, for the connection's sake, and thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import BaseModel, ConfigDict, Field
from yarl import URL

from consumer.errors import ProcessorSettingsError
from consumer.processor import Retry
from processors.outbound_addresses import address_in, flaw_of
from processors.outbound_urls import Target, target_of

ANSWER_MAX_BYTES = 65_536
"""Of an answer that is longer no more is read, and its connection is not used again."""
DRAIN_MAX_S = 2.0
"""How long the body of an answer is waited for: its status is known by then."""
CONNECTIONS_MAX = 100
"""Of one processor, at the same time; who needs another one waits, within the time-out."""
KEEPALIVE_S = 30.0

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name; raises `OSError` when there are none."""


class OutboundSettings(BaseModel):
    """How far requests may go, and how long they may take."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    ports: tuple[Annotated[int, Field(ge=1, le=65_535)], ...] = Field(default=(443,), min_length=1)
    """The ports that https may go to."""
    allow_private_hosts: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = ()
    """Names and addresses, as in the URL, that may lead into one's own network or to this machine. Metadata
    and platform services stay out of reach."""
    allow_http_loopback: bool = False
    """Whether an http:// URL is taken. It must lead to this machine: a sidecar, or a test."""
    ca_file: Path | None = None
    """A file with the certificates to trust instead of the machine's own. TLS is always verified."""
    connect_timeout_s: Annotated[float, Field(gt=0, le=300)] = 5.0
    """Seconds for the connection to one address."""
    timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 20.0
    """Seconds for a request, until its answer begins; keep it below the processor's `deadline_s`."""

    def target(self, url: str) -> Target:
        """Where a URL leads. Raises `ValueError`, without a word of the URL."""
        return target_of(
            url,
            ports=self.ports,
            private_hosts=self.allow_private_hosts,
            http_loopback=self.allow_http_loopback,
        )


class Unanswered(Retry):
    """A request got no answer, or was not sent; what became of it may be unknown."""


class AddressRefused(OSError):
    """A host has an address that may not be called."""


class Answer(NamedTuple):
    """What counts of an answer."""

    status: int
    headers: Mapping[str, str]
    """Found by any case of their names; of one that came twice the first."""


class Outbound:
    """The requests to one host. `open` it first, and `close` it at the end."""

    def __init__(self, target: Target, settings: OutboundSettings, resolve: Resolve | None = None) -> None:
        self.target = target
        self._settings = settings
        self._resolve = resolve or _addresses_of
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Get ready. Raises `ProcessorSettingsError` for a host or a `ca_file` that cannot be meant."""
        connector = aiohttp.TCPConnector(
            ssl=self._tls(),
            resolver=_CheckedResolver(self._addresses),
            use_dns_cache=False,
            socket_factory=self._socket,
            limit=CONNECTIONS_MAX,
            keepalive_timeout=KEEPALIVE_S,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._settings.timeout_s, sock_connect=self._settings.connect_timeout_s
            ),
            headers={"User-Agent": "inturn"},
            trust_env=False,
            auto_decompress=False,  # nobody reads it, and a small answer could become a huge one
        )
        try:
            await self._addresses(self.target.host, self.target.port)
        except AddressRefused as refused:
            await self.close()
            raise ProcessorSettingsError(f"url: {refused}") from None
        except (OSError, TimeoutError):
            pass  # The name service may be back before the first event comes.

    async def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Send a request. Raises `Unanswered`, with a reason that holds nothing of URL, headers or body."""
        if self._session is None:
            raise RuntimeError("The requests were not opened.")
        try:
            target = self._settings.target(url)
        except ValueError as flaw:
            raise Unanswered(f"the URL {flaw}") from None
        if target != self.target:
            raise Unanswered(f"the URL leads to another host than {self.target.origin}: start anew")
        try:
            async with self._session.request(
                method, URL(url, encoded=True), headers=headers, data=body or None, allow_redirects=False
            ) as response:
                await _drain(response)
                return Answer(response.status, response.headers)
        except (aiohttp.ClientError, OSError) as error:  # a time-out is one of these
            raise Unanswered(self._said(error)) from None

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _tls(self) -> ssl.SSLContext:
        path = self._settings.ca_file
        try:
            return ssl.create_default_context(cafile=path)
        except OSError as error:  # `SSLError` is one
            raise ProcessorSettingsError(
                f"ca_file: {path} cannot be used: {error.strerror or error}"
            ) from error

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        """Every address of a host, all of them checked. Raises `AddressRefused`, and `OSError` for none."""
        async with asyncio.timeout(self._settings.connect_timeout_s):
            found = await self._resolve(host, port)
        for text in found:
            self._check(text)
        return found

    def _check(self, text: str) -> None:
        address = address_in(text)
        flaw = "is no address" if address is None else flaw_of(address, self.target.reach)
        if flaw is not None:
            raise AddressRefused(f"{self.target.host} has the address {text}, which {flaw}")

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        # The last gate before a connection, whatever led here: an address in the URL is never resolved.
        family, kind, protocol, _, address = info
        self._check(str(address[0]))
        return socket.socket(family, kind, protocol)

    def _said(self, error: Exception) -> str:
        """One line for a person. What libraries say may hold the URL, and with it a secret."""
        origin = self.target.origin
        match error:
            case AddressRefused():
                return str(error)
            case aiohttp.ClientConnectorError(os_error=AddressRefused() as refused):
                return str(refused)
            case TimeoutError():
                return f"no answer from {origin} in time"
            case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLError() as flaw):
                return f"the certificate of {origin} is not trusted: {getattr(flaw, 'verify_message', '')}"
            case aiohttp.ClientConnectorDNSError():
                return f"the name {self.target.host} is not known"
            case aiohttp.ClientConnectorError(os_error=os_error):
                return f"no connection to {origin}: {os_error.strerror or type(os_error).__name__}"
            case _:
                return f"no answer from {origin}: {type(error).__name__}"


class _CheckedResolver(AbstractResolver):
    """Gives a connection nothing but addresses that were checked."""

    def __init__(self, addresses: Resolve) -> None:
        self._addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp asks for both
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises `OSError`."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self._addresses(host, port)
        ]

    async def close(self) -> None:
        """There is nothing to close."""


async def _addresses_of(host: str, port: int) -> Sequence[str]:
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read an answer to its end, so that its connection can be used again.

    If that is too much it is left unfinished, which closes the connection.
    """
    size = 0
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(DRAIN_MAX_S):
            while size <= ANSWER_MAX_BYTES and (piece := await response.content.readany()):
                size += len(piece)
