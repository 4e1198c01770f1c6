"""Read events from files or standard input: JSON lines, or Event Grid's own dead-letter blobs.

All files together are the one partition "0"; a message's sequence number is its place in them, counted
from 0, and its offset the same number as text. So a checkpoint means something only while the files stay
as they are; more may be added behind. Log time comes from the events themselves: a message is "enqueued"
at its first event's time, or with the message before it if it has none or an earlier one. A replay of a
file therefore releases the same events in the same order, whenever and wherever it is run.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from consumer.errors import ConfigurationError, SourceUnavailable
from consumer.events import Checkpoint, RawBatch
from consumer.sources.file_messages import event_time_ms, lines_of, messages_of
from consumer.sources.finite import FiniteSource

PARTITION = "0"
STANDARD_INPUT = "-"
_BATCH_MAX = 500
_NO_PROPERTIES: Mapping[str, object] = {}

_T = TypeVar("_T")


class FileSource(FiniteSource):
    """Reads files once, from the first to the last, and ends."""

    def __init__(self, *paths: str | Path, stdin: BinaryIO | None = None) -> None:
        """`paths` are files, patterns such as ``events/*.jsonl``, or ``-`` for standard input.

        Files are read in the order given, what a pattern finds sorted by name.
        """
        super().__init__()
        self._paths = [str(path) for path in paths]
        self._stdin = stdin

    def files(self) -> list[str]:
        """The files that are read. Raises `ConfigurationError` for a path behind which there is none."""
        found: list[str] = []
        missing: list[str] = []
        for path in self._paths:
            matches = [path] if path == STANDARD_INPUT or Path(path).is_file() else _matches(path)
            found += [match for match in matches if match not in found]
            if not matches:
                missing.append(f"There is no file {path}.")
        if missing or not found:
            raise ConfigurationError(*(missing or ["No file was named."]))
        return found

    def partitions(self) -> Sequence[str]:
        """The one partition there is."""
        self.files()
        return [PARTITION]

    async def batches(self, partition: str, after: Checkpoint) -> AsyncGenerator[RawBatch]:
        """Messages behind the checkpoint, at most 500 at a time. Raises `SourceUnavailable`."""
        batches = _batches(self._messages(), partition, after.sequence_number)
        try:
            while (batch := await _in_thread(lambda: next(batches, None))) is not None:
                yield batch
        except OSError as error:
            raise SourceUnavailable(f"A file cannot be read: {error}.") from error

    def _messages(self) -> Iterator[list[bytes]]:
        for path in self.files():
            if path == STANDARD_INPUT:
                yield from lines_of(self._stdin or sys.stdin.buffer)
            else:
                yield from messages_of(Path(path))


def _matches(pattern: str) -> list[str]:
    path = Path(pattern)
    root = Path(path.anchor)
    relative = path.relative_to(root) if path.anchor else path
    if not any(mark in pattern for mark in "*?["):
        return []
    return sorted(str(match) for match in root.glob(str(relative)) if match.is_file())


def _batches(messages: Iterator[list[bytes]], partition: str, after: int) -> Iterator[RawBatch]:
    number = 0
    time_ms = 0
    for found in messages:
        for first in range(0, len(found), _BATCH_MAX):
            bodies = found[first : first + _BATCH_MAX]
            times_ms: list[int] = []
            for body in bodies:
                time_ms = max(time_ms, event_time_ms(body) or 0)
                times_ms.append(time_ms)
            known = max(0, min(len(bodies), after + 1 - number))
            numbers = list(range(number + known, number + len(bodies)))
            number += len(bodies)
            if numbers:
                yield RawBatch(
                    partition=partition,
                    bodies=bodies[known:],
                    sequence_numbers=numbers,
                    offsets=[str(place) for place in numbers],
                    enqueued_times_ms=times_ms[known:],
                    partition_keys=[None] * len(numbers),
                    properties_at=_no_properties,
                )


def _no_properties(_: int) -> Mapping[str, object]:
    return _NO_PROPERTIES


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Run in a daemon thread: one that waits for standard input must not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(setter: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            setter(value)

    def tell(setter: Callable[[Any], None], value: Any) -> None:
        try:
            loop.call_soon_threadsafe(settle, setter, value)
        except RuntimeError:
            # The loop is gone: nobody waits for this any more.
            return

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - handed to the one who waits, not swallowed
            tell(done.set_exception, error)
        else:
            tell(done.set_result, result)

    threading.Thread(target=run, name="inturn file reader", daemon=True).start()
    return await done
