"""A real SMTP server with STARTTLS and login, which keeps what it is sent and can be told to be difficult."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, NamedTuple, Self, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER = b"inturn"


class Delivered(NamedTuple):
    """A mail that was taken."""

    sender: str
    recipients: list[str]
    message: EmailMessage


class MailServer:
    """An SMTP server on a port of its own; an async context manager."""

    def __init__(
        self, tls: ssl.SSLContext | None = None, *, password: str = "", at_once: bool = False
    ) -> None:
        """Without `tls` it knows none; `at_once`: from the first byte. Without `password` nobody logs in."""
        self.mails: list[Delivered] = []
        self.answers: dict[str, list[str]] = {}
        """What to say instead of yes, by the command (or by the recipient for RCPT), once for each."""
        self.always: dict[str, str] = {}
        """Likewise, again and again."""
        self.before_answering: Callable[[], Awaitable[None]] | None = None
        """Awaited when a mail was taken, before that is said."""
        self.connections = 0
        self.logins = 0
        self.password = password
        self.port = 0
        self._tls = tls
        self._at_once = at_once
        self._server: asyncio.Server | None = None
        self._open: list[SMTP] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; on the same port as before."""
        loop = asyncio.get_running_loop()
        tls = self._tls if self._at_once else None
        self._server = await loop.create_server(self._protocol, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be away: refuse connections, and reset those that exist."""
        if self._server is not None:
            self._server.close()
            self.drop_connections()
            await self._server.wait_closed()
            self._server = None

    def drop_connections(self) -> None:
        """Reset the connections that exist."""
        for protocol in self._open:
            if protocol.transport is not None:
                cast("asyncio.Transport", protocol.transport).abort()
            task = cast("asyncio.Task[None] | None", protocol._handler_coroutine)
            if task is not None:
                task.cancel()
        self._open.clear()

    @property
    def keys(self) -> list[str]:
        """The idempotency keys of all events in all mails, in the order of the mails."""
        return [key for mail in self.mails for key in mail.message.get_all("X-Inturn-Key", [])]

    async def handle_MAIL(  # noqa: N802 - what aiosmtpd looks for
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self._answer("MAIL") or "250 OK"

    async def handle_RCPT(  # noqa: N802 - likewise
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        refusal = self._answer(address)
        if refusal is None:
            envelope.rcpt_tos.append(address)
        return refusal or "250 OK"

    async def handle_DATA(  # noqa: N802 - likewise
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        refusal = self._answer("DATA")
        if refusal is not None:
            return refusal
        message = message_from_bytes(cast("bytes", envelope.content), policy=policy.default)
        self.mails.append(
            Delivered(envelope.mail_from or "", list(envelope.rcpt_tos), cast("EmailMessage", message))
        )
        if self.before_answering is not None:
            await self.before_answering()
        return "250 taken"

    def _answer(self, what: str) -> str | None:
        waiting = self.answers.get(what)
        return waiting.pop(0) if waiting else self.always.get(what)

    def _protocol(self) -> SMTP:
        self.connections += 1
        options: dict[str, Any] = {}
        if self._tls is not None and not self._at_once:
            options = {"tls_context": self._tls, "require_starttls": True}
        if self.password:
            options |= {
                "auth_required": True,
                "authenticator": self._login,
                "auth_require_tls": not self._at_once,
            }
        protocol = SMTP(self, hostname="localhost", loop=asyncio.get_running_loop(), **options)
        self._open.append(protocol)
        return protocol

    def _login(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: Any
    ) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins += 1
        is_right = (given.login, given.password) == (USER, self.password.encode())
        return AuthResult(success=is_right, handled=False)
