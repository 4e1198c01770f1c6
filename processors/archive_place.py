"""Where an archive in blobs is, and how to reach it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from processors.identities import Identity

_WAYS = ("connection_string", "connection_string_file", "account_url")


class BlobPlace(BaseModel):
    """A container of an Azure Storage account.

    Give exactly one of connection_string, connection_string_file and account_url.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    container: str = Field(pattern=r"^[a-z0-9](-?[a-z0-9]){2,62}$")
    """The container's name."""
    prefix: str = Field(default="", pattern=r"^([A-Za-z0-9_=-][A-Za-z0-9._=-]*(/|$))*$", max_length=512)
    """What the names of blobs begin with, such as a folder; behind it come year, month, day and hour."""
    connection_string: SecretStr | None = None
    """The connection string, best as ${NAME_OF_A_VARIABLE}: a secret has no place in the file itself."""
    connection_string_file: Path | None = None
    """A file that holds the connection string."""
    account_url: str | None = Field(default=None, pattern=r"^https://[^\s?@]+$", max_length=256)
    """https://ACCOUNT.blob.core.windows.net, to authenticate with `credential`."""
    credential: Identity = "default"
    """Which identity to use with account_url; it needs the role Storage Blob Data Contributor."""
    client_id: str | None = Field(default=None, min_length=1, max_length=64)
    """The client id of a user-assigned identity; the default is the machine's own."""
    create_container: bool = False
    """Whether to make the container if it isn't there; the identity needs the right to."""

    @model_validator(mode="after")
    def _check_way(self) -> Self:
        for message in self._findings():
            raise ValueError(message)
        return self

    def _findings(self) -> Iterator[str]:
        given = [name for name in _WAYS if getattr(self, name) is not None]
        if len(given) != 1:
            yield f"give exactly one of {', '.join(_WAYS)}"
        for name in ("credential", "client_id"):
            if "account_url" not in given and name in self.model_fields_set:
                yield f"{name} has no effect without account_url"
