"""Places in a log, as a person names them: earliest, checkpoint, a sequence number, a time, latest."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias


class Mark(StrEnum):
    """A place that every partition has."""

    EARLIEST = "earliest"
    CHECKPOINT = "checkpoint"
    """Where the live consumer is: done to here."""
    LATEST = "latest"
    """The newest message when the command was given."""


Place: TypeAlias = Mark | int | datetime
"""A mark, a sequence number, or a time with its zone."""

_AGO = re.compile(r"-?\s*(\d+(?:\.\d+)?)\s*([smhd])(\s+ago)?", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_place(text: str, now: datetime | None = None) -> Place:
    """Read ``earliest``, ``checkpoint``, ``latest`` or ``now``, ``4711``, ``2026-11-21T06:30:00Z``, ``-2h``.

    Raises `ValueError` with a message for a person.
    """
    word = text.strip().casefold()
    if word == "now":
        return Mark.LATEST
    if word in list(Mark):
        return Mark(word)
    if word.isascii() and word.isdecimal():
        return int(word)
    ago = _AGO.fullmatch(word)
    if ago is not None and (word.startswith("-") or ago[3]):
        try:
            return (now or datetime.now(UTC)) - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
        except OverflowError:
            raise ValueError(f"{text} is too long ago") from None
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a sequence number nor a time such as 2026-11-21T06:30:00Z or -2h, "
            f"nor {', '.join(Mark)}"
        ) from None
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no zone: write {text}Z for UTC")
    return time
