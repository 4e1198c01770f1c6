"""Read the times that producers write, and write such, without losing what orders two events.

Azure writes 100 ns digits, which `datetime` cuts off, and every form of offset. So a time becomes two
things: a `datetime` for people, and *ticks* (100 ns since 1970-01-01 UTC) for comparison.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(text: str) -> tuple[datetime, int] | None:
    """Give the UTC time and its ticks, or None for what is not an RFC 3339 date-time.

    A time without an offset is taken as UTC: documented Azure samples leave it out.
    """
    # fromisoformat also reads week dates, bare dates and packed forms; those are not ours.
    if len(text) < 19 or text[4] != "-" or text[7] != "-" or text[10] not in "Tt ":
        return None
    if text[13] != ":" or text[16] != ":":
        return None
    try:
        time = datetime.fromisoformat(text[:-1] + "Z" if text[-1] == "z" else text)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        elif time.tzinfo is not UTC:
            time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    since = time - _EPOCH
    ticks = (since.days * 86_400 + since.seconds) * 10_000_000 + since.microseconds * 10
    if len(text) > 26 and text[19] == "." and text[20:27].isdecimal() and text.isascii():
        ticks += int(text[26])  # the seventh digit, which datetime has no room for
    return time, ticks


def write_time(ticks: int) -> str:
    """The RFC 3339 text of ticks, in UTC, with all their digits; `parse_time` reads it."""
    seconds, rest = divmod(ticks, 10_000_000)
    return f"{(_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()}.{rest:07d}Z"


_SECONDS_MAX = 4_096


class TickReader:
    """Gives the ticks of times; quick for what Azure writes, since many events share a second."""

    def __init__(self) -> None:
        self._seconds: dict[str, int] = {}

    def ticks(self, text: str) -> int | None:
        """The ticks that `parse_time` gives, or None."""
        if len(text) > 26 and text[19] == ".":
            digits = text[20:-1] if text[-1] == "Z" else text[20:-6] if text.endswith("+00:00") else ""
            count = len(digits)
            # `isdigit` also takes digits of other scripts, but is the quicker one.
            if (count == 7 or count == 6) and digits.isdigit() and digits.isascii():  # noqa: PLR1714 - hot
                second = text[:19]
                ticks = self._seconds.get(second)
                if ticks is None:
                    ticks = self._read(second)
                return None if ticks is None else ticks + int(digits) * (1 if count == 7 else 10)
        parsed = parse_time(text)
        return None if parsed is None else parsed[1]

    def _read(self, second: str) -> int | None:
        parsed = parse_time(second + "Z")
        if parsed is None:
            return None
        if len(self._seconds) >= _SECONDS_MAX:  # they come from outside
            self._seconds.clear()
        self._seconds[second] = parsed[1]
        return parsed[1]
