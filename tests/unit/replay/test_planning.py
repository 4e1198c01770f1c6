"""From what to what every partition is read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.replay.places import Mark, Place
from consumer.replay.planning import NotReplayable, Plan, find_stretches, new_id
from consumer.sources.stretch import Extent, Stretch

A_TIME = datetime(2026, 11, 21, tzinfo=UTC)
EXTENTS = [Extent("0", 0, 99), Extent("1", 50, 99), Extent("2", 0, -1)]


class Times:
    """A log that only knows where a time is."""

    def __init__(self, before: int = 0) -> None:
        self._before = before

    async def before(self, extent: Extent, _time: object) -> int:
        return min(max(self._before, extent.begin - 1), extent.newest)


async def stretches(begin: Place, end: Place, extents=EXTENTS, checkpoints=None, times: int = 0):
    return await find_stretches(Times(times), checkpoints or {}, extents, begin, end)


async def test_everything_that_is_kept_lies_between_earliest_and_latest():
    found, notices = await stretches(Mark.EARLIEST, Mark.LATEST)
    assert found == [Stretch("0", -1, 99), Stretch("1", 49, 99)]
    assert notices == []


async def test_a_checkpoint_is_the_last_that_is_done():
    checkpoints = {"0": 9, "1": 99}
    assert (await stretches(Mark.CHECKPOINT, Mark.LATEST, checkpoints=checkpoints))[0] == [
        Stretch("0", 9, 99)
    ]
    assert (await stretches(Mark.EARLIEST, Mark.CHECKPOINT, checkpoints=checkpoints))[0] == [
        Stretch("0", -1, 9),
        Stretch("1", 49, 99),
    ]


async def test_without_a_checkpoint_everything_is_behind_it_and_nothing_before_it():
    assert (await stretches(Mark.CHECKPOINT, Mark.LATEST))[0] == [Stretch("0", -1, 99), Stretch("1", 49, 99)]
    assert (await stretches(Mark.EARLIEST, Mark.CHECKPOINT))[0] == []


async def test_a_sequence_number_is_the_first_and_the_last():
    assert (await stretches(3, 7, EXTENTS[:1]))[0] == [Stretch("0", 2, 7)]
    assert (await stretches(7, 7, EXTENTS[:1]))[0] == [Stretch("0", 6, 7)]


@pytest.mark.parametrize(("begin", "end"), [(8, 7), (50, Mark.CHECKPOINT), (A_TIME, 3)])
async def test_what_begins_after_its_end_is_refused(begin, end):
    with pytest.raises(NotReplayable, match="--from lies after --to"):
        await stretches(begin, end, EXTENTS[:1], checkpoints={"0": 10}, times=40)


async def test_what_the_hub_has_lost_is_told():
    found, notices = await stretches(10, Mark.LATEST, EXTENTS[1:2])
    assert found == [Stretch("1", 49, 99)]
    assert "40 messages, 10 to 49" in notices[0]

    found, notices = await stretches(10, 20, EXTENTS[1:2])
    assert found == []
    assert "11 messages, 10 to 20" in notices[0]

    found, notices = await stretches(A_TIME, Mark.LATEST, times=0)
    assert "the oldest message kept is 50" in notices[0]


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
async def test_a_stretch_lies_within_what_is_kept_and_what_was_asked_for(begin, end, first_kept):
    extents = [Extent("0", first_kept, 99)]
    if begin > end:
        return
    found, notices = await stretches(begin, end, extents)
    read = {number for each in found for number in range(each.after + 1, each.last + 1)}
    assert read == {number for number in range(first_kept, 100) if begin <= number <= end}
    assert bool(notices) == (begin < first_kept)


def test_names_of_a_replay_are_no_consumer_groups_and_ids_sort_by_time():
    plan = Plan("r", "", "n", "h", "$Default", None, (), ("p",), ())
    assert plan.partition("0") == ("n", "h", "$Default~replay-r", "0")
    assert new_id(A_TIME).startswith("20261121-000000-")
    assert new_id() != new_id()


async def test_a_checkpoint_beyond_the_newest_message_belongs_to_another_hub():
    with pytest.raises(NotReplayable, match="made anew"):
        await stretches(Mark.CHECKPOINT, Mark.LATEST, checkpoints={"0": 100})
