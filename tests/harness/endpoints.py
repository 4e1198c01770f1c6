"""HTTPS endpoints as receivers run them, with certificates of an authority of the tests' own."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from multidict import CIMultiDict, CIMultiDictProxy

VALID = timedelta(days=2)
WAIT_MAX_S = 10.0


class Authority:
    """Issues certificates; who trusts `ca_file` trusts them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "An authority of tests")])
        self._name = name
        certificate = (
            _certificate(name, name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str) -> ssl.SSLContext:
        """A server's side of TLS, for names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _certificate(subject, self._name, key.public_key())
            .add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(issuer_key, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        chain = self._folder / f"{names[0]}.pem"
        chain.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


class Received(NamedTuple):
    """A request that an endpoint got."""

    method: str
    path: str
    """With the query, as it was sent."""
    headers: CIMultiDictProxy[str]
    body: bytes
    peer: int
    """The port that it came from: the same for requests over one connection."""


Answering = Callable[[Received], "web.StreamResponse | Awaitable[web.StreamResponse]"]


class Endpoint:
    """A receiver that writes down what it gets, and answers as a test wants."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.requests: list[Received] = []
        self.answer: Answering = lambda _: web.Response(status=204)
        self.port = 0
        self._server = web.Server(self._handle)

    @property
    def url(self) -> str:
        """Where it listens, by its address."""
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}/"

    @property
    def posts(self) -> list[Received]:
        """The deliveries."""
        return [request for request in self.requests if request.method == "POST"]

    @property
    def connections(self) -> int:
        """How many are open now."""
        return sum(connection.transport is not None for connection in self._server.connections)

    def answers(self, *statuses: int, **headers: str) -> None:
        """Answer with these, the last one for good. ``_`` in the name of a header is ``-``."""
        left = list(statuses)
        fields = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        self.answer = lambda _: web.Response(
            status=left.pop(0) if len(left) > 1 else left[0], headers=CIMultiDict(fields)
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(WAIT_MAX_S):
            while not holds():  # noqa: ASYNC110 - what it looks at is not ours to set an event
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Take requests for as long as the block lasts."""
        runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.tls)
            await site.start()
            self.port = int(runner.addresses[0][1])
            yield
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        received = Received(
            request.method,
            request.raw_path,
            request.headers,
            await request.read(),
            request.transport.get_extra_info("peername")[1],
        )
        self.requests.append(received)
        answer = self.answer(received)
        return await answer if isinstance(answer, Awaitable) else answer


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID)
        .not_valid_after(now + VALID)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
