"""The AMQP 1.0 type system: Python values to bytes and back.

Decoding gives plain Python values (every integer type becomes `int`, symbols become `Symbol`), and
raises nothing but `CodecError`, whatever the bytes are. Encoding picks the smallest form; where
AMQP has several types for one Python type the small classes below say which is meant, and a bare
`int` is a long.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

DEPTH_MAX = 32
"""How deep lists, maps and described values may be nested; deeper input is refused."""


class CodecError(Exception):
    """The bytes are not AMQP, or the value has no AMQP form."""


class Symbol(str):
    """ASCII text from a set of names, such as a capability or an error condition."""

    __slots__ = ()


class UByte(int):
    """0 to 255."""


class UShort(int):
    """0 to 65,535."""


class UInt(int):
    """0 to 2³²-1."""


class ULong(int):
    """0 to 2⁶⁴-1."""


class Int(int):
    """-2³¹ to 2³¹-1."""


class Timestamp(int):
    """Milliseconds since 1970-01-01 UTC."""


class Described(NamedTuple):
    """A value with a descriptor that says what it means."""

    descriptor: Any
    value: Any


class Array(list[Any]):
    """Elements of one type, encoded with that type named once. Only text and symbols can be encoded."""


_U8 = struct.Struct(">B")
_S8 = struct.Struct(">b")
_U16 = struct.Struct(">H")
_S16 = struct.Struct(">h")
_U32 = struct.Struct(">I")
_S32 = struct.Struct(">i")
_U64 = struct.Struct(">Q")
_S64 = struct.Struct(">q")
_F32 = struct.Struct(">f")
_F64 = struct.Struct(">d")

_CONSTANTS: dict[int, object] = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}
_NUMBERS: dict[int, struct.Struct] = {
    0x50: _U8, 0x51: _S8, 0x52: _U8, 0x53: _U8, 0x54: _S8, 0x55: _S8,
    0x60: _U16, 0x61: _S16,
    0x70: _U32, 0x71: _S32, 0x72: _F32,
    0x80: _U64, 0x81: _S64, 0x82: _F64,
}  # fmt: skip
_TEXTS = {0xA0: _U8, 0xA1: _U8, 0xA3: _U8, 0xB0: _U32, 0xB1: _U32, 0xB3: _U32}
_LISTS_AND_MAPS = {0xC0: _U8, 0xC1: _U8, 0xD0: _U32, 0xD1: _U32}
_ARRAYS = {0xE0: _U8, 0xF0: _U32}
_FIXED_WIDTHS = {4: 0, 5: 1, 6: 2, 7: 4, 8: 8, 9: 16}
"""Bytes that follow a type code, by its upper half; the other halves announce their own size."""


def decode(buffer: bytes, at: int = 0) -> tuple[Any, int]:
    """Decode the value that begins at `at`; gives it and where the next one begins."""
    try:
        return _decode(buffer, at, 0)
    except (IndexError, struct.error):
        raise CodecError("the bytes end inside a value") from None
    except (UnicodeDecodeError, OverflowError, TypeError) as error:
        raise CodecError(f"a value is malformed: {error}") from None


def skip(buffer: bytes, at: int) -> int:
    """Where the value after the one that begins at `at` begins, without decoding it."""
    try:
        code = buffer[at]
        if code == 0:
            if buffer[at + 1] == 0:
                raise CodecError("a descriptor is described itself")
            at = skip(buffer, at + 1)
            code = buffer[at]
            if code == 0:
                raise CodecError("a described value is described again")
        width = _FIXED_WIDTHS.get(code >> 4)
        if width is not None:
            end = at + 1 + width
        elif code >> 4 in {0xA, 0xC, 0xE}:
            end = at + 2 + buffer[at + 1]
        elif code >> 4 in {0xB, 0xD, 0xF}:
            end = at + 5 + int(_U32.unpack_from(buffer, at + 1)[0])
        else:
            raise CodecError(f"unknown type code 0x{code:02x}")
    except (IndexError, struct.error):
        raise CodecError("the bytes end inside a value") from None
    if end > len(buffer):
        raise CodecError("the bytes end inside a value")
    return end


def _decode(buffer: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > DEPTH_MAX:
        raise CodecError(f"values are nested more than {DEPTH_MAX} deep")
    code = buffer[at]
    if code == 0:
        descriptor, at = _decode(buffer, at + 1, depth + 1)
        value, at = _decode(buffer, at, depth + 1)
        return Described(descriptor, value), at
    if code == 0x45:
        return [], at + 1
    return _decode_as(code, buffer, at + 1, depth)


def _decode_as(code: int, buffer: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Decode the value of type `code` whose content begins at `at`."""
    number = _NUMBERS.get(code)
    if number is not None:
        return number.unpack_from(buffer, at)[0], at + number.size
    if code in _TEXTS:
        return _decode_text(code, buffer, at)
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code in _LISTS_AND_MAPS:
        return _decode_list_or_map(code, buffer, at, depth)
    if code in _ARRAYS:
        return _decode_array(_ARRAYS[code], buffer, at, depth)
    return _decode_rare(code, buffer, at)


def _decode_text(code: int, buffer: bytes, at: int) -> tuple[Any, int]:
    size = _TEXTS[code]
    begin = at + size.size
    end = begin + size.unpack_from(buffer, at)[0]
    if end > len(buffer):
        raise IndexError
    raw = bytes(buffer[begin:end])
    match code & 0x0F:
        case 0:
            return raw, end
        case 1:
            return raw.decode("utf-8"), end
        case _:
            return Symbol(raw.decode("ascii")), end


def _decode_list_or_map(code: int, buffer: bytes, at: int, depth: int) -> tuple[Any, int]:
    size = _LISTS_AND_MAPS[code]
    end = at + size.size + size.unpack_from(buffer, at)[0]
    count = size.unpack_from(buffer, at + size.size)[0]
    at += 2 * size.size
    if end > len(buffer) or count > end - at:  # every element takes a byte at least
        raise IndexError
    values: list[Any] = []
    for _ in range(count):
        value, at = _decode(buffer, at, depth + 1)
        values.append(value)
    if at != end:
        raise CodecError("a list or map is not as long as it says")
    if code & 0x0F == 0:
        return values, end
    if count % 2:
        raise CodecError("a map has a key without a value")
    return dict(zip(values[::2], values[1::2], strict=True)), end


def _decode_array(size: struct.Struct, buffer: bytes, at: int, depth: int) -> tuple[Array, int]:
    end = at + size.size + size.unpack_from(buffer, at)[0]
    count = size.unpack_from(buffer, at + size.size)[0]
    at += 2 * size.size
    if end > len(buffer) or count > max(end - at, 0):  # elements without content are not worth an attack
        raise IndexError
    values = Array()
    if count == 0:
        return values, end
    descriptor: Any = None
    code = buffer[at]
    described = code == 0
    if described:
        descriptor, at = _decode(buffer, at + 1, depth + 1)
        code = buffer[at]
    at += 1
    if code in {0x00, 0x45}:
        raise CodecError("an array of a type that arrays cannot hold")
    for _ in range(count):
        value, at = _decode_as(code, buffer, at, depth + 1)
        values.append(Described(descriptor, value) if described else value)
    if at != end:
        raise CodecError("an array is not as long as it says")
    return values, end


def _decode_rare(code: int, buffer: bytes, at: int) -> tuple[Any, int]:
    width = _FIXED_WIDTHS.get(code >> 4, 0)
    raw = bytes(buffer[at : at + width])
    if len(raw) < width:
        raise IndexError
    match code:
        case 0x56:
            if raw not in {b"\x00", b"\x01"}:
                raise CodecError("a boolean is neither true nor false")
            return raw == b"\x01", at + 1
        case 0x73:
            point = _U32.unpack(raw)[0]
            if point > 0x10FFFF:
                raise CodecError("a character outside Unicode")
            return chr(point), at + 4
        case 0x74 | 0x84 | 0x94:  # decimals: kept as their bytes, since nothing here calculates with them
            return raw, at + width
        case 0x83:
            return Timestamp(_S64.unpack(raw)[0]), at + 8
        case 0x98:
            return uuid.UUID(bytes=raw), at + 16
        case _:
            raise CodecError(f"unknown type code 0x{code:02x}")


def encode(value: object) -> bytes:
    """The smallest AMQP form of a value. Raises `CodecError` if it has none."""
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        raise CodecError(f"a {type(value).__name__} has no AMQP form")
    try:
        return encoder(value)
    except (struct.error, UnicodeEncodeError) as error:
        raise CodecError(f"{type(value).__name__} out of range: {error}") from None


def encode_list(fields: list[bytes]) -> bytes:
    """A list of values that are encoded already."""
    return _compound(0xC0, 0xD0, len(fields), b"".join(fields))


def encode_map(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """A map of keys and values that are encoded already."""
    return _compound(0xC1, 0xD1, 2 * len(pairs), b"".join([key + value for key, value in pairs]))


def _compound(small: int, large: int, count: int, content: bytes) -> bytes:
    if len(content) < 255 and count < 256:
        return bytes((small, len(content) + 1, count)) + content
    return _U8.pack(large) + _U32.pack(len(content) + 4) + _U32.pack(count) + content


def _variable(small: int, raw: bytes) -> bytes:
    if len(raw) < 256:
        return bytes((small, len(raw))) + raw
    return _U8.pack(small + 0x10) + _U32.pack(len(raw)) + raw


def _encode_uint(value: int) -> bytes:
    if value == 0:
        return b"\x43"
    return b"\x52" + _U8.pack(value) if 0 < value < 256 else b"\x70" + _U32.pack(value)


def _encode_ulong(value: int) -> bytes:
    if value == 0:
        return b"\x44"
    return b"\x53" + _U8.pack(value) if 0 < value < 256 else b"\x80" + _U64.pack(value)


def _encode_int(value: int) -> bytes:
    return b"\x54" + _S8.pack(value) if -128 <= value < 128 else b"\x71" + _S32.pack(value)


def _encode_long(value: int) -> bytes:
    return b"\x55" + _S8.pack(value) if -128 <= value < 128 else b"\x81" + _S64.pack(value)


def _encode_described(value: Described) -> bytes:
    return b"\x00" + encode(value.descriptor) + encode(value.value)


def _encode_array(values: Array) -> bytes:
    symbols = bool(values) and isinstance(values[0], Symbol)
    raws = [value.encode("ascii" if symbols else "utf-8") for value in values]
    code = 0xB3 if symbols else 0xB1
    content = _U8.pack(code) + b"".join([_U32.pack(len(raw)) + raw for raw in raws])
    return b"\xf0" + _U32.pack(len(content) + 4) + _U32.pack(len(raws)) + content


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"\x40",
    bool: lambda value: b"\x41" if value else b"\x42",
    int: _encode_long,
    float: lambda value: b"\x82" + _F64.pack(value),
    str: lambda value: _variable(0xA1, value.encode("utf-8")),
    bytes: lambda value: _variable(0xA0, value),
    Symbol: lambda value: _variable(0xA3, value.encode("ascii")),
    UByte: lambda value: b"\x50" + _U8.pack(value),
    UShort: lambda value: b"\x60" + _U16.pack(value),
    UInt: _encode_uint,
    ULong: _encode_ulong,
    Int: _encode_int,
    Timestamp: lambda value: b"\x83" + _S64.pack(value),
    uuid.UUID: lambda value: b"\x98" + value.bytes,
    list: lambda values: encode_list([encode(value) for value in values]),
    dict: lambda values: encode_map([(encode(key), encode(value)) for key, value in values.items()]),
    Described: _encode_described,
    Array: _encode_array,
}
