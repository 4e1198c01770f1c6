"""Read what version 0.1 stored: ``inturn`` + NUL, 1, a CRC-32, and everything as deflated MessagePack."""

from __future__ import annotations

import struct
import zlib

import msgspec

from consumer.core.deduplicator import Deduplicator
from consumer.core.object_table import ObjectsImage, ObjectTable, object_key
from consumer.core.place import NamedPlace
from consumer.core.sections import MAGIC
from consumer.core.table_image import TableImage
from consumer.errors import CorruptState
from consumer.events import Checkpoint, ObjectId, OrderedBy, OrderToken

_HEADER = struct.Struct(">HI")
_START = len(MAGIC) + _HEADER.size
_SIZE_MAX = 512 * 1_048_576
"""Bytes after inflating: far above any state within the caps, far below what would fell the process."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """The last released event of an object."""

    topic: int
    """Index into `State.topics`."""
    path: str
    by: str
    value: str | int | tuple[int, int]
    event_type: str
    time_ms: int


class State(msgspec.Struct, frozen=True, array_like=True):
    """The state of a partition; the fields are those of `consumer.core.snapshot.Snapshot`."""

    epoch: int
    owner: str
    checkpoint: Checkpoint
    watermark_ms: int | None
    config_hash: str
    done_above: dict[int, list[int]]
    released: list[tuple[int, str, list[tuple[int, int]]]]
    acks: list[tuple[int, int, list[str], bool, bool, str | None]]
    topics: list[str]
    objects: list[Entry]
    """Longest quiet first."""
    identities: list[tuple[bytes, bytes, int]]
    """Digest of the identity, digest of the data, log time; oldest first."""


def is_format_1(stored: bytes) -> bool:
    """Whether this claims to be of format 1."""
    return stored.startswith(MAGIC + b"\0\1")


def read(stored: bytes) -> State:
    """Read stored bytes. Raises `CorruptState`."""
    if len(stored) < _START:
        raise CorruptState("The stored state is cut short.")
    _, checksum = _HEADER.unpack_from(stored, len(MAGIC))
    body = stored[_START:]
    if zlib.crc32(body) != checksum:
        raise CorruptState("The stored state is damaged: its checksum does not match.")
    try:
        inflater = zlib.decompressobj()
        packed = inflater.decompress(body, _SIZE_MAX)
        if not inflater.eof:
            raise CorruptState(f"The stored state is larger than {_SIZE_MAX} bytes, or cut short.")
        return msgspec.msgpack.decode(packed, type=State)
    except (zlib.error, msgspec.DecodeError) as error:
        raise CorruptState(f"The stored state cannot be read: {error}.") from error


def tables(state: State) -> tuple[ObjectsImage, TableImage]:
    """Put the objects and identities of a state into tables. Raises `CorruptState`."""
    objects = ObjectTable()
    try:
        for entry in state.objects:
            token = OrderToken(OrderedBy(entry.by), entry.value)
            key = object_key(ObjectId(state.topics[entry.topic], entry.path))
            objects.put(NamedPlace(key, token, entry.event_type), entry.time_ms)
    except (ValueError, IndexError) as error:
        raise CorruptState(f"The stored state cannot be read: {error}.") from error
    identities = Deduplicator(window_ms=0, identities_max=len(state.identities))
    for identity, data, time_ms in state.identities:
        identities.remember(identity + data, time_ms)
    return objects.image(), identities.image()
