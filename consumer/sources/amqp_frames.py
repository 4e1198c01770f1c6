"""Make columns of what arrives on a receiving link, in one pass over the bytes; no wait, no socket.

Most frames of a link look alike: only their numbers and bodies differ. So a frame that was read with care
leaves a `Layout` behind, which reads the next one with a single `struct` call and compares the rest. What is
not a delivery on the link (`FrameParser.other`) is for others: parsing stands still until they have seen it.
"""

from __future__ import annotations

import struct
from typing import Final

from consumer.sources.amqp_columns import Columns
from consumer.sources.amqp_layout import PARTITION_KEY, Layout, Spots, layout_of
from consumer.sources.amqp_values import MalformedError, decode, places, skip

HEAD_BYTES: Final = 8
MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
"""More than any service sends; a message that goes on beyond it is none."""
_LAYOUTS_MAX: Final = 8

_TRANSFER: Final = b"\x00\x53\x14"
_DATA8: Final = b"\x00\x53\x75\xa0"
_DATA32: Final = b"\x00\x53\x75\xb0"
_SKIPPED8: Final = (b"\x00\x53\x74\xc1", b"\x00\x53\x73\xc0")
_SKIPPED32: Final = (b"\x00\x53\x74\xd1", b"\x00\x53\x73\xd0")
_ANNOTATED, _ANNOTATIONS, _APPLICATION_PROPERTIES, _DATA, _VALUE = 0x71, 0x72, 0x74, 0x75, 0x77
_KEY_BYTES: Final = len(PARTITION_KEY)

_HEAD: Final = struct.Struct(">IBBH")
_u32: Final = struct.Struct(">I").unpack_from
_u64: Final = struct.Struct(">Q").unpack_from


class FrameError(Exception):
    """What came is not AMQP, or no delivery of an event hub: the connection is of no more use."""


class FrameParser:
    """Reads one link of one connection, from the first byte after it was attached."""

    def __init__(self, columns: Columns, channel: int, handle: int, frame_bytes_max: int) -> None:
        """Rows go to the end of `columns`; `channel` and `handle` are the ones that the peer uses."""
        self.columns = columns
        self.other: tuple[int, bytes] | None = None
        """Channel and body of a frame that is for others; `proceed` when they have seen it."""
        self.transfers = 0
        """Transfer frames on the link, all in all."""
        self.deliveries = 0
        """Messages that they brought to an end."""
        self._channel = channel
        self._handle = handle
        self._frame_bytes_max = frame_bytes_max
        self._pieces: list[bytes] = []
        """What waits for the rest of its frame, or for `proceed`."""
        self._have = 0
        self._need = HEAD_BYTES
        self._partial: list[bytes] = []
        """The payloads so far of a message of several frames."""
        self._partial_bytes = 0
        self._layout: Layout | None = None
        self._layouts: list[Layout] = []

    def feed(self, data: bytes) -> None:
        """Take bytes in, cut anywhere. Raises `FrameError`; then nothing may follow."""
        if self._stands_still():
            self._pieces.append(data)
            return
        at = 0
        while self._pieces:
            missing = self._need - self._have
            if len(data) - at < missing:
                self._pieces.append(data[at:])
                self._have += len(data) - at
                return
            # The rest of one frame, and no more: the many whole ones behind it need no copy.
            self._pieces.append(data[at : at + missing])
            at += missing
            joined = b"".join(self._pieces)
            self._pieces.clear()
            self._keep(joined, self._parse(joined, 0))
            if self._stands_still():
                self._pieces.append(data[at:])
                return
        self._keep(data, self._parse(data, at))

    def proceed(self) -> None:
        """Go on: others have seen `other`. Raises `FrameError`."""
        self.other = None
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.feed(data)

    def _stands_still(self) -> bool:
        """Asked anew each time: within one function, compiled code believes what it saw of `other` before."""
        return self.other is not None

    def _keep(self, data: bytes, at: int) -> None:
        """Keep what was not parsed, and find out how much of its frame is missing."""
        if at == len(data):
            return
        self._pieces.append(data[at:])
        self._have = len(data) - at
        self._need = HEAD_BYTES
        if self._have >= HEAD_BYTES and not self._stands_still():
            self._need = _u32(data, at)[0]

    def _parse(self, data: bytes, at: int) -> int:
        """Parse the whole frames from `at` on; gives where it stopped: at half a frame, or after `other`."""
        end = len(data)
        while True:
            at = self._repeat(data, at, end)
            if end - at < HEAD_BYTES:
                return at
            size, offset, kind, channel = _HEAD.unpack_from(data, at)
            if size < HEAD_BYTES or size > self._frame_bytes_max or not 2 <= offset <= size >> 2:
                raise FrameError("A frame has an impossible size.")
            if kind != 0:
                raise FrameError("A frame is of a kind that has no place here.")
            stop = at + size
            if stop > end:
                return at
            try:
                self._read(data, at, at + 4 * offset, stop, channel)
            except MalformedError as error:
                raise FrameError(f"A frame is malformed: {error}.") from None
            at = stop
            if self._stands_still():
                return at

    def _repeat(self, data: bytes, at: int, end: int) -> int:  # noqa: C901, PLR0915 - see below
        """Take the frames that look like one before; gives where there is another kind of frame.

        This is where the time goes, so it is in one piece, and all is of a type that compiled code knows.
        """
        layout = self._layout
        if layout is None:
            return at
        columns = self.columns
        bodies, numbers, offsets = columns.bodies, columns.sequence_numbers, columns.offsets
        times, keys, all_properties = columns.enqueued_times_ms, columns.partition_keys, columns.properties
        before = properties = b""  # what the one before had between annotations and body
        last, count = at, 0
        try:
            while end - at >= layout.bytes:
                size, a, b, c, d, map_size, e, number, f, offset, g, time_ms = layout.unpack(data, at)
                if (a, b, c, d, e, f, g) != layout.constants:
                    other = self._other_layout(data, at)
                    if other is None:
                        break
                    self._count(data, last, count, layout)  # what it was told is where the old one says
                    layout, count = other, 0
                    continue
                stop, key_at, here = at + size, at + layout.bytes, at + layout.map_at + map_size
                if stop > end or here > stop:
                    break
                key = None
                if layout.has_key:
                    key_at += _KEY_BYTES + 1
                    if key_at > here or data[key_at - _KEY_BYTES - 1 : key_at - 1] != PARTITION_KEY:
                        break
                    key = data[key_at:here].decode("utf-8")
                    key_at += data[key_at - 1]
                if key_at != here:
                    break
                body_at, behind = 0, here + len(before)
                if before and behind <= stop and data[here:behind] == before:
                    body_at = _body_at(data, behind, stop)
                if not body_at:
                    properties, behind = _properties(data, here, stop)
                    before = data[here:behind]
                    body_at = _body_at(data, behind, stop)
                    if not body_at:
                        break
                offsets.append(offset.decode("utf-8"))
                bodies.append(data[body_at:stop])
                numbers.append(number)
                times.append(time_ms)
                keys.append(key)
                all_properties.append(properties)
                count += 1
                last, at = at, stop
        except UnicodeDecodeError:
            pass  # as it is when the loop is left: the frame is read with care
        self._layout = layout
        self._count(data, last, count, layout)
        return at

    def _count(self, data: bytes, last: int, count: int, layout: Layout) -> None:
        """Account for `count` messages of one frame each, of which the last one begins at `last`."""
        self.transfers += count
        self.deliveries += count
        if count and layout.told_bytes:
            told_at = last + layout.told_at
            self.columns.told = data[told_at : told_at + layout.told_bytes]

    def _other_layout(self, data: bytes, at: int) -> Layout | None:
        for layout in self._layouts:
            if layout.fits(data, at):
                return layout
        return None

    def _read(self, data: bytes, at: int, body_at: int, stop: int, channel: int) -> None:
        """Read one frame with care."""
        if body_at == stop:
            return  # a sign of life
        if channel != self._channel or data[body_at : body_at + 3] != _TRANSFER:
            self.other = (channel, data[body_at:stop])
            return
        end = skip(data, body_at + 3, stop)
        fields = places(data, body_at + 3, end)
        if len(fields) < 2 or decode(data, fields[0], end)[0] != self._handle:
            self.other = (channel, data[body_at:stop])
            return
        self.transfers += 1
        is_more = _flag(data, fields, 5, end)
        if _flag(data, fields, 9, end):  # aborted: nothing of it counts
            self._partial.clear()
            self._partial_bytes = 0
            self.deliveries += not is_more
            return
        if not (is_more or self._partial):
            self.deliveries += 1
            spots = self._take(data, end, stop)
            if spots is not None:
                self._learn(layout_of(data, at, fields, spots))
            return
        self._partial.append(data[end:stop])
        self._partial_bytes += stop - end
        if self._partial_bytes > MESSAGE_BYTES_MAX:
            raise FrameError("A message does not end.")
        if not is_more:
            self.deliveries += 1
            message = b"".join(self._partial)
            self._partial.clear()
            self._partial_bytes = 0
            self._take(message, 0, len(message))

    def _learn(self, layout: Layout | None) -> None:
        if layout is not None:
            del self._layouts[: len(self._layouts) + 1 - _LAYOUTS_MAX]
            self._layouts.append(layout)
            self._layout = layout

    def _take(self, data: bytes, at: int, end: int) -> Spots | None:
        """Make a row of a message. Gives where its values are, if the next one may have them there too."""
        begin = at
        spots = Spots(at)
        bodies: list[bytes] = []
        properties = b""
        row = None
        is_odd = False
        while at < end:
            code, value_at = _section(data, at, end)
            at = skip(data, value_at, end)
            if code == _ANNOTATED:
                self.columns.told = data[value_at:at]
                spots.told_at, spots.told_end = value_at, at
            elif code == _ANNOTATIONS:
                row = spots.read(data, value_at, at)
            elif code == _APPLICATION_PROPERTIES:
                properties = data[value_at:at]
            elif code == _DATA and data[value_at] == 0xA0:
                bodies.append(data[value_at + 2 : at])
            elif code == _DATA and data[value_at] == 0xB0:
                bodies.append(data[value_at + 5 : at])
            elif _DATA <= code <= _VALUE:
                is_odd = True
        if row is None:
            raise FrameError("A message came without a sequence number.")
        if is_odd or not bodies:
            # Not what Event Grid sends: what has no plain bytes is decoded by those who know how.
            self.columns.odd.append((len(self.columns), data[begin:end]))
        self.columns.add(bodies[0] if len(bodies) == 1 else b"".join(bodies), row, properties)
        return spots if not is_odd and bodies else None


def _properties(data: bytes, at: int, stop: int) -> tuple[bytes, int]:
    """Step over what is between annotations and body: the application properties, and where it ends."""
    properties = b""
    while True:
        mark = data[at : at + 4]
        if mark in _SKIPPED8 and at + 5 <= stop:
            end = at + 5 + data[at + 4]
        elif mark in _SKIPPED32 and at + 8 <= stop:
            end = at + 8 + _u32(data, at + 4)[0]
        else:
            return properties, at
        if mark[2] == _APPLICATION_PROPERTIES:
            properties = data[at + 3 : end]
        at = end


def _body_at(data: bytes, at: int, stop: int) -> int:
    """Where the plain bytes of a body begin whose section ends at `stop`; 0 if it is none of these."""
    mark = data[at : at + 4]
    if mark == _DATA32 and at + 8 <= stop:
        size = (data[at + 4] << 24) + (data[at + 5] << 16) + (data[at + 6] << 8) + data[at + 7]
        return at + 8 if at + 8 + size == stop else 0
    if mark == _DATA8 and at + 5 <= stop:
        return at + 5 if at + 5 + data[at + 4] == stop else 0
    return 0


def _section(data: bytes, at: int, end: int) -> tuple[int, int]:
    """What the section at `at` is, and where its value begins. Raises `MalformedError`."""
    if at + 3 < end and data[at] == 0:
        if data[at + 1] == 0x53:
            return data[at + 2], at + 3
        if data[at + 1] == 0x80 and at + 10 < end:
            return int(_u64(data, at + 2)[0]), at + 10
    raise MalformedError("a message holds something that is no section")


def _flag(data: bytes, fields: list[int], index: int, end: int) -> bool:
    """A yes or no among the fields of a transfer; what is left out is a no."""
    return len(fields) - 1 > index and decode(data, fields[index], end)[0] is True
