"""Times: everything that Azure writes, and nothing that only looks like it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.times import TickReader, parse_time

NOON = 1_795_262_400_0000000
"""2026-11-21T12:00:00Z in ticks."""


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("2026-11-21T12:00:00Z", NOON),
        ("2026-11-21t12:00:00z", NOON),
        ("2026-11-21 12:00:00Z", NOON),
        ("2026-11-21T12:00:00", NOON),
        ("2026-11-21T12:00:00+00:00", NOON),
        ("2026-11-21T12:00:00-00:00", NOON),
        ("2026-11-21T05:00:00-07:00", NOON),
        ("2026-11-21T17:30:00+05:30", NOON),
        ("2026-11-21T12:00:00.1Z", NOON + 1_000_000),
        ("2026-11-21T12:00:00.123Z", NOON + 1_230_000),
        ("2026-11-21T12:00:00.123456Z", NOON + 1_234_560),
        ("2026-11-21T12:00:00.1234567Z", NOON + 1_234_567),
        ("2026-11-21T12:00:00.0000001Z", NOON + 1),
        ("2026-11-21T12:00:00.123456789Z", NOON + 1_234_567),
        ("2026-11-21T12:00:00.1234567", NOON + 1_234_567),
        ("2026-11-21T05:00:00.1234567-07:00", NOON + 1_234_567),
        # The digits of an offset are no digits of a second.
        ("2026-11-21T17:30:00.1+05:30", NOON + 1_000_000),
        ("2026-11-21T17:30:00.12+05:30", NOON + 1_200_000),
        ("2026-11-21T05:00:00.1234-07:00", NOON + 1_234_000),
        ("2026-11-22T00:00:00.12345+12:00", NOON + 1_234_500),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("0001-01-01T00:00:00", -62_135_596_800 * 10_000_000),
        ("9999-12-31T23:59:59.9999999Z", 253_402_300_799 * 10_000_000 + 9_999_999),
    ],
)
def test_a_time_is_read_to_the_last_tick(text: str, ticks: int) -> None:
    parsed = parse_time(text)

    assert parsed is not None
    assert parsed[1] == ticks
    assert parsed[0].tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-21",
        "2026/11/21 12:00:00.1234567",
        "2026-W47-6T12:00:00Z",
        "20261121T120000Z",
        "2026-11-21T12:00Z",
        "2026-11-21T12.00.00Z",
        "2026-13-01T12:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-11-21T25:00:00Z",
        "2026-11-21T12:00:00+24:00",
        "2026-11-21T12:00:00Z\n",
        "2026-11-21T12:00:00 UTC",
        "1795262400",
        "2026-11-21T12:00:0٣Z",
        # No clock of Azure's shows a leap second, and no datetime can hold one.
        "2026-12-31T23:59:60Z",
        # Outside of what a datetime can hold once it is moved to UTC.
        "0001-01-01T00:00:00+05:30",
        "9999-12-31T23:59:59-07:00",
    ],
)
def test_what_is_not_an_rfc_3339_time_is_refused(text: str) -> None:
    assert parse_time(text) is None


def reckoned(year: int, month: int, day: int, seconds: int, digits: str, offset_minutes: int) -> int:
    """Ticks by integers alone: days by the civil calendar, then seconds, then digits."""
    months = [31, 29 if year % 4 == 0 and (year % 100 or year % 400 == 0) else 28]
    months += [31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 + sum(months[: month - 1]) + day - 1
    days -= 719_162
    return (days * 86_400 + seconds - offset_minutes * 60) * 10_000_000 + int((digits + "0000000")[:7])


@given(
    st.dates(min_value=datetime(2, 1, 1).date(), max_value=datetime(9998, 12, 31).date()),  # noqa: DTZ001
    st.integers(0, 86_399),
    st.text("0123456789", max_size=9),
    st.one_of(st.none(), st.just(0), st.integers(-1_439, 1_439)),
    st.sampled_from("Tt "),
)
def test_any_time_is_read_as_integers_say(date, seconds, digits, offset, separator) -> None:
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    fraction = f".{digits}" if digits else ""
    zone = (
        "" if offset is None else f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    )

    parsed = parse_time(f"{date.isoformat()}{separator}{clock}{fraction}{zone}")

    assert parsed is not None
    assert parsed[1] == reckoned(date.year, date.month, date.day, seconds, digits, offset or 0)


@given(st.text(max_size=40))
def test_no_text_at_all_makes_it_raise(text: str) -> None:
    parse_time(text)


@given(st.text("0123456789-:.TtZz+ ٣W,", min_size=19, max_size=36))
def test_nor_does_one_that_nearly_is_a_time(text: str) -> None:
    parse_time(text)


@given(
    st.from_regex(
        r"(2026-11-21|2026-02-30|0000-01-01)[Tt ]12:00:[0-6][0-9]"
        r"[.,]?[0-9_+\u0663]{0,9}(Z|z|[+-]00:00|\+01:00|)",
        fullmatch=True,
    )
)
def test_ticks_read_the_quick_way_are_those_of_the_time(text: str) -> None:
    reader = TickReader()
    parsed = parse_time(text)

    for _ in range(2):
        assert reader.ticks(text) == (None if parsed is None else parsed[1])


@pytest.mark.parametrize("text", ["2026-11-21T12:00:00.1234567Z", "2026-11-21T12:00:00.123456+00:00"])
def test_what_azure_writes_is_read_the_quick_way(text: str) -> None:
    reader = TickReader()
    reader.ticks(text)

    assert reader._seconds
