"""What may be written for a place in a log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consumer.replay.places import Mark, parse_place

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("earliest", Mark.EARLIEST),
        ("Checkpoint", Mark.CHECKPOINT),
        ("latest", Mark.LATEST),
        ("now", Mark.LATEST),
        ("0", 0),
        ("4711", 4711),
        ("2026-11-21T06:30:00Z", datetime(2026, 11, 21, 6, 30, tzinfo=UTC)),
        ("2026-11-21T07:30:00.5+01:00", datetime(2026, 11, 21, 6, 30, 0, 500_000, tzinfo=UTC)),
        ("-2h", NOW - timedelta(hours=2)),
        ("-1.5d", NOW - timedelta(days=1.5)),
        ("30m ago", NOW - timedelta(minutes=30)),
        ("90 s ago", NOW - timedelta(seconds=90)),
    ],
)
def test_a_place_can_be_written_in_several_ways(text, place):
    assert parse_place(text, NOW) == place


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("yesterday", "sequence number"),
        ("", "sequence number"),
        ("2h", "sequence number"),
        ("-5", "sequence number"),
        ("²", "sequence number"),
        ("2026-11-21T06:30:00", "no zone"),
        ("2026-11-21", "no zone"),
        ("-99999999999d", "too long ago"),
    ],
)
def test_what_is_no_place_is_refused_with_what_was_meant(text, told):
    with pytest.raises(ValueError, match=told):
        parse_place(text, NOW)
