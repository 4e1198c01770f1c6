"""Keeps events as JSON lines in files: complete lines, on the disk before an event counts as handled.

A line is never rewritten. A crash leaves at most one torn line, at the end of a file; the next start
writes to a new file. Several processes may share a folder: each file has one writer. An event can be in the
archive twice, after a crash or a time-out, and then with the same ``idempotency_key``.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from consumer.errors import ProcessorSettingsError
from consumer.events import Event
from consumer.processor import Context
from processors.archive_files import ArchiveFolder, Durability, torn_files

_log = logging.getLogger("inturn.processors.archive")


class Archive:
    """Appends every event to a file in a folder."""

    class Settings(BaseModel):
        """Where, in what pieces, and how durably."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        path: Path
        """The folder; it is made if it is missing. Nothing in it is ever deleted."""
        rotate_mb: Annotated[float, Field(gt=0, le=10_240)] = 64
        """A file that would grow beyond this many MiB is finished, and a new one begun."""
        rotate_s: Annotated[float, Field(gt=0)] = 3600
        """A file older than this many seconds is finished before the next line is written."""
        fsync: Durability = "batch"
        """When lines are forced to the disk: before every batch counts as handled; when a file is finished;
        or when the operating system likes. Only ``batch`` keeps handled events over a power cut."""
        compress: Literal["none", "gzip"] = "none"
        """What is done with a finished file; ``gzip`` replaces it by ``….jsonl.gz``."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.path
        self._folder = ArchiveFolder(
            settings.path,
            rotate_bytes=max(1, int(settings.rotate_mb * 1024 * 1024)),
            rotate_s=settings.rotate_s,
            durability=settings.fsync,
            compress=settings.compress == "gzip",
        )
        # One thread: batches are written whole and one after the other, off the event loop. What waits for
        # it is bounded by the lanes, each of which waits for its batch.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inturn-archive")

    async def open(self) -> None:
        """Make the folder and try to write in it. Raises `ProcessorSettingsError` if that cannot be."""
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

    async def process_batch(self, events: Sequence[Event], context: Context) -> None:
        """Append events in order; on return they are as durable as `fsync` says.

        Raises `OSError` if the disk is full or broken; then no line of the batch is taken as written.
        """
        block = b"".join(line_of(event, context.key_of(event)) for event in events)
        await self._run(self._folder.append, block)

    async def close(self) -> None:
        """Finish the file that is open."""
        try:
            await self._run(self._folder.finish)
        finally:
            self._writer.shutdown(wait=False)

    async def _run(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._writer, function, *arguments)


def line_of(event: Event, idempotency_key: str) -> bytes:
    """One event as a line: where it was, what it was ordered by, and under ``data`` the event as it came.

    What did not come as one valid JSON value is kept under ``data_base64`` instead.
    """
    record: dict[str, Any] = {
        "id": event.id,
        "type": event.type,
        "topic": event.topic,
        "subject": event.subject,
        "time": _utc(event.event_time) if event.event_time else None,
        "enqueued_time": _utc(datetime.fromtimestamp(event.enqueued_time_ms / 1000, UTC)),
        "partition": event.position.partition,
        "sequence_number": event.position.sequence_number,
        "index": event.position.index,
        "ordered_by": event.ordered_by.value,
        "stale": event.stale,
        "idempotency_key": idempotency_key,
    }
    try:
        orjson.loads(event.original)
    except orjson.JSONDecodeError:
        record["data_base64"] = base64.b64encode(event.original).decode()
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    # Inside valid JSON a raw line break is only white space: without it the line is one line.
    record["data"] = orjson.Fragment(event.original.replace(b"\n", b" ").replace(b"\r", b" "))
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _prepare(path: Path) -> list[str]:
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        pass
    return torn_files(path)
