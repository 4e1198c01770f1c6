"""Events on disk: one folder for each partition, append-only segment files, a checksum on every record.

A write is handed to the operating system before the sender is told: events outlive the process,
not a power cut. After a crash the last record may be torn; it is cut, and what was cut is kept
beside the segment. Anything else that cannot be read stops the start: nothing is overwritten.
Retention removes whole segments, so up to one segment of trimmed events is back after a restart.
"""

from __future__ import annotations

import os
import struct
import zlib
from io import FileIO
from itertools import pairwise
from pathlib import Path

import structlog

from consumer.errors import CorruptState, StoreUnavailable
from consumer.hub.log import StoredEvent

_log = structlog.get_logger("inturn.hub")

SEGMENT_BYTES_MAX = 16 * 1024 * 1024
"""A segment that has reached this is closed and the next one begun."""
_MAGIC = b"INTURN\x00\x01"
_RECORD = struct.Struct(">II")  # bytes of the content, its CRC-32
_CONTENT = struct.Struct(">QQQi")  # sequence number, offset, enqueued time, bytes of the key or -1


class SegmentJournal:
    """Keeps the events of one partition in a folder."""

    def __init__(self, folder: Path, segment_bytes_max: int = SEGMENT_BYTES_MAX) -> None:
        self._folder = folder
        self._segment_bytes_max = segment_bytes_max
        self._segments: list[tuple[int, Path]] = []  # first sequence number, file; the last one is written to
        self._file: FileIO | None = None
        self._size = 0

    def load(self) -> list[StoredEvent]:
        """Read everything that is kept, oldest first; once, before the first append.

        Raises `CorruptState` for records that cannot be read, `OSError`.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        paths = sorted(self._folder.glob("*.segment"))
        self._segments = [(int(path.stem), path) for path in paths]
        events: list[StoredEvent] = []
        for path in paths:
            found, good_bytes = _read_segment(path)
            if good_bytes < path.stat().st_size:
                if path != paths[-1]:
                    raise CorruptState(f"{path} is damaged at byte {good_bytes}; it was left as it is.")
                _cut(path, good_bytes)
            events += found
        _expect_gapless(events, self._folder)
        if paths:
            self._file = paths[-1].open("ab", buffering=0)
            self._size = paths[-1].stat().st_size
            if self._size == 0:
                self._write(_MAGIC)
        return events

    @property
    def next_sequence_number(self) -> int:
        """What the next event gets if `load` found none: trimmed numbers are not given again."""
        return self._segments[-1][0] if self._segments else 0

    def append(self, events: list[StoredEvent]) -> None:
        """Write events down, all or none. Raises `OSError`."""
        if self._file is None or self._size >= self._segment_bytes_max:
            self._begin_segment(events[0].sequence_number)
        self._write(b"".join([_record(event) for event in events]))

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        try:
            written = self._file.write(data)
            if written != len(data):
                raise OSError(28, "The disk is full")
        except OSError:
            self._file.truncate(self._size)  # or the next append would follow half a record
            raise
        self._size += len(data)

    def _begin_segment(self, sequence_number: int) -> None:
        self.close()
        path = self._folder / f"{sequence_number:020d}.segment"
        self._file = file = path.open("ab", buffering=0)
        self._size = 0
        try:
            self._write(_MAGIC)
        except OSError:
            self._file = None
            file.close()
            path.unlink(missing_ok=True)
            raise
        self._segments.append((sequence_number, path))

    def trim(self, begin: int) -> None:
        """Remove the segments that hold nothing from the sequence number `begin` on."""
        while len(self._segments) > 1 and self._segments[1][0] <= begin:
            _, path = self._segments.pop(0)
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Have the disk keep what was written, and let go of it."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def _record(event: StoredEvent) -> bytes:
    key = None if event.partition_key is None else event.partition_key.encode("utf-8")
    head = _CONTENT.pack(
        event.sequence_number, event.offset, event.enqueued_time_ms, -1 if key is None else len(key)
    )
    content = head + (key or b"") + event.message
    return _RECORD.pack(len(content), zlib.crc32(content)) + content


def _read_segment(path: Path) -> tuple[list[StoredEvent], int]:
    """The events of a segment up to the first record that is not whole, and where that is."""
    data = path.read_bytes()
    if data[: len(_MAGIC)] != _MAGIC[: len(data)]:
        raise CorruptState(f"{path} is not a segment that this version can read; it was left as it is.")
    events: list[StoredEvent] = []
    at = len(_MAGIC)
    while len(data) - at >= _RECORD.size:
        size, checksum = _RECORD.unpack_from(data, at)
        begin, end = at + _RECORD.size, at + _RECORD.size + size
        if end > len(data):
            break
        content = data[begin:end]
        if zlib.crc32(content) != checksum or size < _CONTENT.size:
            if end == len(data):
                break
            raise CorruptState(f"{path} is damaged at byte {at}; it was left as it is.")
        events.append(_event(content))
        at = end
    return events, min(at, len(data)) if len(data) >= len(_MAGIC) else 0


def _event(content: bytes) -> StoredEvent:
    sequence_number, offset, time_ms, key_bytes = _CONTENT.unpack_from(content)
    at = _CONTENT.size + max(key_bytes, 0)
    key = None if key_bytes < 0 else content[_CONTENT.size : at].decode("utf-8")
    return StoredEvent(sequence_number, offset, time_ms, key, content[at:])


def _cut(path: Path, good_bytes: int) -> None:
    """Shorten a segment to its whole records; what is cut off is kept in a file beside it."""
    data = path.read_bytes()
    path.with_suffix(".torn").write_bytes(data[good_bytes:])
    with path.open("r+b") as file:
        file.truncate(good_bytes)
    _log.warning(
        "The last record of a partition was torn and is cut off; its bytes are kept beside the segment.",
        segment=str(path),
        cut_bytes=len(data) - good_bytes,
    )


def _expect_gapless(events: list[StoredEvent], folder: Path) -> None:
    for before, after in pairwise(events):
        if after.sequence_number != before.sequence_number + 1:
            raise CorruptState(
                f"{folder} lacks the events between {before.sequence_number} and {after.sequence_number}."
            )


class FolderLock:
    """Keeps a second hub out of a data folder for as long as the process holds it."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, and make it if need be. Raises `OSError`, `StoreUnavailable` if it is taken."""
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._descriptor)
        except OSError as error:
            os.close(self._descriptor)
            raise StoreUnavailable(f"Another local hub is using {folder}.") from error

    def release(self) -> None:
        """Give the folder back."""
        os.close(self._descriptor)


if os.name == "nt":  # pragma: no cover - tests run on Linux
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
