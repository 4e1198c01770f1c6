"""What an answer to a webhook means: done, never for this event, never again, or later."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, auto

RETRY_AFTER_MAX_S = 3_600.0
"""Whatever an endpoint asks for, it is asked again after an hour."""

_MENDABLE = frozenset({401, 402, 403, 404, 405, 407, 408, 421, 423, 425, 426, 429})
"""What is not the event's fault: rights, a path, an endpoint that is just being deployed, or too early."""


class Meaning(Enum):
    """What is to be done after an answer."""

    DONE = auto()
    REFUSED = auto()
    """No attempt will help this event: it is put aside, and the next one is sent."""
    GONE = auto()
    """The endpoint wants nothing any more, of any event."""
    LATER = auto()
    """The same again: it may heal, or somebody mends it."""


def meaning_of(status: int) -> Meaning:
    """What a status says. Redirects are never followed: somebody has to change the URL."""
    if 200 <= status < 300:
        return Meaning.DONE
    if status == 410:
        return Meaning.GONE
    if 400 <= status < 500 and status not in _MENDABLE:
        return Meaning.REFUSED
    return Meaning.LATER


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """How long the endpoint wants to be left alone, at most an hour; None: it does not say.

    `now_s` is in seconds since 1970, for what is given as a date.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        # Beyond nine digits it is as good as for ever, and too long for some to read.
        return min(float(text[:9]), RETRY_AFTER_MAX_S)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the second for a year that is none
        return None
    at_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return min(max(at_s - now_s, 0.0), RETRY_AFTER_MAX_S)
