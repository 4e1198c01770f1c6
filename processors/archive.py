"""Keeps events as JSON lines, in files or in blobs: durable before an event counts as handled.

A line is never rewritten. Several processes may share a folder or a container: each file has one writer. An
event can be in the archive twice, after a crash or a time-out, and then with the same ``idempotency_key``.

In files a crash leaves at most one torn line, at the end of a file; the next start writes to a new file. In
blobs there is none: a batch is appended whole or not at all. They lie in one folder an hour, by the time at
which the hub took the event: ``PREFIX/2026/11/21/06/…jsonl``.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from consumer.errors import ProcessorSettingsError
from consumer.events import Event
from consumer.processor import Context
from processors.archive_files import ArchiveFolder, Durability, torn_files
from processors.archive_lines import Line, line_of
from processors.archive_place import BlobPlace
from processors.half_done import HalfDone

if TYPE_CHECKING:
    from processors.archive_blobs import BlobKeeper

_TURN_BYTES = 262_144
"""Bytes of lines that are made at a stretch; then others have their turn, for a chunk may be 100 MiB."""

_log = logging.getLogger("inturn.processors.archive")


class Archive:
    """Appends every event to a file in a folder, or to a blob in a container."""

    class Settings(BaseModel):
        """Where, in what pieces, and how durably. Give either path or blob."""

        model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

        path: Path | None = None
        """The folder; it is made if it is missing. Nothing in it is ever deleted."""
        blob: BlobPlace | None = None
        """The container of an Azure Storage account. Nothing in it is ever deleted."""
        rotate_mb: Annotated[float, Field(gt=0, le=10_240)] = 64
        """A file that would grow beyond this many MiB is finished, and a new one begun."""
        rotate_s: Annotated[float, Field(gt=0)] = 3600
        """A file older than this many seconds is finished before the next line is written."""
        fsync: Durability = "batch"
        """When lines are forced to the disk: before every batch counts as handled; when a file is finished;
        or when the operating system likes. Only ``batch`` keeps handled events over a power cut.
        A blob is always durable."""
        compress: Literal["none", "gzip"] = "none"
        """``gzip``: a finished file is replaced by ``….jsonl.gz``; a blob is one from the beginning."""

        @model_validator(mode="after")
        def _check_place(self) -> Self:
            if (self.path is None) == (self.blob is None):
                raise ValueError("give either path or blob")
            if self.blob is not None and "fsync" in self.model_fields_set:
                raise ValueError("fsync has no effect on blobs: they are always durable")
            return self

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files: _FileKeeper | None = (
            None if settings.path is None else _FileKeeper(settings.path, settings)
        )
        self._blobs: BlobKeeper | None = (
            None if settings.blob is None else _blob_keeper(settings.blob, settings)
        )
        self._half_done = HalfDone()

    async def open(self) -> None:
        """Make the folder and try to write in it, or reach the container.

        Raises `ProcessorSettingsError` if that cannot be, and `StoreUnavailable` for a container.
        """
        if self._blobs is not None:
            await self._blobs.open()
        if self._files is not None:
            await self._files.open()

    async def process_batch(self, events: Sequence[Event], context: Context) -> None:
        """Append events in order; on return they are as durable as `fsync` says.

        Raises `OSError` if the disk is full or broken; then no line of the batch is taken as written. Raises
        `Retry` if the container takes no more; what it took of the batch is not written again.
        """
        keys = [context.key_of(event) for event in events]
        if self._files is not None:
            await self._files.keep(b"".join(await _lines_of(zip(events, keys, strict=True))))
        if self._blobs is not None:
            await self._keep_in_blobs(self._blobs, events, keys)

    def preview(self, event: Event, context: Context) -> Mapping[str, Any]:
        """The line that would be written, and where."""
        line: Any = orjson.loads(line_of(event, context.key_of(event)))
        if self._blobs is not None:
            return {"folder": self._blobs.folder_of(event), "line": line}
        return {"folder": str(self._settings.path), "line": line}

    async def close(self) -> None:
        """Finish the file that is open."""
        if self._files is not None:
            await self._files.close()
        if self._blobs is not None:
            await self._blobs.close()

    async def _keep_in_blobs(self, blobs: BlobKeeper, events: Sequence[Event], keys: Sequence[str]) -> None:
        left = self._half_done.left(events, keys)
        texts = await _lines_of(left)
        lines = [Line(event, key, text) for (event, key), text in zip(left, texts, strict=True)]
        await blobs.keep(lines, lambda line: self._half_done.note(line.event, line.key))
        self._half_done.forget(events, keys)


async def _lines_of(pairs: Iterable[tuple[Event, str]]) -> list[bytes]:
    """Events, with their keys, as lines."""
    lines: list[bytes] = []
    size = 0
    for event, key in pairs:
        if size >= _TURN_BYTES:
            await asyncio.sleep(0)
            size = 0
        lines.append(line_of(event, key))
        size += len(lines[-1])
    return lines


def _blob_keeper(place: BlobPlace, settings: Archive.Settings) -> BlobKeeper:
    from processors.archive_blobs import BlobKeeper  # noqa: PLC0415 - loads a large client

    return BlobKeeper(
        place,
        rotate_bytes=_rotate_bytes(settings),
        rotate_s=settings.rotate_s,
        compress=settings.compress == "gzip",
    )


class _FileKeeper:
    """Keeps lines in a folder, off the event loop."""

    def __init__(self, path: Path, settings: Archive.Settings) -> None:
        self._path = path
        self._folder = ArchiveFolder(
            path,
            rotate_bytes=_rotate_bytes(settings),
            rotate_s=settings.rotate_s,
            durability=settings.fsync,
            compress=settings.compress == "gzip",
        )
        # One thread: batches are written whole and one after the other, off the event loop. What waits for
        # it is bounded by the lanes, each of which waits for its batch.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inturn-archive")

    async def open(self) -> None:
        try:
            torn = await self._run(_prepare, self._path)
        except OSError as error:
            raise ProcessorSettingsError(
                f"path: the archive cannot be written in {self._path}: {error.strerror or error}."
            ) from error
        for name in torn:
            _log.warning(
                "An archive file ends inside a line: its writer crashed, or is writing it just now. "
                "It is left as it is. file=%s",
                name,
            )

    async def keep(self, block: bytes) -> None:
        await self._run(self._folder.append, block)

    async def close(self) -> None:
        try:
            await self._run(self._folder.finish)
        finally:
            self._writer.shutdown(wait=False)

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._writer, function, *arguments)


def _rotate_bytes(settings: Archive.Settings) -> int:
    return max(1, int(settings.rotate_mb * 1024 * 1024))


def _prepare(path: Path) -> list[str]:
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        pass
    return torn_files(path)
