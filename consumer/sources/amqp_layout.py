"""Where the values of a message are in its frame, learned from one frame for those that look like it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final, TypeAlias

from consumer.sources.amqp_columns import Stamp
from consumer.sources.amqp_values import MalformedError, decode, places

_NUMBER: Final = b"\xa3\x15x-opt-sequence-number\x81"
_OFFSET: Final = b"\xa3\x0cx-opt-offset\xa1"
_TIME: Final = b"\xa3\x13x-opt-enqueued-time\x83"
PARTITION_KEY: Final = b"\xa3\x13x-opt-partition-key\xa1"
_STAMPS: Final = ("x-opt-sequence-number", "x-opt-offset", "x-opt-enqueued-time", "x-opt-partition-key")

Fields: TypeAlias = tuple[int, bytes, bytes, bytes, bytes, int, bytes, Any, bytes, bytes, bytes, Any]
"""Size of the frame, a to d, size of the annotations, e, number, f, offset, g, time: see `Layout`.

Number and time are said to be anything, so that compiled code hands them on as the objects they are.
"""


class Spots:
    """Where in the bytes that were read the values of one message begin; 0: it has none in a usual place."""

    __slots__ = ("count", "map_at", "number_at", "offset_at", "payload_at", "time_at", "told_at", "told_end")

    def __init__(self, payload_at: int) -> None:
        self.payload_at = payload_at
        self.told_at = self.told_end = 0
        self.map_at = self.number_at = self.offset_at = self.time_at = 0
        self.count = 0

    def read(self, data: bytes, at: int, end: int) -> Stamp:
        """Read the annotations, a map that fills `at` to `end`. Raises `MalformedError`."""
        marks = places(data, at, end)
        if len(marks) % 2 == 0:
            raise MalformedError("a map has a key without a value")
        found: dict[Any, Any] = {}
        for index in range(0, len(marks) - 1, 2):
            name = decode(data, marks[index], end)[0]
            if name in _STAMPS:
                found[name] = decode(data, marks[index + 1], end)[0]
        number, time_ms = found.get(_STAMPS[0]), found.get(_STAMPS[2]) or 0
        offset, key = found.get(_STAMPS[1]), found.get(_STAMPS[3])
        if type(number) is not int or type(time_ms) is not int:
            raise MalformedError("its sequence number or time is missing, or none")
        self._note(data, at, marks)
        return Stamp(
            number, "" if offset is None else str(offset), time_ms, None if key is None else str(key)
        )

    def _note(self, data: bytes, at: int, marks: list[int]) -> None:
        """Note where the values are if they are in the usual order and of the usual types."""
        self.count = len(marks) - 1
        if (
            self.count in (6, 8)
            and data.startswith(_NUMBER, marks[0])
            and data.startswith(_OFFSET, marks[2])
            and data.startswith(_TIME, marks[4])
            and (self.count == 6 or data.startswith(PARTITION_KEY, marks[6]))
        ):
            self.map_at = at
            self.number_at, self.offset_at, self.time_at = marks[1] + 1, marks[3] + 2, marks[5] + 1


class Layout:
    """Reads frames that differ in nothing but their numbers, offset, partition key, properties and body.

    Places count from the beginning of the frame.
    """

    __slots__ = (
        "bytes", "constants", "has_key", "map_at", "told_at", "told_bytes", "unpack",
    )  # fmt: skip

    def __init__(self, data: bytes, at: int, cuts: list[int], spots: Spots) -> None:
        """`cuts` are where, in turn, constants end and values end, beginning behind the frame's size."""
        widths = [end - begin for begin, end in pairwise(cuts)]
        size = "B" if widths[7] == 1 else "I"
        layout = struct.Struct(
            f">I{widths[0]}s{widths[1]}x{widths[2]}s{widths[3]}x{widths[4]}s{widths[5]}x{widths[6]}s{size}"
            f"{widths[8]}sq{widths[10]}s{widths[11]}s{widths[12]}sq"
        )
        self.unpack: Callable[[bytes, int], Fields] = layout.unpack_from
        self.bytes = layout.size
        a, b, c, d, e, f, g = [data[cuts[index] : cuts[index + 1]] for index in (0, 2, 4, 6, 8, 10, 12)]
        self.constants = (a, b, c, d, e, f, g)
        """What must be between the values, from `a` to `g` in the order of `unpack`."""
        self.map_at = cuts[8] - at
        """Where the annotations begin whose size is told before."""
        self.told_at, self.told_bytes = spots.told_at - at, spots.told_end - spots.told_at
        self.has_key = spots.count == 8
        """There is a partition key."""

    def fits(self, data: bytes, at: int) -> bool:
        """Whether a frame is one of these; its whole beginning must be there."""
        if len(data) - at < self.bytes:
            return False
        _, a, b, c, d, _, e, _, f, _, g, _ = self.unpack(data, at)
        return (a, b, c, d, e, f, g) == self.constants


def layout_of(data: bytes, at: int, fields: list[int], spots: Spots) -> Layout | None:
    """The layout of the frame at `at`, with its fields and values where it is said; None if it is unusual."""
    if len(fields) < 4 or not spots.number_at:
        return None
    id_at, id_end = fields[1] + 1, fields[2]
    tag_at = tag_end = id_end
    if data[id_end] == 0xA0:
        tag_at, tag_end = id_end + 2, fields[3]
    size_at = spots.map_at + 1
    size_end = size_at + (1 if data[spots.map_at] == 0xC1 else 4)
    told_at = told_end = size_at
    if spots.told_at:
        told_at, told_end = spots.told_at + (3 if data[spots.told_at] == 0xC1 else 9), spots.told_end
        if told_at > told_end or data[spots.told_at] not in (0xC1, 0xD1):
            return None
    offset_end = spots.offset_at + data[spots.offset_at - 1]
    cuts = [
        at + 4, id_at, id_end, tag_at, tag_end, told_at, told_end, size_at, size_end,
        spots.number_at, spots.number_at + 8, spots.offset_at, offset_end, spots.time_at, spots.time_at + 8,
    ]  # fmt: skip
    return Layout(data, at, cuts, spots) if cuts == sorted(cuts) else None
