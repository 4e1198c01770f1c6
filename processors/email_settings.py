"""What can be configured of mails: the server, who gets them, what they say, and how many there may be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.headerregistry import Address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from consumer.processor import Surroundings
from processors.event_slots import SLOTS
from processors.outbound_addresses import is_loopback
from processors.portal import STUDIO
from processors.templates import Template, TemplateError

SUBJECT = "{title}"
BODY = "{title}\n\n{details}\n\n{link}\n"
GROUP_SUBJECT = "{count} events: {title} …"
GROUP_SLOTS = SLOTS | {"count"}
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_ADDRESS = re.compile(r"(?:(?P<name>[^<>]*?) *<(?P<boxed>[^<>]+)>|(?P<bare>[^<>\s]+))")
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?=.{1,253}$)[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")


def parse_address(text: str) -> Address:
    """``Name <box@domain>`` or ``box@domain``. Raises `ValueError`."""
    found = _ADDRESS.fullmatch(text.strip())
    box = (found["boxed"] or found["bare"]) if found else ""
    if not found or not _MAILBOX.fullmatch(box) or not (found["name"] or "").isprintable():
        raise ValueError("should be an address such as ops@contoso.com, or Operators <ops@contoso.com>")
    name = (found["name"] or "").strip().strip('"')
    try:
        return Address(display_name=name, addr_spec=box)
    except Exception:  # noqa: BLE001 - the parser raises more than it says
        raise ValueError("should be an address such as ops@contoso.com") from None


def _checked_address(text: str) -> str:
    parse_address(text)
    return text


def _template(text: str) -> str:
    try:
        Template(text, SLOTS)
    except TemplateError as error:
        raise ValueError(str(error)) from None
    return text


def _group_template(text: str) -> str:
    try:
        Template(text, GROUP_SLOTS)
    except TemplateError as error:
        raise ValueError(str(error)) from None
    return text


Mailbox = Annotated[str, Field(max_length=320), AfterValidator(_checked_address)]
Mailboxes = Annotated[tuple[Mailbox, ...], Field(max_length=100)]
Text = Annotated[str, Field(min_length=1, max_length=65_536), AfterValidator(_template)]


class EmailSettings(BaseModel):
    """Which server sends the mails, to whom, what they say, and how many there may be.

    Templates have slots in braces: ``{title}``, ``{details}``, ``{link}`` (the run, model or endpoint in the
    studio of its workspace), ``{workspace}``, ``{run_id}``, ``{experiment}``, ``{status}``, ``{model}``,
    ``{model_version}``, ``{endpoint}``, ``{drift}``, ``{type}``, ``{subject}``, ``{topic}``, ``{time}`` and
    more, and ``{data.runTags.reason|none given}`` for any value of the data.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    host: str = Field(pattern=r"^[A-Za-z0-9.:-]+$", max_length=253)
    """The mail server."""
    port: int | None = Field(default=None, ge=1, le=65_535)
    """Its port. The default is 587 for starttls, 465 for tls, 25 for none."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted; none is possible only to this machine. Certificates are verified."""
    ca_file: Path | None = None
    """Certificates (PEM) to trust instead of the machine's: for a server with a private authority."""
    username: str | None = Field(default=None, min_length=1, max_length=256)
    """Who logs in; without it nobody does."""
    password: SecretStr | None = None
    """The password, best as ${NAME_OF_A_VARIABLE}: a secret has no place in the file itself."""
    password_file: Path | None = None
    """A file that holds the password; read again when it changes."""
    timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Seconds for every answer of the server; then the connection is given up and the mail tried again."""
    from_: Mailbox = Field(alias="from")
    """The sender. Its domain is the right-hand side of every Message-ID."""
    to: Mailboxes = ()
    """Who gets the mails. Recipients are never taken from events."""
    cc: Mailboxes = ()
    """Who gets a copy."""
    bcc: Mailboxes = ()
    """Who gets a copy without being shown."""
    subject: Text = SUBJECT
    """The template of the subject; one line, cut off at 200 characters."""
    body: Text = BODY
    """The template of the text."""
    html: Text | None = None
    """A template of HTML that is sent beside the text; what comes from events is escaped in it."""
    studio: str = Field(default=STUDIO, pattern=r"^https://[A-Za-z0-9.-]+$", max_length=253)
    """Where links to workspaces lead; other clouds have https://ml.azure.us or https://studio.ml.azure.cn."""
    tenant: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.-]{1,253}$")
    """The id of the tenant that links open in, for people who belong to several."""
    group_s: float = Field(default=0.0, ge=0, le=3_600)
    """Seconds that an event waits for others to share its mail; 0: every event has its own.

    With `timeout_s` it has to be below the processor's `deadline_s`, better well below. A mail gathers what
    the lanes hand over, one chunk each: with more `concurrency` it gathers more. Events that wait hold the
    checkpoint back as long.
    """
    group_max: int = Field(default=50, ge=1, le=500)
    """Events told in full in one mail. With so many it goes at once; more of the same moment get a line."""
    group_subject: Annotated[str, Field(max_length=1_024), AfterValidator(_group_template)] = GROUP_SUBJECT
    """The template of the subject of a mail on several events: {count} of them; the rest is of the first."""
    mails_per_hour_max: int | None = Field(default=None, ge=1, le=10_000)
    """Mails in any hour from this process: half of them at once, the others evenly spaced.

    At the limit events wait and share the next mail; none is dropped. Waiting is no failed attempt, but what
    waits counts towards `queue_max`, and at that limit reading pauses for all processors of the source.
    """

    @property
    def server_port(self) -> int:
        """The port to connect to."""
        return self.port or _PORTS[self.tls]

    def misfits(self, around: Surroundings) -> Iterator[tuple[str, str]]:
        """See `consumer.processor.Surroundings`: to wait for others, and for the server, is one attempt."""
        if self.group_s and self.group_s + self.timeout_s >= around.deadline_s:
            needed = "and timeout_s together have to be below the processor's deadline_s, which is"
            yield "group_s", f"{needed} {around.deadline_s:g}"

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        for message in self._findings():
            raise ValueError(message)
        return self

    def _findings(self) -> Iterator[str]:
        if not (self.to or self.cc or self.bcc):
            yield "nobody gets the mails: give at least one address under to, cc or bcc"
        if self.tls == "none" and not is_loopback(self.host):
            yield "tls: none is possible only to this machine; every other server needs starttls or tls"
        if self.password is not None and self.password_file is not None:
            yield "password_file: a second password, besides password: give only one"
        has_password = self.password is not None or self.password_file is not None
        if has_password != (self.username is not None):
            yield "username and a password (password or password_file) belong together: give both or none"
