"""Calls an Azure Function or a Logic App for every event: a webhook with what these two need.

A function takes its key as a header, from a file; the URL of a Logic App holds a signature and is a secret
itself, so it comes from a file. What they answer means what it means for a webhook.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, model_validator

from processors.outbound import OutboundSettings
from processors.webhook import Webhook
from processors.webhook_settings import Body, WebhookSettings, has_key

KEY_HEADER = "x-functions-key"


class FunctionSettings(OutboundSettings):
    """Which function or Logic App, and how it knows us."""

    url: Annotated[str, Field(min_length=1, max_length=2_048)] | None = None
    """https://APP.azurewebsites.net/api/NAME. Its path and query may have slots, as those of a webhook."""
    url_file: Path | None = None
    """A file that holds the URL: of a Logic App, with its signature. Read again when it changes."""
    key: SecretStr | None = None
    """The key of the function or of its app, best as ${NAME_OF_A_VARIABLE}."""
    key_file: Path | None = None
    """The same in a file; read again when it changes."""
    body: Body = "cloudevents"
    """cloudevents, cloudevents_binary, or original: as Event Grid itself would have posted it."""
    batch: bool = False
    """Whether what waits in a lane goes out in one request."""

    @model_validator(mode="after")
    def _check_function(self) -> Self:
        if self.url is not None and has_key(self.url):
            raise ValueError("url: holds a key: give the URL in `url_file`, or the key in `key_file`")
        if self.key is not None and self.key_file is not None:
            raise ValueError("give `key` or `key_file`, not both")
        try:
            self.as_webhook()
        except ValidationError as error:
            said = (detail["msg"].removeprefix("Value error, ") for detail in error.errors())
            raise ValueError("; ".join(said)) from None
        return self

    def as_webhook(self) -> WebhookSettings:
        """The webhook that does it."""
        given = self.model_dump(exclude={"key", "key_file"}, exclude_unset=True)
        if self.key is not None:
            given["headers"] = {KEY_HEADER: self.key}
        if self.key_file is not None:
            given["header_files"] = {KEY_HEADER: self.key_file}
        return WebhookSettings(**given)


class Function(Webhook):
    """Posts every event to a function or a Logic App."""

    Settings = FunctionSettings  # type: ignore[assignment]  # what a class is made from is its own matter

    def __init__(self, settings: FunctionSettings) -> None:
        super().__init__(settings.as_webhook())
