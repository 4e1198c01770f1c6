"""Order tokens in a few bytes, which compare as the tokens do.

A packed token is its kind (1 byte), its shape (1 byte) and `_ROOM` bytes of value. Two with the same kind
and shape compare byte by byte. What does not fit has the shape `BESIDE`: its value is kept elsewhere.
"""

from __future__ import annotations

import struct

from consumer.events import OrderedBy, OrderToken

_ROOM = 24
"""Bytes: the 48 hexadecimal digits of the longest sequencer that Azure sends."""
PACKED_BYTES = 2 + _ROOM
BESIDE, _INT, _PAIR, _HEX = 0, 1, 2, 16
"""Shapes; of hexadecimal text, `_HEX` plus the number of digits."""
_BIAS = 1 << 63
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
EXACT_CODES = 4
"""Kinds below this count something. The others read a clock, and two events may well share its tick."""
_CODES = {kind: code for code, kind in enumerate(KINDS)}
_pack_int = struct.Struct(f">BBQ{_ROOM - 8}x").pack
_pack_pair = struct.Struct(f">BBQQ{_ROOM - 16}x").pack
_pack_hex = struct.Struct(f">BB{_ROOM}s").pack


def pack(token: OrderToken) -> bytes:
    """Give `PACKED_BYTES` for a token."""
    by, value = token
    code = _CODES[by]
    try:
        if isinstance(value, str):
            digits = len(value)
            if digits <= 2 * _ROOM:
                whole = value if digits % 2 == 0 else value + "0"
                packed = bytes.fromhex(whole)
                if packed.hex() == whole:  # not so if it has capital digits or blanks
                    return _pack_hex(code, _HEX + digits, packed)
        elif isinstance(value, int):
            return _pack_int(code, _INT, value + _BIAS)
        else:
            return _pack_pair(code, _PAIR, value[0] + _BIAS, value[1] + _BIAS)
    except (ValueError, struct.error):
        pass
    return _pack_hex(code, BESIDE, b"")


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
