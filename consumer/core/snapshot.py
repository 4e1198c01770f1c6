"""What is stored with a checkpoint, and its bytes.

The bytes are ``inturn`` + NUL, the format number (2 bytes), a CRC-32 of what follows (4 bytes), and a
deflated MessagePack array. Formats `FORMAT` and the one before it are readable.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import msgspec

from consumer.errors import CorruptState, NewerState
from consumer.events import Checkpoint

FORMAT = 1
_MAGIC = b"inturn\0"
_HEADER = struct.Struct(">HI")
_SIZE_MAX = 512 * 1_048_576
"""Bytes after inflating: far above any state within the caps, far below what would fell the process."""


class ObjectEntry(msgspec.Struct, frozen=True, array_like=True):
    """The last released event of an object."""

    topic: int
    """Index into `Snapshot.topics`."""
    path: str
    by: str
    value: str | int | tuple[int, int]
    event_type: str
    time_ms: int


class Progress(NamedTuple):
    """An event that some processors are done with and others are not."""

    sequence_number: int
    element: int
    """Its index in the message."""
    done: list[str]
    """The names of the processors that are done."""
    handled: bool
    """One of them has handled it."""
    stale: bool
    """It came too late, or a later one was taken instead of it."""
    dead: str | None
    """The `Reason` why one of them has put it aside."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The state of a partition. Held events are not in it: they are read again.

    Positions are (sequence number, index in the message).
    """

    epoch: int
    owner: str
    checkpoint: Checkpoint
    watermark_ms: int | None
    """As it was at the checkpoint, from which the log is read again: not as it is now."""
    config_hash: str
    done_above: dict[int, list[int]]
    """Above the checkpoint: what is resolved."""
    released: list[tuple[int, str, list[tuple[int, int]]]]
    """Events that were released and are not resolved: topic and path of the object, positions in order."""
    acks: list[Progress]
    """Unresolved events of which there is something to remember."""
    topics: list[str]
    objects: list[ObjectEntry]
    identities: list[tuple[bytes, bytes, int]]
    """Digest of the identity, digest of the data, log time; oldest first."""


def new_snapshot(checkpoint: Checkpoint, owner: str) -> Snapshot:
    """The state of a partition of which nothing is remembered."""
    return Snapshot(0, owner, checkpoint, None, "", {}, [], [], [], [], [])


def encode(snapshot: Snapshot) -> bytes:
    """Give the bytes to store."""
    body = zlib.compress(msgspec.msgpack.encode(snapshot), 1)
    return _MAGIC + _HEADER.pack(FORMAT, zlib.crc32(body)) + body


def format_of(stored: bytes) -> int | None:
    """The format that stored bytes say they have; None if they do not even begin as a state does."""
    if len(stored) < len(_MAGIC) + _HEADER.size or not stored.startswith(_MAGIC):
        return None
    return int(_HEADER.unpack_from(stored, len(_MAGIC))[0])


def decode(stored: bytes) -> Snapshot:
    """Read stored bytes. Raises `CorruptState`; `NewerState` for the format of a newer version."""
    start = len(_MAGIC) + _HEADER.size
    if len(stored) < start or not stored.startswith(_MAGIC):
        raise CorruptState("The stored state was not written by inturn, or its beginning is damaged.")
    format_, checksum = _HEADER.unpack_from(stored, len(_MAGIC))
    if format_ != FORMAT:
        unreadable = NewerState if format_ > FORMAT else CorruptState
        raise unreadable(
            f"The stored state has format {format_}; this version of inturn reads format {FORMAT}."
        )
    body = stored[start:]
    if zlib.crc32(body) != checksum:
        raise CorruptState("The stored state is damaged: its checksum does not match.")
    try:
        inflater = zlib.decompressobj()
        packed = inflater.decompress(body, _SIZE_MAX)
        if not inflater.eof:
            raise CorruptState(f"The stored state is larger than {_SIZE_MAX} bytes, or cut short.")
        return msgspec.msgpack.decode(packed, type=Snapshot)
    except (zlib.error, msgspec.DecodeError) as error:
        raise CorruptState(f"The stored state cannot be read: {error}.") from error
