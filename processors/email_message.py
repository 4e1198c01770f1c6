"""Write a mail on one event or on several.

Nothing that an event says reaches the mail but as the escaped value of a slot; addresses come from the
configuration alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import NamedTuple

from consumer.events import Event
from processors.email_settings import GROUP_SLOTS, EmailSettings, parse_address
from processors.event_slots import SLOTS, slots_of
from processors.templates import Escape, Slots, Template, header_text, one_line
from processors.wording import title_of

KEY_HEADER = "X-Inturn-Key"
"""One for each event in the mail: what an archive of mails can be searched for."""
EVENTS_MAX = 1_000
"""Events in one mail; what is more goes into the next."""
# Seven bits: whether the server takes more shows only when it is connected to.
_POLICY = policy.SMTP.clone(cte_type="7bit", max_line_length=78)
_RULE = "-" * 60


class Letter(NamedTuple):
    """An event that is to be told."""

    event: Event
    key: str
    """Its idempotency key."""
    processor: str


class Mail(NamedTuple):
    """A mail that is ready to be sent."""

    message_id: str
    subject: str
    text: str
    html: str | None
    message: EmailMessage


class Writer:
    """Writes mails by the configured templates."""

    def __init__(self, settings: EmailSettings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._subject = Template(settings.subject, SLOTS)
        self._body = Template(settings.body, SLOTS)
        self._html = None if settings.html is None else Template(settings.html, SLOTS)
        self._group_subject = Template(settings.group_subject, GROUP_SLOTS)
        self.sender = parse_address(settings.from_)
        self.recipients = list(
            dict.fromkeys(
                parse_address(text).addr_spec for text in (*settings.to, *settings.cc, *settings.bcc)
            )
        )

    def check(self, letter: Letter) -> None:
        """Raise what writing would raise for this event."""
        slots = self._slots(letter)
        self._subject.render(letter.event, slots, Escape.HEADER)
        self._body.render(letter.event, slots, Escape.TEXT)
        if self._html is not None:
            self._html.render(letter.event, slots, Escape.HTML)

    def write(self, letters: Sequence[Letter]) -> Mail:
        """One mail on all of them: the first in full, the others with a line each.

        Raises `BadData` as `event.data` does.
        """
        told, listed = letters[: self._settings.group_max], letters[self._settings.group_max :]
        subject = self._subject_of(letters)
        text = self._joined_text(told, listed)
        html = None if self._html is None else self._joined_html(self._html, told, listed)
        message_id = f"<{_id_of(letters)}@{self.sender.domain}>"
        message = self._headed(letters, subject, message_id)
        message.set_content(text)
        if html is not None:
            message.add_alternative(html, subtype="html")
        return Mail(message_id, subject, text, html, message)

    def _headed(self, letters: Sequence[Letter], subject: str, message_id: str) -> EmailMessage:
        message = EmailMessage(policy=_POLICY)
        settings = self._settings
        message["From"] = self.sender
        for name, addresses in (("To", settings.to), ("Cc", settings.cc)):
            if addresses:
                message[name] = [parse_address(text) for text in addresses]
        if not settings.to and not settings.cc:
            message["To"] = "undisclosed-recipients:;"
        message["Subject"] = subject
        message["Date"] = format_datetime(self._now())
        message["Message-ID"] = message_id
        objects = {letter.event.object_id for letter in letters}
        if len(objects) == 1:
            # Mail programs show those that name the same ancestor as one conversation; it need not exist.
            message["References"] = f"<object.{_digest(*objects.pop())}@{self.sender.domain}>"
        # Neither a holiday notice nor a list server shall answer (RFC 3834, and Exchange's own way).
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        for letter in letters:
            message[KEY_HEADER] = letter.key
        return message

    def _slots(self, letter: Letter) -> Slots:
        settings = self._settings
        return slots_of(
            letter.event,
            key=letter.key,
            processor=letter.processor,
            studio=settings.studio,
            tenant=settings.tenant,
        )

    def _subject_of(self, letters: Sequence[Letter]) -> str:
        first = letters[0]
        slots = self._slots(first)
        if len(letters) == 1:
            return self._subject.render(first.event, slots, Escape.HEADER)

        def with_count(name: str) -> str | tuple[str, ...]:
            return str(len(letters)) if name == "count" else slots(name)

        return self._group_subject.render(first.event, with_count, Escape.HEADER)

    def _joined_text(self, told: Sequence[Letter], listed: Sequence[Letter]) -> str:
        parts = [
            self._body.render(letter.event, self._slots(letter), Escape.TEXT).rstrip("\n") for letter in told
        ]
        if listed:
            lines = [f"* {_line(letter.event)}" for letter in listed]
            parts.append("\n".join([f"{len(listed)} more:", "", *lines]))
        return f"\n\n{_RULE}\n\n".join(parts) + "\n"

    def _joined_html(self, template: Template, told: Sequence[Letter], listed: Sequence[Letter]) -> str:
        parts = [template.render(letter.event, self._slots(letter), Escape.HTML) for letter in told]
        if listed:
            more = Template("<li>{title}</li>", SLOTS)
            items = [more.render(letter.event, self._slots(letter), Escape.HTML) for letter in listed]
            parts.append(f"<p>{len(listed)} more:</p>\n<ul>\n{chr(10).join(items)}\n</ul>")
        inner = "\n<hr>\n".join(parts)
        return f'<!doctype html>\n<html><head><meta charset="utf-8"></head><body>\n{inner}\n</body></html>\n'


def _line(event: Event) -> str:
    return header_text(one_line(title_of(event)))


def _id_of(letters: Sequence[Letter]) -> str:
    """The key of the only event, or what stands for all keys together: the same whenever they are sent."""
    return letters[0].key if len(letters) == 1 else _digest(*(letter.key for letter in letters))


def _digest(*parts: str) -> str:
    text = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:40]
