"""The files of an archive: one writer each, whole lines only, finished by size and by age.

Everything here blocks and belongs on one thread.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

_log = logging.getLogger("inturn.processors.archive")

Durability = Literal["batch", "rotate", "never"]

_SAME_SECOND_MAX = 100_000
_TORN_LOOKED_AT_MAX = 100
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)


class ArchiveFolder:
    """Appends blocks of lines to the newest file of this writer. Not safe for threads."""

    def __init__(
        self,
        path: Path,
        *,
        rotate_bytes: int,
        rotate_s: float,
        durability: Durability,
        compress: bool,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._rotate_s = rotate_s
        self._durability = durability
        self._compress = compress
        self._now_s = now_s
        self._file: _OpenFile | None = None

    def append(self, block: bytes) -> None:
        """Add complete lines. Raises `OSError`; then the block is taken back, and a new file is next."""
        file = self._file
        if file is not None and self._is_full(file, len(block)):
            self.finish()
            file = None
        if file is None:
            file = self._file = _OpenFile(self._path, self._now_s(), durable=self._durability != "never")
        try:
            file.append(block, durable=self._durability == "batch")
        except OSError:
            # Whether the disk holds what it was given is not known after an error: go on in a new file.
            self._file = None
            file.abandon()
            raise

    def finish(self) -> None:
        """Close the open file, if there is one. Raises `OSError` if its lines did not reach the disk."""
        file, self._file = self._file, None
        if file is None:
            return
        file.close(durable=self._durability != "never")
        if self._compress:
            _compress(file.path)

    def _is_full(self, file: _OpenFile, coming: int) -> bool:
        age_s = self._now_s() - file.opened_at_s
        return file.size + coming > self._rotate_bytes or not 0 <= age_s <= self._rotate_s


class _OpenFile:
    """A file of this writer alone, and how far it is known to be good."""

    def __init__(self, folder: Path, now_s: float, *, durable: bool) -> None:
        self.opened_at_s = now_s
        self.size = 0
        self.path, self._descriptor = _create(folder, now_s)
        if durable:
            _sync_folder(folder)

    def append(self, block: bytes, *, durable: bool) -> None:
        try:
            view = memoryview(block)
            while view:
                view = view[os.write(self._descriptor, view) :]
            if durable:
                os.fsync(self._descriptor)
        except OSError as error:
            self._cut_back()
            error.add_note(f"While writing {self.path}.")
            raise
        self.size += len(block)

    def close(self, *, durable: bool) -> None:
        try:
            if durable:
                os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def abandon(self) -> None:
        """Close without a word: an error is already on its way."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        if self.size == 0:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self.size)
            os.fsync(self._descriptor)
        except OSError:
            _log.warning(
                "A batch that failed could not be taken back from an archive file; it is written again to "
                "another one, so lines may be there twice. file=%s good_bytes=%d",
                self.path,
                self.size,
            )


def torn_files(folder: Path) -> list[str]:
    """Names of the newest files that end inside a line. At most 100 are looked at."""
    torn = []
    for path in sorted(folder.glob("*.jsonl"), reverse=True)[:_TORN_LOOKED_AT_MAX]:
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                torn.append(path.name)
    return torn


def _create(folder: Path, now_s: float) -> tuple[Path, int]:
    """A new file whose name sorts by time. Who is faster in the same second takes the smaller number."""
    second = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    for number in range(1, _SAME_SECOND_MAX):
        path = folder / f"{second}-{number:04d}.jsonl"
        if path.with_name(path.name + ".gz").exists():
            continue
        with contextlib.suppress(FileExistsError):
            return path, os.open(path, _FLAGS, 0o640)
    raise FileExistsError(f"{folder} has {_SAME_SECOND_MAX} archive files of the second {second}.")


def _sync_folder(folder: Path) -> None:
    """Make a new name durable; Windows has no way to, and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _compress(path: Path) -> None:
    """Replace a finished file by a compressed one; if that fails, the file stays as it is."""
    target = path.with_name(path.name + ".gz")
    unfinished = path.with_name(f".{path.name}.gz.unfinished")
    try:
        with path.open("rb") as plain, unfinished.open("wb") as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6) as packed:
                shutil.copyfileobj(plain, packed, 1024 * 1024)
            raw.flush()
            os.fsync(raw.fileno())
        unfinished.replace(target)
        _sync_folder(path.parent)
        path.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        _log.warning(
            "A finished archive file could not be compressed; it stays as it is. file=%s error=%s",
            path,
            error,
        )
