"""How to reach Azure: with a connection string, from the configuration or a file, or with an identity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator

from consumer.errors import ConfigurationError
from consumer.setting_rules import Concern, Finding, refuse

SECRET_FILE_MAX_BYTES = 65_536
"""A larger file is refused: it is no secret."""


def read_secret(path: Path) -> SecretStr:
    """Read a secret from a file, without white space around it. Raises `ConfigurationError`."""
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_FILE_MAX_BYTES + 1)
        if len(content) > SECRET_FILE_MAX_BYTES:
            raise ConfigurationError(
                f"{path}: too large for a secret ({SECRET_FILE_MAX_BYTES} bytes at most)"
            )
        text = content.decode("utf-8-sig").strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        # Not chained: the error holds the secret's bytes.
        raise ConfigurationError(f"{path}: is not UTF-8 text") from None
    if not text:
        raise ConfigurationError(f"{path}: is empty")
    return SecretStr(text)


class Connection(Concern):
    """One way to authenticate, and only one. A subclass says what names the service for an identity."""

    IDENTITY_FIELD: ClassVar[str]
    CONNECTION_PARTS: ClassVar[tuple[tuple[str, ...], ...]]
    """Of each tuple, a connection string has one of the parts; in lower case."""

    connection_string: SecretStr | None = None
    """The connection string, best as ${NAME_OF_A_VARIABLE}: a secret has no place in the file itself."""
    connection_string_file: Path | None = None
    """A file that holds the connection string; relative to the configuration file's folder."""
    credential: Literal["default", "managed_identity", "workload_identity"] = "default"
    """Which identity to use where no connection string is given; default tries what the machine has."""
    client_id: str | None = Field(default=None, min_length=1, max_length=64)
    """The client id of a user-assigned identity; the default is the machine's own."""

    def secret(self) -> SecretStr | None:
        """The connection string, read from its file if it has one; None: use `credential`.

        Raises `ConfigurationError` if the file cannot be read or does not hold a connection string.
        """
        if self.connection_string_file is None:
            return self.connection_string
        found = read_secret(self.connection_string_file)
        for message in self._flaws(found):
            raise ConfigurationError(f"{self.connection_string_file}: {message}")
        return found

    @model_validator(mode="after")
    def _check_connection(self) -> Self:
        refuse(*self._connection_findings())
        return self

    def _connection_findings(self) -> Iterator[Finding]:
        ways = ("connection_string", "connection_string_file", self.IDENTITY_FIELD)
        given = [name for name in ways if getattr(self, name) is not None]
        if not given:
            yield Finding((), f"no way to authenticate: give one of {', '.join(ways)}")
        for name in given[1:]:
            yield Finding((name,), f"a second way to authenticate, besides {given[0]}: give only one")
        if given and self.IDENTITY_FIELD not in given:
            for name in ("credential", "client_id"):
                if name in self.model_fields_set and getattr(self, name) is not None:
                    yield Finding((name,), f"has no effect without {self.IDENTITY_FIELD}")
        if self.connection_string is not None:
            for message in self._flaws(self.connection_string):
                yield Finding(("connection_string",), message)

    def _flaws(self, secret: SecretStr) -> Iterator[str]:
        """What is wrong with a connection string, without a word of what it says."""
        parts = {part.partition("=")[0].strip().casefold() for part in secret.get_secret_value().split(";")}
        missing = [" or ".join(names) for names in self.CONNECTION_PARTS if parts.isdisjoint(names)]
        if missing:
            yield f"is not a connection string: it has no {', no '.join(missing)}"


class EventHubConnection(Connection):
    """How to reach an Event Hubs namespace."""

    IDENTITY_FIELD: ClassVar[str] = "namespace"
    CONNECTION_PARTS: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("endpoint",),
        ("sharedaccesskey", "sharedaccesssignature"),
    )

    namespace: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.-]+(:\d{1,5})?$", max_length=256)
    """The namespace's full name, NAME.servicebus.windows.net, to authenticate with `credential`."""
    hub: str = Field(min_length=1, max_length=256)
    """The event hub's name."""

    def is_same_hub(self, other: EventHubConnection) -> bool:
        """Whether both lead to one hub, as far as that can be told without reading secrets from files."""
        here, there = self._host(), other._host()
        return self.hub.casefold() == other.hub.casefold() and here == there and here is not None

    def _host(self) -> str | None:
        if self.namespace is not None:
            return self.namespace.casefold()
        if self.connection_string is None:
            return None if self.connection_string_file is None else str(self.connection_string_file)
        for part in self.connection_string.get_secret_value().split(";"):
            name, _, value = part.partition("=")
            if name.strip().casefold() == "endpoint":
                return value.strip().casefold().rpartition("//")[2].strip("/")
        return None

    def _flaws(self, secret: SecretStr) -> Iterator[str]:
        yield from super()._flaws(secret)
        for part in secret.get_secret_value().split(";"):
            name, _, value = part.partition("=")
            if name.strip().casefold() == "entitypath" and value.strip().casefold() != self.hub.casefold():
                yield "is for another hub: its EntityPath is not the hub that is configured"


class BlobConnection(Connection):
    """How to reach a container of an Azure Storage account."""

    IDENTITY_FIELD: ClassVar[str] = "account_url"
    CONNECTION_PARTS: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("accountname", "usedevelopmentstorage", "blobendpoint"),
        ("accountkey", "sharedaccesssignature", "usedevelopmentstorage"),
    )

    container: str = Field(pattern=r"^[a-z0-9](-?[a-z0-9]){2,62}$")
    """The container's name."""
    account_url: str | None = Field(default=None, pattern=r"^https?://[^\s?@]+$", max_length=256)
    """https://ACCOUNT.blob.core.windows.net, to authenticate with `credential`."""
    create_container: bool = False
    """Whether to make the container if it isn't there; the identity needs the right to."""
