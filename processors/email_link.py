"""The connection to a mail server: opened when it is needed, kept, checked before it is used again.

What a server says becomes what the engine understands: `Retry` where it may heal, `Reject` where this very
mail will never be taken.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPException,
    SMTPHeloError,
    SMTPRecipientRefused,
    SMTPResponseException,
)

from consumer.errors import ProcessorSettingsError
from consumer.processor import Reject, Retry
from processors.email_settings import EmailSettings
from processors.secret_files import SecretFile

_log = logging.getLogger("inturn.processors.email")

_CHECK_AFTER_IDLE_S = 5.0
"""A connection that was not used for longer is asked whether it is still there."""
_CLOSE_S = 2.0
_DENIED_RETRY_S = 30.0
_OF_THE_SERVER = frozenset({421, *range(500, 505), 521, *range(530, 540)})
"""Refusals that concern no mail: the server goes, does not understand, takes no mail, wants another login."""


class SomeRefused(Retry):
    """Some recipients are refused for now, so nobody was sent anything yet."""


class SmtpLink:
    """One connection at most; mails are sent one after the other."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._password_file = (
            None if settings.password_file is None else SecretFile(settings.password_file, "password_file")
        )
        self._trust: ssl.SSLContext | None = None
        self._smtp: SMTP | None = None
        self._used_s = 0.0
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Read the certificates to trust, and the password. Raises `ProcessorSettingsError`.

        Does not connect: a server that is away now may be back when there is something to say.
        """
        if self._settings.tls != "none":
            self._trust = await asyncio.to_thread(_trust, self._settings.ca_file)
        self._password()

    async def send(
        self,
        sender: str,
        recipients: Sequence[str],
        content: bytes,
        handing_over: AbstractContextManager[None],
        *,
        anyhow: bool,
    ) -> None:
        """Hand a mail over to the server.

        A recipient who is refused for now keeps the others waiting too, so that nobody gets it twice; unless
        `anyhow`: then it goes to those who are taken, and who was left out is logged. `handing_over`
        lasts from when the server gets the mail until it has answered.
        Raises `Retry`, `SomeRefused`, which is one, and `Reject`; then nobody was sent anything, or nobody
        knows.
        """
        async with self._turn:
            finished = False
            try:
                smtp = await self._connected()
                refused = await self._address(smtp, sender, recipients, anyhow=anyhow)
                with handing_over:
                    await smtp.data(content)
                _tell_of(refused)
                finished = True
            except SMTPResponseException as error:
                finished = await self._is_reset()
                raise _verdict(error) from None
            except (Retry, Reject):
                finished = True
                raise
            except (SMTPException, OSError) as error:
                raise Retry(f"the mail server at {self._place} cannot be used: {_said(error)}") from error
            finally:
                # In what state a conversation is that was cut off nobody knows.
                if not finished:
                    self._drop()
                self._used_s = time.monotonic()

    async def close(self) -> None:
        """Say goodbye, if there is time."""
        smtp = self._smtp
        if smtp is not None and smtp.is_connected:
            try:
                await smtp.quit(timeout=_CLOSE_S)
            except (SMTPException, OSError) as error:
                _log.debug("The mail server did not say goodbye. error=%s", error)
        self._drop()

    @property
    def _place(self) -> str:
        return f"{self._settings.host}:{self._settings.server_port}"

    async def _connected(self) -> SMTP:
        if self._smtp is not None and await self._is_alive(self._smtp):
            return self._smtp
        self._drop()
        settings = self._settings
        smtp = self._smtp = SMTP(
            hostname=settings.host,
            port=settings.server_port,
            username=settings.username,
            password=self._password(),
            local_hostname=socket.gethostname() or "localhost",
            timeout=settings.timeout_s,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            tls_context=self._trust,
        )
        try:
            await smtp.connect()
        except SMTPResponseException as error:
            raise _closed_door(error) from None
        return smtp

    async def _is_alive(self, smtp: SMTP) -> bool:
        if not smtp.is_connected:
            return False
        if time.monotonic() - self._used_s < _CHECK_AFTER_IDLE_S:
            return True
        try:
            await smtp.noop()
        except (SMTPException, OSError):
            return False
        return smtp.is_connected

    async def _is_reset(self) -> bool:
        """Begin anew on the same connection; False: that is not possible."""
        if self._smtp is None or not self._smtp.is_connected:
            return False
        try:
            await self._smtp.rset()
        except (SMTPException, OSError):
            return False
        return True

    async def _address(
        self, smtp: SMTP, sender: str, recipients: Sequence[str], *, anyhow: bool
    ) -> list[SMTPRecipientRefused]:
        """Say who gets the mail; gives who does not. Raises `SomeRefused`, `Reject`."""
        await smtp.mail(sender)
        refused: list[SMTPRecipientRefused] = []
        for recipient in recipients:
            try:
                await smtp.rcpt(recipient)
            except SMTPRecipientRefused as error:
                if error.code in _OF_THE_SERVER:
                    raise
                refused.append(error)
        for_now = [error for error in refused if error.code < 500]
        if len(refused) == len(recipients) or (for_now and not anyhow):
            await smtp.rset()
            said = "; ".join(f"{error.recipient}: {_said(error)}" for error in for_now or refused)
            if for_now:
                raise SomeRefused(f"the mail server does not take a recipient for now: {said}")
            raise Reject(f"the mail server takes none of the recipients: {said}")
        return refused

    def _password(self) -> str | None:
        if self._password_file is not None:
            return self._password_file.read()
        password = self._settings.password
        return None if password is None else password.get_secret_value()

    def _drop(self) -> None:
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            smtp.close()


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ProcessorSettingsError(f"ca_file: {ca_file} cannot be used: {error}") from error


def _tell_of(refused: Sequence[SMTPRecipientRefused]) -> None:
    if refused:
        _log.error(
            "A mail was sent, but not to everybody: the server refused some recipients. refused=%s",
            "; ".join(f"{error.recipient}: {_said(error)}" for error in refused),
        )


def _closed_door(error: SMTPResponseException) -> Retry:
    """What a refusal means, whatever its code, that comes before a mail is spoken of."""
    is_login = isinstance(error, SMTPAuthenticationError)
    what = "refuses our login" if is_login else "does not let us in"
    return Retry(f"the mail server {what}: {_said(error)}", after_s=_DENIED_RETRY_S)


def _verdict(error: SMTPResponseException) -> Retry | Reject:
    """What a refusal means that is not one of a recipient."""
    if isinstance(error, SMTPHeloError):  # without a login nobody has said hello until there is a mail
        return _closed_door(error)
    if error.code < 500 or error.code in _OF_THE_SERVER:
        return Retry(f"the mail server does not take the mail for now: {_said(error)}")
    return Reject(f"the mail server does not take the mail: {_said(error)}")


def _said(error: Exception) -> str:
    text = f"{error.code} {error.message}" if isinstance(error, SMTPResponseException) else str(error)
    return " ".join(text.split())[:300] or type(error).__name__
