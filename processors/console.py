"""Prints a line per event on standard output: to see what comes, and in what order."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict

from consumer.errors import ProcessorSettingsError
from consumer.events import Event
from consumer.processor import Context, Retry

_CLOSED_RETRY_AFTER_S = 5.0
# What an event says may not move the cursor, forge a line, hide, or turn the direction of what follows.
_UNSEEN = (0x61C, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF)
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in _UNSEEN
}
_DIM, _BOLD, _YELLOW, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[33m", "\x1b[0m"


class Console:
    """Writes one line per event, one write per batch. The only processor that may use standard output."""

    class Settings(BaseModel):
        """How lines look."""

        model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

        format: Literal["text", "json"] = "text"
        """``text`` for people; ``json`` is one object a line, for `jq`."""

    def __init__(self, settings: Settings) -> None:
        self._line = _json_line if settings.format == "json" else _text_line
        # One thread: lines stay whole and in order, and a pager that does not read stops only us.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inturn-console")

    async def open(self) -> None:
        """Raises `ProcessorSettingsError` if there is no standard output at all."""
        if sys.stdout is None:
            raise ProcessorSettingsError("The console processor needs a standard output, and there is none.")

    async def process_batch(self, events: Sequence[Event], _: Context) -> None:
        """Print events in order. Raises `Retry` if standard output is closed."""
        text = "".join(self._line(event) for event in events)
        await asyncio.get_running_loop().run_in_executor(self._writer, _write, text)

    async def close(self) -> None:
        """Stop; a write that is stuck is not waited for."""
        self._writer.shutdown(wait=False, cancel_futures=True)


def _write(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except (BrokenPipeError, ValueError) as error:
        raise Retry(
            "Standard output is closed: nobody reads what the console processor prints.",
            after_s=_CLOSED_RETRY_AFTER_S,
        ) from error


def _time_of(event: Event) -> str:
    time = event.event_time or datetime.fromtimestamp(event.enqueued_time_ms / 1000, UTC)
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text_line(event: Event) -> str:
    short_type = event.type.rpartition(".")[2] or event.type
    fields = [_time_of(event), short_type, event.object_id.path, event.ordered_by.value, event.subject]
    time, name, path, ordered_by, subject = (field.translate(_CONTROLS) for field in fields)
    stale = "  stale" if event.stale else ""
    if sys.stdout.isatty():
        stale = stale and f"{_YELLOW}{stale}{_PLAIN}"
        time, name, ordered_by = (
            f"{_DIM}{time}{_PLAIN}",
            f"{_BOLD}{name}{_PLAIN}",
            f"{_DIM}{ordered_by}{_PLAIN}",
        )
    return f"{time}  {name}  {path}  {ordered_by}  {subject}{stale}\n"


def _json_line(event: Event) -> str:
    record = {
        "time": _time_of(event),
        "type": event.type,
        "object": event.object_id.path,
        "ordered_by": event.ordered_by.value,
        "subject": event.subject,
        "topic": event.topic,
        "id": event.id,
        "partition": event.position.partition,
        "sequence_number": event.position.sequence_number,
        "stale": event.stale,
    }
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE).decode()
