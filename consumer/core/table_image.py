"""What a table was at one moment: immutable, shared with the table, and cheap to write again."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from struct import Struct

import msgspec

from consumer.core.sections import Section
from consumer.errors import CorruptState

_HEAD = Struct(">HI")
"""Bytes of a record, bytes of the counts."""
_PART = 512
"""Buckets that are joined at a time, half a megabyte or so: while bytes are joined no other thread runs."""


@dataclass(frozen=True, slots=True)
class TableImage:
    """The buckets of a `RecordTable`."""

    size: int
    """Bytes of a record."""
    buckets: tuple[bytes, ...] = (b"",)
    stored: Section | None = field(default=None, compare=False, repr=False)
    """The bytes that it was read from: they are written again as they are."""

    def __len__(self) -> int:
        return sum(map(len, self.buckets)) // self.size

    def section(self) -> Section:
        """Give the bytes to store."""
        if self.stored is not None:
            return self.stored
        counts = msgspec.msgpack.encode([len(bucket) // self.size for bucket in self.buckets])
        parts = (_HEAD.pack(self.size, len(counts)), counts)
        joined = (b"".join(self.buckets[at : at + _PART]) for at in range(0, len(self.buckets), _PART))
        return Section.of((*parts, *joined))


def read_table(section: Section, size: int) -> TableImage:
    """Read what `TableImage.section` gave. Raises `CorruptState`."""
    content = section.content()
    if len(content) < _HEAD.size:
        raise CorruptState("A table in the stored state is cut short.")
    stored_size, length = _HEAD.unpack_from(content)
    start = _HEAD.size + length
    try:
        counts = msgspec.msgpack.decode(content[_HEAD.size : start], type=list[int])
    except msgspec.DecodeError as error:
        raise CorruptState(f"A table in the stored state cannot be read: {error}.") from error
    ends = list(accumulate((count * size for count in counts), initial=start))
    if stored_size != size or not counts or min(counts) < 0 or ends[-1] != len(content):
        raise CorruptState("A table in the stored state has not the form that it says it has.")
    return TableImage(size, tuple(content[at:end] for at, end in pairwise(ends)), section)
