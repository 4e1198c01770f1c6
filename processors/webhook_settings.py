"""What can be configured of a webhook: where it goes, what it carries, and how it is known to be ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from processors.event_slots import SLOTS
from processors.outbound import OutboundSettings
from processors.templates import Template, TemplateError
from processors.webhook_signature import flaw_of_secrets

HEADER_MAX_CHARS = 8_192
HEADERS_MAX = 50

_RESERVED = re.compile(
    r"ce-.*|webhook-.*|aeg-.*|proxy-.*|host|connection|keep-alive|te|trailer|upgrade|expect|transfer-encoding"
    r"|content-(?:length|type|encoding)"
)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_SLOT = re.compile(r"\{\{|\}\}|\{[^{}]*\}")
_KEY_IN_URL = re.compile(r"[?&](?:code|sig)=", re.IGNORECASE)
_PREFIX = re.compile(r"[^/?#]*(?://[^/?#]*)?")

HeaderName = Annotated[str, Field(min_length=1, max_length=64)]
Body = Literal["cloudevents", "cloudevents_binary", "original"]


class WebhookSettings(OutboundSettings):
    """One endpoint, and how events are given to it."""

    url: Annotated[str, Field(min_length=1, max_length=2_048)] | None = Field(default=None, repr=False)
    """Where events are posted. Its path and query may have slots (``{model}``, ``{data.modelName}``), which
    are filled in URL-escaped; its host never comes from an event. A secret has no place here: see `url_file`.
    """
    url_file: Path | None = None
    """A file that holds the URL, where it is a secret itself; read again when it changes."""
    body: Body = "cloudevents"
    """cloudevents: one JSON object. cloudevents_binary: the data, with the attributes as headers. original:
    as Event Grid itself would have posted it."""
    batch: bool = False
    """Whether what waits in a lane goes out in one request: as a batch of CloudEvents, or as an array."""
    headers: dict[HeaderName, SecretStr] = Field(default_factory=dict, max_length=HEADERS_MAX)
    """Further headers with their values, best as ${NAME_OF_A_VARIABLE}."""
    header_files: dict[HeaderName, Path] = Field(default_factory=dict, max_length=HEADERS_MAX)
    """Further headers, each with the file that holds its value; read again when it changes."""
    signing_secret: SecretStr | None = None
    """The secret to sign with (Standard Webhooks): whsec_…; or two, the newer first, to sign with both."""
    signing_secret_file: Path | None = None
    """The same in a file, one or two lines; read again when it changes."""
    handshake: Literal["off", "required"] = "off"
    """required: nothing is posted before the endpoint has agreed (CloudEvents' abuse protection)."""
    origin: Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$")] | None = None
    """For the handshake: the DNS name that stands for this system."""
    request_rate_per_min: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """For the handshake: requests a minute to ask for."""

    @field_validator("headers", "header_files")
    @classmethod
    def _check_names(cls, given: dict[str, object]) -> dict[str, object]:
        for name in given:
            if not _HEADER.fullmatch(name):
                raise ValueError(f"{name[:64]!a} cannot be the name of a header")
            if _RESERVED.fullmatch(name.lower()):
                raise ValueError(f"{name} is set by inturn itself")
        return given

    @field_validator("headers")
    @classmethod
    def _check_values(cls, given: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in given.items():
            flaw = flaw_of_value(value.get_secret_value())
            if flaw:
                raise ValueError(f"the value of {name} {flaw}")
        return given

    @field_validator("signing_secret")
    @classmethod
    def _check_secret(cls, given: SecretStr | None) -> SecretStr | None:
        flaw = None if given is None else flaw_of_secrets(given.get_secret_value())
        if flaw:
            raise ValueError(flaw)
        return given

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("where to post to: give `url` or `url_file`, and only one of them")
        if self.signing_secret is not None and self.signing_secret_file is not None:
            raise ValueError("give `signing_secret` or `signing_secret_file`, not both")
        twice = {name.lower() for name in self.headers} & {name.lower() for name in self.header_files}
        if twice:
            raise ValueError(f"{min(twice)} stands in `headers` and in `header_files`")
        if self.handshake == "required" and self.origin is None:
            raise ValueError(
                "`handshake: required` needs an `origin`: the DNS name that stands for this system"
            )
        if self.batch and self.body == "cloudevents_binary":
            raise ValueError("`batch` cannot be: with `body: cloudevents_binary` a request holds one event")
        if self.batch and self.url is not None and _SLOT.search(self.url):
            raise ValueError("`batch` cannot be: the URL depends on the event")
        if self.url is not None:
            self._check_url(self.url)
        return self

    def _check_url(self, url: str) -> None:
        if has_key(url):
            raise ValueError("url: holds a key: give the URL in `url_file`")
        prefix, rest = parts_of(url)
        if _SLOT.search(prefix):
            raise ValueError("url: has a slot before its path: the host never comes from an event")
        try:
            Template(rest, SLOTS)
            self.target(_SLOT.sub("x", url))
        except TemplateError as flaw:
            raise ValueError(f"url: {flaw}") from None
        except ValueError as flaw:
            raise ValueError(f"url: {flaw}") from None


def has_key(url: str) -> bool:
    """Whether a URL holds what lets its bearer in, as those of functions and Logic Apps may."""
    return _KEY_IN_URL.search(url) is not None


def parts_of(url: str) -> tuple[str, str]:
    """Scheme, host and port; and the rest, which alone may have slots."""
    found = _PREFIX.match(url)
    end = found.end() if found else 0
    return url[:end], url[end:]


def flaw_of_value(value: str) -> str | None:
    """Why a text cannot be the value of a header, without a word of it; None: it can."""
    if len(value) > HEADER_MAX_CHARS:
        return f"is longer than {HEADER_MAX_CHARS} characters"
    if not value or value != value.strip():
        return "is empty, or has white space around it"
    if not (value.isascii() and value.isprintable()):
        return "has a character that a header cannot have"
    return None
