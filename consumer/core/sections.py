"""The frame around stored state: sections, each with its length and checksum, behind a checked header.

    inturn NUL │ format (2) │ length of the directory (2) │ directory │ CRC-32 of all before (4) │ sections…

A line of the directory is: kind (1), packing (1), stored length (8), length (8), CRC-32 (4). So every bit is
under one checksum, and nothing can be missing or stand behind. Each later format has to begin like this, for
only then can one that is newer be told from one that is damaged. A section that has not changed is written
again as it was read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct

from consumer.errors import CorruptState, NewerState

MAGIC = b"inturn\0"
_HEADER = Struct(">HH")
_LINE = Struct(">BBQQI")
_CHECKSUM = Struct(">I")
_RAW, _DEFLATED = 0, 1
_SIZE_MAX = 1_024 * 1_048_576
"""Bytes after inflating: above any state within the caps, below what would fell the process."""
_SAMPLE = 16_384
"""Bytes by which it is judged whether deflating pays. Four times as many say the same to a hundredth, and
take a millisecond and a half more from the core that the events of the partition wait for."""
_PAYS = 0.8
"""What deflating may leave of a part's length. Digests with their times come to 0.90 to 0.93: a tenth fewer
bytes would take ten milliseconds for each half megabyte, of a core that events wait for, every second."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of stored state, as it is stored."""

    packing: int
    length: int
    """Bytes when unpacked."""
    checksum: int
    parts: tuple[bytes | memoryview, ...]

    @classmethod
    def of(cls, parts: Iterable[bytes]) -> Section:
        """Pack what is the concatenation of `parts`; deflates it if that pays."""
        parts = tuple(parts)
        length = sum(map(len, parts))
        packing, packed = _RAW, parts
        if _pays(max(parts, key=len, default=b"")):
            deflater = zlib.compressobj(1)
            packing, packed = _DEFLATED, (*(deflater.compress(part) for part in parts), deflater.flush())
        return cls(packing, length, _checksum(packed), packed)

    @property
    def stored_length(self) -> int:
        """Bytes as stored."""
        return sum(map(len, self.parts))

    def content(self) -> bytes:
        """Unpack. Raises `CorruptState`."""
        if self.length > _SIZE_MAX:
            raise CorruptState(f"A part of the stored state is larger than {_SIZE_MAX} bytes.")
        stored = b"".join(self.parts)
        if self.packing == _RAW:
            return stored
        inflater = zlib.decompressobj()
        try:
            content = inflater.decompress(stored, self.length + 1)
        except zlib.error as error:
            raise CorruptState(f"A part of the stored state cannot be inflated: {error}.") from error
        if len(content) != self.length or not inflater.eof or inflater.unused_data:
            raise CorruptState("A part of the stored state is not as long as it says it is.")
        return content


def frame(format_: int, sections: dict[int, Section]) -> bytes:
    """Give the bytes of a state: its sections by kind, in this order."""
    directory = b"".join(
        _LINE.pack(kind, section.packing, section.stored_length, section.length, section.checksum)
        for kind, section in sections.items()
    )
    header = MAGIC + _HEADER.pack(format_, len(directory)) + directory
    parts = [part for section in sections.values() for part in section.parts]
    return b"".join((header, _CHECKSUM.pack(zlib.crc32(header)), *parts))


def format_of(stored: bytes) -> int | None:
    """The format that stored bytes say they have; None if they do not even begin as a state does."""
    if len(stored) < len(MAGIC) + _HEADER.size or not stored.startswith(MAGIC):
        return None
    return int(_HEADER.unpack_from(stored, len(MAGIC))[0])


def unframe(stored: bytes, newest: int) -> dict[int, Section]:
    """Take a state apart. Raises `NewerState` for a format above `newest`, `CorruptState`."""
    start = len(MAGIC) + _HEADER.size
    if len(stored) < start + _CHECKSUM.size or not stored.startswith(MAGIC):
        raise CorruptState("The stored state was not written by inturn, or its beginning is damaged.")
    format_, length = _HEADER.unpack_from(stored, len(MAGIC))
    end = start + length
    if end + _CHECKSUM.size > len(stored) or _CHECKSUM.unpack_from(stored, end) != (
        zlib.crc32(stored[:end]),
    ):
        raise CorruptState("The stored state is damaged: the checksum of its header does not match.")
    if format_ > newest:
        raise NewerState(
            f"The stored state has format {format_}; this version of inturn reads up to format {newest}."
        )
    if length % _LINE.size:
        raise CorruptState("The directory of the stored state is not one.")
    return _sections(memoryview(stored), stored[start:end], end + _CHECKSUM.size)


def _sections(stored: memoryview, directory: bytes, at: int) -> dict[int, Section]:
    sections = {}
    for kind, packing, stored_length, length, checksum in _LINE.iter_unpack(directory):
        part = stored[at : at + stored_length]
        at += stored_length
        if len(part) != stored_length or zlib.crc32(part) != checksum:
            raise CorruptState("The stored state is damaged: a checksum does not match, or it is cut short.")
        if packing not in {_RAW, _DEFLATED} or (packing == _RAW and length != stored_length):
            raise CorruptState("A part of the stored state is packed in an unknown way.")
        sections[kind] = Section(packing, length, checksum, (part,))
    if at != len(stored):
        raise CorruptState("The stored state is damaged: its checksums do not cover what stands behind it.")
    return sections


def _checksum(parts: Iterable[bytes]) -> int:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return checksum


def _pays(part: bytes) -> bool:
    middle = max(0, (len(part) - _SAMPLE) // 2)
    sample = part[middle : middle + _SAMPLE]
    return len(zlib.compress(sample, 1)) < _PAYS * len(sample)
