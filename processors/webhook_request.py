"""What all requests of a webhook have: where they go, the operator's headers, the secrets to sign with."""

from __future__ import annotations

import re
from collections.abc import Mapping

from consumer.errors import ProcessorSettingsError
from consumer.events import Event
from consumer.processor import Context, Reject
from processors.event_slots import SLOTS, slots_of
from processors.secret_files import SecretFile
from processors.templates import Escape, Template, UnfitValue
from processors.webhook_settings import WebhookSettings, flaw_of_value, parts_of
from processors.webhook_signature import flaw_of_secrets

_ENCODED_SLASH = re.compile(r"%2f|%5c", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(
    r"(?<=[?&])([^=&]*(?:sig|code|token|key|secret|pass|auth)[^=&]*=)[^&]*", re.IGNORECASE
)
"""Of a query, what may be a secret: a shared access signature, a function's key."""


class Url:
    """Where to post: one address for all events, or a path or query that each fills in."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._file = None if settings.url_file is None else SecretFile(settings.url_file, "url_file")
        self._prefix, rest = parts_of(settings.url or "")
        self._template = Template(rest, SLOTS)
        self.depends = bool(re.search(r"[{}]", rest))
        """Whether events fill in a part of it."""

    def fixed(self) -> str:
        """The URL as far as no event fills it in. Raises `ProcessorSettingsError`."""
        if self._file is not None:
            return self._file.read()
        url = self._settings.url or ""
        # What asks an endpoint for its permission goes to the address without what is an event's.
        return url.partition("{")[0] if self.depends else url

    def of(self, event: Event, context: Context) -> str:
        """The URL for an event. Raises `Reject` for one that would change more than its part of it."""
        if not self.depends:
            return self.fixed()
        slots = slots_of(event, key=context.key_of(event), processor=context.processor)
        try:
            rest = self._template.render(event, slots, Escape.URL)
            self._settings.target(self._prefix + rest)
        except UnfitValue as flaw:
            raise Reject(str(flaw)) from None
        except ValueError as flaw:
            raise Reject(f"with a value from the event the URL {flaw}") from None
        path = rest.partition("?")[0]
        # Many servers decode a slash before they look which path it is, and then dots lead out of it.
        if _ENCODED_SLASH.search(path) and not _ENCODED_SLASH.search(self._template.text):
            raise Reject("a value from the event has a slash, which cannot be part of a path")
        return self._prefix + rest

    def shown(self, event: Event, context: Context) -> str:
        """The same for a person, without secrets."""
        if self._settings.url_file is not None:
            return "***"
        return _SECRET_PARAMETER.sub(r"\1***", self.of(event, context))


class Credentials:
    """The headers that the operator adds, and the secrets to sign with; from files as these are now."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._fixed = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._files = {
            name: SecretFile(path, f"header_files.{name}") for name, path in settings.header_files.items()
        }
        self._secrets = "" if settings.signing_secret is None else settings.signing_secret.get_secret_value()
        path = settings.signing_secret_file
        self._secrets_file = None if path is None else SecretFile(path, "signing_secret_file")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the headers."""
        return (*self._fixed, *self._files)

    @property
    def signs(self) -> bool:
        """Whether there is a secret to sign with."""
        return bool(self._secrets) or self._secrets_file is not None

    def headers(self) -> Mapping[str, str]:
        """The headers with their values. Raises `ProcessorSettingsError`."""
        found = dict(self._fixed)
        for name, file in self._files.items():
            found[name] = value = file.read()
            if flaw := flaw_of_value(value):
                raise ProcessorSettingsError(f"header_files.{name}: its file {flaw}")
        return found

    def secrets(self) -> str:
        """The signing secrets, one or two; "" for none. Raises `ProcessorSettingsError`."""
        if self._secrets_file is None:
            return self._secrets
        secrets = self._secrets_file.read()
        if flaw := flaw_of_secrets(secrets):
            raise ProcessorSettingsError(f"signing_secret_file: its file {flaw}")
        return secrets
