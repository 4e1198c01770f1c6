"""Which partition an event with a partition key goes to: the service's own hash.

Bob Jenkins' lookup3 over the key, both of its results xor-ed, the low 16 bits read as a signed
number, modulo the number of partitions. Every Event Hubs client computes the same, so that a key
keeps its partition whoever places it.
"""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_WORDS = struct.Struct("<III")


def partition_of(key: str, partitions: int) -> int:
    """The index of the partition, below `partitions`, that events with `key` are placed on."""
    return hash_of(key) % partitions


def hash_of(key: str) -> int:
    """The signed 16-bit hash of a partition key; 0 for an empty one."""
    if not key:
        return 0
    first, second = _lookup3(key.encode("utf-8"))
    low = (first ^ second) & 0xFFFF
    return low - 0x10000 if low >= 0x8000 else low


def _lookup3(data: bytes) -> tuple[int, int]:
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    at = 0
    while len(data) - at > 12:
        x, y, z = _WORDS.unpack_from(data, at)
        a, b, c = _mix((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
        at += 12
    x, y, z = _WORDS.unpack(data[at:].ljust(12, b"\0"))
    return _final((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)


def _rotated(x: int, by: int) -> int:
    return ((x << by) | (x >> (32 - by))) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by_a, by_b, by_c in ((4, 6, 8), (16, 19, 4)):
        a = ((a - c) & _MASK) ^ _rotated(c, by_a)
        c = (c + b) & _MASK
        b = ((b - a) & _MASK) ^ _rotated(a, by_b)
        a = (a + c) & _MASK
        c = ((c - b) & _MASK) ^ _rotated(b, by_c)
        b = (b + a) & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> tuple[int, int]:
    c = ((c ^ b) - _rotated(b, 14)) & _MASK
    a = ((a ^ c) - _rotated(c, 11)) & _MASK
    b = ((b ^ a) - _rotated(a, 25)) & _MASK
    c = ((c ^ b) - _rotated(b, 16)) & _MASK
    a = ((a ^ c) - _rotated(c, 4)) & _MASK
    b = ((b ^ a) - _rotated(a, 14)) & _MASK
    c = ((c ^ b) - _rotated(b, 24)) & _MASK
    return c, b
