"""Sends mails: on runs that fail, models that are registered, drift, on any event, and on what inturn emits.

The default texts need no template. Many failures can share one mail (`group_s`), and there can be a limit of
mails (`mails_per_hour_max`); neither drops an event. A mail is one SMTP transaction: when it returns the
server has taken it, what happens then is the server's affair. It is repeated only where the server's answer
was lost, and then has the same Message-ID, made of the idempotency key: most mail stores show it once.

What the server says decides: a refusal for now (4xx), a login that fails, or no connection is tried again by
the processor's `retry`; a refusal for good (5xx) of the mail or of all recipients is a dead letter. If only
some recipients are refused the others get the mail, and an error is logged that says who did not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from consumer.events import Event
from consumer.processor import Context, NotYet, Reject, Retry
from processors.email_doubt import Doubts
from processors.email_gathering import Gathering
from processors.email_limit import MailLimit
from processors.email_link import SmtpLink, SomeRefused
from processors.email_message import Letter, Writer
from processors.email_settings import EmailSettings
from processors.half_done import HalfDone

_CATCH_UP_S = 1.0
"""How long those who were held back by the limit wait for each other: they come at the same time."""


class Email:
    """Tells recipients from the configuration of events, one mail each or several in one."""

    Settings = EmailSettings

    def __init__(self, settings: EmailSettings, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._now_s = now_s
        self._writer = Writer(settings, lambda: datetime.now(UTC))
        self._link = SmtpLink(settings)
        self._limit = MailLimit(settings.mails_per_hour_max)
        self._gathering: Gathering[Letter] = Gathering(self._deliver, count_max=settings.group_max)
        self._is_catching_up = False
        self._turn = asyncio.Lock()
        self._doubts = Doubts()
        self._told = HalfDone()
        self._apart = HalfDone()
        """Events of a mail that was refused: which of them is to blame shows when each has its own."""
        self._waited = HalfDone()
        """Events that wait for a recipient who was refused for now; they do so once."""

    async def open(self) -> None:
        """Read certificates and password. Raises `ProcessorSettingsError`."""
        await self._link.open()

    async def process_batch(self, events: Sequence[Event], context: Context) -> None:
        """Tell of the events; on return the server has taken the mails.

        Raises `Retry` if it does not for now, `NotYet` at the limit of mails, `Reject` if it never will,
        and `BadData` as `event.data` does.
        """
        keys = [context.key_of(event) for event in events]
        letters = [Letter(event, key, context.processor) for event, key in self._told.left(events, keys)]
        for letter in letters:
            # What is wrong with one event must show before it shares a mail with others.
            self._writer.check(letter)
            await asyncio.sleep(0)  # others have their turn: a chunk may be large
        try:
            await self._tell(letters)
        except Reject:
            if len(events) == 1:
                self._forget(events, keys)
            raise
        self._forget(events, keys)

    def preview(self, event: Event, context: Context) -> Mapping[str, Any]:
        """The mail that an event by itself would be."""
        mail = self._writer.write([Letter(event, context.key_of(event), context.processor)])
        settings = self._settings
        shown = {
            "from": settings.from_,
            "to": list(settings.to),
            "cc": list(settings.cc),
            "bcc": list(settings.bcc),
            "subject": mail.subject,
            "text": mail.text,
            "message_id": mail.message_id,
        }
        return shown if mail.html is None else {**shown, "html": mail.html}

    async def close(self) -> None:
        """Say goodbye to the server."""
        await self._link.close()

    def _forget(self, events: Sequence[Event], keys: Sequence[str]) -> None:
        for remembered in (self._told, self._apart, self._waited):
            remembered.forget(events, keys)

    async def _tell(self, letters: Sequence[Letter]) -> None:
        shared = [letter for letter in letters if not self._apart.has(letter.event, letter.key)]
        for letter in letters:
            if self._apart.has(letter.event, letter.key):
                await self._deliver([letter])
        if not shared:
            return
        self._check_limit()
        window_s = max(self._settings.group_s, _CATCH_UP_S if self._is_catching_up else 0.0)
        if window_s:
            await self._gathering.bring(shared, window_s)
        else:
            for letter in shared:
                await self._deliver([letter])

    async def _deliver(self, letters: Sequence[Letter]) -> None:
        """Send one mail on all of them, or more if they are too many for one."""
        async with self._turn:  # who waits for it may find then that others have told of its events
            left = [letter for letter in letters if not self._told.has(letter.event, letter.key)]
            for part in self._doubts.mails_of(left):
                await self._send(part)
                for letter in part:
                    self._told.note(letter.event, letter.key)

    async def _send(self, letters: Sequence[Letter]) -> None:
        mail = self._writer.write(letters)
        self._check_limit()
        self._limit.take(self._now_s())
        try:
            await self._link.send(
                self._writer.sender.addr_spec,
                self._writer.recipients,
                mail.message.as_bytes(),
                self._doubts.handing_over(letters),
                anyhow=all(self._waited.has(letter.event, letter.key) for letter in letters),
            )
        except Retry as error:
            self._limit.give_back()
            if isinstance(error, SomeRefused):
                for letter in letters:
                    self._waited.note(letter.event, letter.key)
            raise
        except Reject as error:
            self._limit.give_back()
            if len(letters) == 1:
                raise
            for letter in letters:
                self._apart.note(letter.event, letter.key)
            raise Retry(
                f"{error}; each of its {len(letters)} events is tried in a mail of its own"
            ) from error
        self._is_catching_up = False

    def _check_limit(self) -> None:
        wait_s = self._limit.wait_s(self._now_s())
        if wait_s > 0:
            self._is_catching_up = True
            raise NotYet(
                f"the limit of {self._settings.mails_per_hour_max} mails in an hour is reached",
                after_s=wait_s,
            )
