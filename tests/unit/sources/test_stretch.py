"""A stretch begins behind one message and ends with another, whatever batches the log comes in."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import ConfigurationError
from consumer.events import NOTHING_DONE, Checkpoint, RawBatch
from consumer.sources.file_log import FileLog
from consumer.sources.stretch import Extent, Stretch, StretchSource


def batch(numbers: list[int]) -> RawBatch:
    return RawBatch(
        partition="0",
        bodies=[b"%d" % number for number in numbers],
        sequence_numbers=numbers,
        offsets=[str(number) for number in numbers],
        enqueued_times_ms=numbers,
        partition_keys=[None] * len(numbers),
        properties_at=lambda index: {"number": numbers[index]},
    )


class Given:
    """A log of some batches."""

    def __init__(self, *batches: list[int]) -> None:
        self._batches = batches
        self.read = 0

    async def batches(self, partition: str, after: int, last: int) -> AsyncGenerator[RawBatch]:
        for numbers in self._batches:
            rest = [number for number in numbers if number > after]
            if rest:
                self.read += 1
                yield batch(rest)


async def read(log: Given, stretch: Stretch) -> tuple[list[RawBatch], StretchSource]:
    source = StretchSource(log, [stretch])
    start = source.start_of("0")
    return [each async for each in source.batches("0", start)], source


@given(
    st.lists(st.lists(st.booleans(), min_size=1, max_size=5), max_size=6),
    st.integers(-1, 30),
    st.integers(-1, 30),
)
async def test_of_a_log_exactly_the_stretch_is_read(shape, after, last):
    numbers = iter(range(40))
    batches = [[number for kept, number in zip(row, numbers, strict=False) if kept] for row in shape]
    there = [number for row in batches for number in row if after < number <= last]

    found, source = await read(Given(*batches), Stretch("0", after, last))

    assert [number for each in found for number in each.sequence_numbers] == there
    assert [body for each in found for body in each.bodies] == [b"%d" % number for number in there]
    assert all(each.properties_at(0) == {"number": each.sequence_numbers[0]} for each in found)
    assert all(each.newest_sequence_number == last for each in found)
    if source.lasts["0"] != last:  # what is not there cannot be waited for
        assert source.lasts["0"] == (max(there) if there else min(after, last))


async def test_nothing_is_read_behind_the_end():
    log = Given([0, 1], [2, 3], [4, 5])
    await read(log, Stretch("0", -1, 2))
    assert log.read == 2


def test_a_stretch_begins_where_it_was_told_to_unless_something_is_stored():
    source = StretchSource(Given(), [Stretch("0", -1, 3), Stretch("1", 7, 9)])
    assert source.start_of("0") == NOTHING_DONE
    assert source.start_of("1").sequence_number == 7
    assert [len(Stretch("0", -1, 3)), len(Stretch("0", 5, 3))] == [4, 0]


@pytest.fixture
def files(tmp_path):
    events = [
        {"id": str(number), "eventTime": f"2026-11-21T06:00:{number:02}Z", "subject": "s"}
        for number in range(20)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return FileLog(tmp_path / "a.jsonl")


async def test_files_are_one_partition_that_can_be_searched_for_a_time(files):
    (extent,) = await files.extents()
    assert extent == Extent("0", 0, 19)
    assert await files.before(extent, datetime(2026, 11, 21, 6, 0, 7, tzinfo=UTC)) == 6
    assert await files.before(extent, datetime(2026, 11, 21, 6, 0, 6, 1, tzinfo=UTC)) == 6
    assert await files.before(extent, datetime(2026, 11, 21, tzinfo=UTC)) == -1
    assert await files.before(extent, datetime(2027, 1, 1, tzinfo=UTC)) == 19


async def test_a_stretch_of_files_can_be_gone_on_with(files):
    source = StretchSource(files, [Stretch("0", 4, 11)])
    found = [each async for each in source.batches("0", Checkpoint(8, "8"))]
    assert [number for each in found for number in each.sequence_numbers] == [9, 10, 11]


async def test_what_cannot_be_read_again_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="standard input"):
        FileLog("-")
    with pytest.raises(ConfigurationError, match="no file"):
        await FileLog(tmp_path / "none").extents()
