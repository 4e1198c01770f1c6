"""The application properties of a message, decoded when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from consumer.sources.amqp_values import MalformedError, decode, places

NONE: Final[Mapping[str, object]] = {}
_REMEMBERED_MAX: Final = 256
_SOUGHT: Final[dict[str, bytes]] = {}
_KEYS_BEHIND: Final[dict[bytes, bool]] = {}
"""The bytes before some key that was asked for, and whether it is one."""


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
        """The value of a key. What others look like that was asked for before costs next to nothing."""
        if self._decoded is None:
            encoded, sought = self._encoded, _SOUGHT.get(key) or _sought(key)
            at = encoded.rfind(sought)
            if at < 0 and sought[2:] not in encoded:
                return default
            if at >= 0 and _is_key(encoded, at):
                return _value(encoded, at + len(sought), default)
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


def _sought(key: str) -> bytes:
    """A key as it usually stands in a map."""
    name = key.encode()
    short = len(name) < 256
    sought = (bytes((0xA1, len(name))) if short else b"\xb1" + len(name).to_bytes(4, "big")) + name
    if len(_SOUGHT) < _REMEMBERED_MAX:
        _SOUGHT[key] = sought
    return sought


def _value(encoded: bytes, at: int, default: Any) -> Any:
    end = len(encoded)
    if at + 1 < end and encoded[at] == 0xA1 and at + 2 + encoded[at + 1] <= end:
        return encoded[at + 2 : at + 2 + encoded[at + 1]].decode("utf-8", "replace")
    try:
        return decode(encoded, at, end)[0]
    except MalformedError:
        return default


def _is_key(encoded: bytes, at: int) -> bool:
    """Whether a key of the map begins at `at`: the same bytes may stand in a value."""
    before = encoded[:at]
    known = _KEYS_BEHIND.get(before)
    if known is None:
        try:
            known = at in places(encoded, 0, len(encoded))[0:-1:2]
        except MalformedError:
            known = False
        if len(_KEYS_BEHIND) >= _REMEMBERED_MAX:
            _KEYS_BEHIND.clear()
        _KEYS_BEHIND[before] = known
    return known


def properties_of(encoded: bytes) -> Mapping[str, object]:
    """The properties in the bytes of a map; b"" has none."""
    return Properties(encoded) if encoded else NONE


def properties_in(column: Sequence[bytes]) -> Callable[[int], Mapping[str, object]]:
    """The properties at a place in a column; those of the same bytes in a row are one map."""
    before, properties = b"", NONE

    def properties_at(index: int) -> Mapping[str, object]:
        nonlocal before, properties
        encoded = column[index]
        if encoded is not before:
            before, properties = encoded, properties_of(encoded)
        return properties

    return properties_at
