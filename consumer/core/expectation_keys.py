"""What a rule knows a thing by: texts made of an event, which its trigger and its fulfilment share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from consumer.core.admission import TypeFilter
from consumer.core.filter_keys import Read, reader_of
from consumer.errors import BadData
from consumer.events import Event

KEY_MAX = 1_024
"""Characters of a key; what is longer is none."""
KEYS_MAX = 1_000
"""Keys of one event; further ones are left out."""
_PART = re.compile(r"\{([^{}]*)\}")


def paths_in(template: str) -> list[str]:
    """The paths between the braces of a template."""
    return [path.strip() for path in _PART.findall(template)]


class Template:
    """A text with paths of an event in braces, such as ``{data.modelName}:{data.modelVersion}``."""

    def __init__(self, template: str) -> None:
        parts = _PART.split(template)
        self._texts = parts[::2]
        self._reads: list[Read] = [reader_of(path.strip(), as_text=False) for path in parts[1::2]]

    def keys(self, event: Event) -> list[str]:
        """The one key of an event; none if something of it is not there."""
        key = self._texts[0]
        for read, text in zip(self._reads, self._texts[1:], strict=True):
            value = _as_text(read(event))
            if not value:
                return []
            key += value + text
        return [key] if len(key) <= KEY_MAX else []


class Listed:
    """A path that leads to several keys: an array, or a text with commas between them."""

    def __init__(self, path: str) -> None:
        self._read = reader_of(path, as_text=False)

    def keys(self, event: Event) -> list[str]:
        """The keys of an event, each once."""
        value = self._read(event)
        parts: Iterable[Any] = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list):
            return []
        keys = [_as_text(part).strip() for part in parts[:KEYS_MAX]]
        return list(dict.fromkeys(key for key in keys if key and len(key) <= KEY_MAX))


class Sought:
    """Which events one side of a rule looks at, and what it knows them by."""

    def __init__(
        self, types: Sequence[str], keys: Template | Listed, matches: Callable[[Event], bool] | None = None
    ) -> None:
        """`matches` is a filter (`consumer.core.filters`); None: it has none."""
        self.types = TypeFilter(types)
        self._keys = keys
        self._matches = matches

    def keys(self, event: Event) -> list[str]:
        """The keys of an event of the right type; none if it is not meant, or its data is unreadable."""
        try:
            if self._matches is not None and not self._matches(event):
                return []
            return self._keys.keys(event)
        except BadData:
            return []


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
