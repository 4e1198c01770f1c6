"""Bytes from a client, cut into protocol headers and frames."""

from __future__ import annotations

import struct

from consumer.hub.performatives import AMQP_HEADER, FRAME_HEADER_BYTES, AmqpError

_HEAD = struct.Struct(">IBBH")


class FrameReader:
    """Keeps what came in until it is a whole header or frame."""

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._input = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Take bytes in."""
        self._input += data

    def clear(self) -> None:
        """Forget what was not read."""
        self._input = bytearray()
        self._at = 0

    def read_header(self) -> bytes | None:
        """The protocol header that comes first; None while it is not complete."""
        return self._cut(len(AMQP_HEADER))

    def read_frame(self) -> tuple[int, int, bytes] | None:
        """Type, channel and body of the next frame; None while it is not complete. Raises `AmqpError`."""
        if len(self._input) - self._at < FRAME_HEADER_BYTES:
            self._compact()
            return None
        size, offset, kind, channel = _HEAD.unpack_from(self._input, self._at)
        if not FRAME_HEADER_BYTES <= size <= self._frame_bytes_max or not 2 <= offset <= size // 4:
            raise AmqpError("amqp:connection:framing-error", "The frame has an impossible size.")
        whole = self._cut(size)
        return None if whole is None else (kind, channel, whole[4 * offset :])

    def _cut(self, size: int) -> bytes | None:
        end = self._at + size
        if len(self._input) < end:
            self._compact()
            return None
        found = bytes(self._input[self._at : end])
        self._at = end
        return found

    def _compact(self) -> None:
        """Drop what was read, now that the rest must wait for more to come."""
        del self._input[: self._at]
        self._at = 0
