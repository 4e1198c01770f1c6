"""Values of AMQP 1.0 as they stand in a message: stepped over by their sizes, or decoded.

Only what a receiver needs, and strict about sizes: nothing here reads beyond the end it was given. Times are
milliseconds since 1970-01-01 UTC; text, symbols and binary become `str`.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from typing import Any, Final

DEPTH_MAX: Final = 16
"""How deep lists, maps and described values may be nested."""

_U32: Final = struct.Struct(">I")
_WIDTHS: Final = {4: 0, 5: 1, 6: 2, 7: 4, 8: 8, 9: 16}
"""Bytes after a type code, by its upper half; types with other halves announce their own size."""
_CONSTANTS: Final[dict[int, object]] = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}
_NUMBERS: Final[dict[int, Callable[[bytes, int], tuple[Any, ...]]]] = {
    code: struct.Struct(layout).unpack_from
    for code, layout in {
        0x50: ">B", 0x51: ">b", 0x52: ">B", 0x53: ">B", 0x54: ">b", 0x55: ">b", 0x56: ">?",
        0x60: ">H", 0x61: ">h", 0x70: ">I", 0x71: ">i", 0x72: ">f",
        0x80: ">Q", 0x81: ">q", 0x82: ">d", 0x83: ">q",
    }.items()
}  # fmt: skip


class MalformedError(Exception):
    """The bytes are not what AMQP allows in this place."""


def skip(data: bytes, at: int, end: int) -> int:
    """Where the value at `at` ends, which must not be beyond `end`. Raises `MalformedError`."""
    depth = 0
    while at < end and data[at] == 0:
        # A descriptor, which says what the value means, and then the value.
        depth += 1
        if depth > 1 or at + 1 >= end or data[at + 1] == 0:
            raise MalformedError("a descriptor is described itself")
        at = skip(data, at + 1, end)
    if at >= end:
        raise MalformedError("a value is missing")
    kind = data[at] >> 4
    width = _WIDTHS.get(kind, -1)
    if width >= 0:
        stop = at + 1 + width
    elif kind in (0xA, 0xC, 0xE):
        stop = at + 2 + (data[at + 1] if at + 1 < end else end)
    elif kind in (0xB, 0xD, 0xF):
        stop = at + 5 + (int(_U32.unpack_from(data, at + 1)[0]) if at + 5 <= end else end)
    else:
        raise MalformedError(f"type code 0x{data[at]:02x} is unknown")
    if stop > end:
        raise MalformedError("a value is cut off")
    return stop


def decode(data: bytes, at: int, end: int, depth: int = 0) -> tuple[Any, int]:
    """The value at `at`, and where it ends. Raises `MalformedError`."""
    stop = skip(data, at, end)
    code = data[at]
    if code in (0xA0, 0xA1, 0xA3):
        return data[at + 2 : stop].decode("utf-8", "replace"), stop
    if code in (0xB0, 0xB1, 0xB3):
        return data[at + 5 : stop].decode("utf-8", "replace"), stop
    number = _NUMBERS.get(code)
    if number is not None:
        return number(data, at + 1)[0], stop
    if code in _CONSTANTS:
        return _CONSTANTS[code], stop
    if depth >= DEPTH_MAX:
        raise MalformedError(f"values are nested more than {DEPTH_MAX} deep")
    if code == 0:
        return decode(data, skip(data, at + 1, end), stop, depth + 1)
    if code in (0x45, 0xC0, 0xD0):
        return elements(data, at, stop, depth), stop
    if code in (0xC1, 0xD1):
        values = elements(data, at, stop, depth)
        try:
            return dict(zip(values[::2], values[1::2], strict=True)), stop
        except (TypeError, ValueError):
            raise MalformedError("a map is not made of keys and values") from None
    if code == 0x98:
        return uuid.UUID(bytes=data[at + 1 : stop]), stop
    return data[at:stop], stop  # arrays, decimals and characters: for nobody here


def elements(data: bytes, at: int, end: int, depth: int = 0) -> list[Any]:
    """The elements of the list or map that fills `at` to `end`, decoded. Raises `MalformedError`."""
    stop, count = _opened(data, at, end)
    values: list[Any] = []
    for _ in range(count):
        value, stop = decode(data, stop, end, depth + 1)
        values.append(value)
    if stop != end:
        raise MalformedError("a list or map is not as long as it says")
    return values


def places(data: bytes, at: int, end: int) -> list[int]:
    """Where the elements of the list or map that fills `at` to `end` begin, and where the last one ends.

    Raises `MalformedError`.
    """
    stop, count = _opened(data, at, end)
    found = [stop]
    for _ in range(count):
        stop = skip(data, stop, end)
        found.append(stop)
    if stop != end:
        raise MalformedError("a list or map is not as long as it says")
    return found


def _opened(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the first element begins, and how many there are."""
    code = data[at]
    if code == 0x45:
        return at + 1, 0
    if code in (0xC0, 0xC1) and at + 3 <= end:
        first, count = at + 3, data[at + 2]
    elif code in (0xD0, 0xD1) and at + 9 <= end:
        first, count = at + 9, int(_U32.unpack_from(data, at + 5)[0])
    else:
        raise MalformedError("there is no list or map")
    if count > end - first:  # an element takes a byte at least
        raise MalformedError("a list or map has more elements than bytes")
    return first, count
