"""A processor in a package of its own: it writes a line for every model that is registered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from consumer.events import Event
from consumer.processor import Context, Reject


class Announce:
    """Appends a line for each model to a file; a model without a name is put aside."""

    class Settings(BaseModel):
        """Where lines go."""

        model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

        path: Path
        """The file; relative to the configuration."""
        greeting: str = "New model"
        """How each line begins."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, event: Event, context: Context) -> None:
        """Write the line; a repeated one has the same key."""
        with self._settings.path.open("a") as file:
            file.write(f"{self._line(event)} {context.idempotency_key}\n")

    def preview(self, event: Event, _context: Context) -> Mapping[str, Any]:
        """The line without its key."""
        return {"line": self._line(event)}

    def _line(self, event: Event) -> str:
        name = event.field("modelName")
        if not isinstance(name, str):
            raise Reject("the model has no name")
        return f"{self._settings.greeting}: {name} {event.field('modelVersion')}"
