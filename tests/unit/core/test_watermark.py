"""The watermark never falls, and follows the clock only when nothing can be on its way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.watermark import Watermark


@given(st.lists(st.integers(0, 10), min_size=1), st.one_of(st.none(), st.integers(0, 10)))
def test_it_is_the_highest_enqueued_time_so_far(times: list[int], start: int | None) -> None:
    watermark = Watermark(5, start)

    for index, time in enumerate(times):
        assert watermark.observe(time) == max([*times[: index + 1], *([] if start is None else [start])])


def test_an_idle_partition_follows_the_clock_a_margin_behind() -> None:
    watermark = Watermark(5)
    watermark.observe(100)
    watermark.arrived(100)

    assert not watermark.follow_clock(104)
    assert watermark.time_ms == 100
    assert watermark.follow_clock(107)
    assert watermark.time_ms == 102
    assert not watermark.follow_clock(107)


@given(*[st.integers(0, 20)] * 4)
def test_it_says_from_when_on_following_the_clock_leads_to_a_log_time(
    margin: int, enqueued: int, arrived: int, wait: int
) -> None:
    due = enqueued + 1 + wait  # nothing that is due already is waited for

    def leads_to_it(now: int) -> bool:
        watermark = Watermark(margin)
        watermark.observe(enqueued)
        watermark.arrived(arrived)
        return watermark.follow_clock(now) and (watermark.time_ms or 0) >= due

    watermark = Watermark(margin, enqueued)
    assert watermark.followed_to_ms(due) is None, "there may be a backlog"
    watermark.arrived(arrived)
    assert watermark.followed_to_ms(due) == next(now for now in range(100) if leads_to_it(now))


def test_before_the_first_event_there_is_no_log_time() -> None:
    watermark = Watermark(5)
    watermark.arrived(100)

    assert not watermark.follow_clock(10**6)
    assert watermark.time_ms is None


def test_a_partition_that_was_just_assigned_may_have_a_backlog_and_is_not_idle() -> None:
    watermark = Watermark(5, 100)

    assert not watermark.follow_clock(10**6)
    watermark.arrived(10**6)
    assert not watermark.follow_clock(10**6 + 4)
    assert watermark.follow_clock(10**6 + 5)


def test_a_clock_that_is_behind_changes_nothing() -> None:
    watermark = Watermark(5)
    watermark.observe(10**6)
    watermark.arrived(10)

    assert not watermark.follow_clock(500)
    assert watermark.time_ms == 10**6


def test_a_partition_of_which_the_hub_says_that_nothing_is_left_is_idle_from_then_on() -> None:
    watermark = Watermark(5, 100)
    watermark.known_empty(200)

    assert not watermark.follow_clock(204)
    assert watermark.follow_clock(205)
    watermark.known_empty(300)
    assert watermark.follow_clock(301), "the silence began before"
