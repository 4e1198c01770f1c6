"""Order tokens in a few bytes, which compare as the tokens do.

A packed token is its kind (1 byte), its shape (1 byte) and `_ROOM` bytes of value. Two with the same kind
and shape compare byte by byte. What does not fit has the shape `BESIDE`: its value is kept elsewhere.
"""

from __future__ import annotations

import struct
from binascii import unhexlify
from typing import Final

from consumer.events import OrderedBy, OrderToken, OrderValue

_ROOM: Final = 24
"""Bytes: the 48 hexadecimal digits of the longest sequencer that Azure sends."""
PACKED_BYTES: Final = 2 + _ROOM
BESIDE: Final = 0
_INT: Final = 1
_PAIR: Final = 2
_HEX: Final = 16
"""Shapes; of hexadecimal text, `_HEX` plus the number of digits."""
_BIAS: Final = 1 << 63
"""Makes 64-bit numbers positive, so that their bytes are in their order."""

KINDS = (
    OrderedBy.SEQUENCER,
    OrderedBy.SEQUENCE_NUMBER,
    OrderedBy.SYNC_TOKEN,
    OrderedBy.VERSION,
    OrderedBy.STATUS,
    OrderedBy.WINDOW_END,
    OrderedBy.EVENT_TIME,
    OrderedBy.ARRIVAL,
)
"""The place in here is what is stored: only ever add at the end."""
EXACT_CODES: Final = 4
"""Kinds below this count something. The others read a clock, and two events may well share its tick."""
_CODES = {kind: code for code, kind in enumerate(KINDS)}
_pack_int: Final = struct.Struct(f">BBQ{_ROOM - 8}x").pack
_pack_pair: Final = struct.Struct(f">BBQQ{_ROOM - 16}x").pack
_unhexlify: Final = unhexlify
_HEADS: Final = [
    [bytes((code, _HEX + digits)) for digits in range(2 * _ROOM + 1)] for code in range(len(KINDS))
]
"""The first two bytes for hexadecimal text, by kind and number of digits."""


def code_of(by: OrderedBy) -> int:
    """How a kind is stored."""
    return _CODES[by]


def pack(token: OrderToken) -> bytes:
    """Give `PACKED_BYTES` for a token."""
    code, value = _CODES[token.by], token.value
    if isinstance(value, str) and value != value.lower():
        return _beside(code)
    return pack_value(code, value)


def pack_value(code: int, value: OrderValue) -> bytes:
    """Give `PACKED_BYTES` for the value of a token of a kind; it has no capital letters."""
    try:
        if isinstance(value, str):
            digits = len(value)
            if digits == 2 * _ROOM:
                return _HEADS[code][digits] + _unhexlify(value)
            if digits < 2 * _ROOM:
                found = _unhexlify(value if digits % 2 == 0 else value + "0")
                return (_HEADS[code][digits] + found).ljust(PACKED_BYTES, b"\0")
        elif isinstance(value, int):
            return _pack_int(code, _INT, value + _BIAS)
        else:
            return _pack_pair(code, _PAIR, value[0] + _BIAS, value[1] + _BIAS)
    except (ValueError, struct.error):
        pass
    return _beside(code)


def _beside(code: int) -> bytes:
    return bytes((code, BESIDE)).ljust(PACKED_BYTES, b"\0")


def unpack(packed: bytes) -> OrderToken | None:
    """Give the token again; None for one whose value is kept elsewhere. Raises `ValueError`."""
    code, shape = packed[:2]
    if code >= len(KINDS) or not (shape in {BESIDE, _INT, _PAIR} or _HEX <= shape <= _HEX + 2 * _ROOM):
        raise ValueError(f"a token of kind {code} and shape {shape}")
    by = KINDS[code]
    if shape == BESIDE:
        return None
    if shape == _INT:
        return OrderToken(by, _number(packed, 2))
    if shape == _PAIR:
        return OrderToken(by, (_number(packed, 2), _number(packed, 10)))
    return OrderToken(by, packed[2:].hex()[: shape - _HEX])


def kind_of(packed: bytes) -> OrderedBy:
    """The kind of a packed token."""
    return KINDS[packed[0]]


def _number(packed: bytes, at: int) -> int:
    return int.from_bytes(packed[at : at + 8], "big") - _BIAS
