"""The application properties of a message, decoded when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from consumer.sources.amqp_values import MalformedError, decode

NONE: Final[Mapping[str, object]] = {}


class Properties(Mapping[str, object]):
    """A map as it came; one that is malformed is empty. Times are milliseconds since 1970."""

    __slots__ = ("_decoded", "_encoded")

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        self._decoded: dict[str, object] | None = None

    def __getitem__(self, key: str) -> object:
        return self._values()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key. A key whose name is nowhere in the bytes costs next to nothing."""
        if self._decoded is None and key.encode() not in self._encoded:
            return default
        return self._values().get(key, default)

    def _values(self) -> dict[str, object]:
        if self._decoded is None:
            try:
                values = decode(self._encoded, 0, len(self._encoded))[0]
            except MalformedError:
                values = {}
            self._decoded = (
                {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}
            )
        return self._decoded


def properties_of(encoded: bytes) -> Mapping[str, object]:
    """The properties in the bytes of a map; b"" has none."""
    return Properties(encoded) if encoded else NONE
