"""The archive: every line complete, durable before it counts, and never rewritten."""

from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import os
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.errors import ProcessorSettingsError
from consumer.processor import Context
from processors.archive import Archive
from processors.archive_files import ArchiveFolder, torn_files
from processors.archive_lines import line_of

NOON_S = 1_795_262_400.0  # 2026-11-21T12:00:00Z

# The fixture `event` only makes values: every example may use the same one.
STATELESS = [HealthCheck.function_scoped_fixture]


def context(events) -> Context:
    return Context("keep", 1, events, lambda event: f"key-{event.id}")


def folder(path: Path, **options) -> ArchiveFolder:
    known = {"rotate_bytes": 1 << 20, "rotate_s": 60.0, "durability": "batch", "compress": False}
    return ArchiveFolder(path, **{**known, "now_s": lambda: NOON_S, **options})


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def lines(path: Path) -> list[bytes]:
    return [line for file in sorted(path.glob("*.jsonl")) for line in file.read_bytes().splitlines()]


async def archived(path: Path, *batches, **settings) -> list[dict]:
    archive = Archive(Archive.Settings(path=path, **settings))
    await archive.open()
    for events in batches:
        await archive.process_batch(events, context(events))
    await archive.close()
    return [orjson.loads(line) for line in lines(path)]


async def test_a_line_holds_the_event_as_it_came_and_where_it_was(tmp_path, event):
    (record,) = await archived(tmp_path, [event()])
    assert record == {
        "id": "id-7",
        "type": "Microsoft.MachineLearningServices.ModelRegistered",
        "topic": event().topic,
        "subject": "models/fraud:3",
        "time": "2026-11-21T06:00:00.000Z",
        "enqueued_time": "2026-11-21T06:00:00.007Z",
        "partition": "0",
        "sequence_number": 7,
        "index": 0,
        "ordered_by": "version",
        "stale": False,
        "idempotency_key": "key-id-7",
        "data": {"id": "id", "data": {"modelName": "fraud", "modelVersion": "3"}},
    }


async def test_batches_are_kept_in_order(tmp_path, event):
    batches = [[event(sequence_number=10 * b + n) for n in range(10)] for b in range(5)]
    records = await archived(tmp_path, *batches)
    assert [record["sequence_number"] for record in records] == list(range(50))


async def test_a_batch_can_be_read_as_soon_as_it_is_handled(tmp_path, event):
    archive = Archive(Archive.Settings(path=tmp_path))
    await archive.open()
    events = [event()]
    await archive.process_batch(events, context(events))
    assert len(lines(tmp_path)) == 1
    await archive.close()


async def test_side_by_side_batches_never_mix_their_lines(tmp_path, event):
    archive = Archive(Archive.Settings(path=tmp_path, rotate_mb=0.01))
    await archive.open()
    async with asyncio.TaskGroup() as group:
        for lane in range(20):
            events = [event(sequence_number=100 * lane + n) for n in range(10)]
            group.create_task(archive.process_batch(events, context(events)))
    await archive.close()
    got = [orjson.loads(line)["sequence_number"] for line in lines(tmp_path)]
    assert sorted(got) == sorted(100 * lane + n for lane in range(20) for n in range(10))
    assert all(got[i : i + 10] == list(range(got[i], got[i] + 10)) for i in range(0, 200, 10))


@settings(suppress_health_check=STATELESS)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_event_is_one_line_and_reads_back_the_same(event, value):
    original = orjson.dumps(value, option=orjson.OPT_INDENT_2).replace(b"\n", b"\r\n")
    line = line_of(event(original=original), "key")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    assert orjson.loads(line)["data"] == value


@settings(suppress_health_check=STATELESS)
@given(original=st.binary(max_size=50))
def test_bytes_that_are_no_event_are_one_valid_line_too(event, original):
    record = orjson.loads(line_of(event(original=original), "key"))
    if "data_base64" in record:
        assert base64.b64decode(record["data_base64"]) == original


def test_a_file_is_finished_before_it_grows_too_large(tmp_path):
    files = folder(tmp_path, rotate_bytes=10)
    for block in (b"aaaa\n", b"bbbb\n", b"cccc\n", b"a block larger than the limit is not split\n", b"d\n"):
        files.append(block)
    files.finish()
    assert [file.read_bytes() for file in sorted(tmp_path.iterdir())] == [
        b"aaaa\nbbbb\n",
        b"cccc\n",
        b"a block larger than the limit is not split\n",
        b"d\n",
    ]


def test_a_file_is_finished_when_it_is_old_and_names_sort_by_time(tmp_path):
    now = NOON_S
    files = folder(tmp_path, now_s=lambda: now)
    for now in (NOON_S, NOON_S + 60, NOON_S + 61, NOON_S + 3600):  # noqa: B007 - read by the clock
        files.append(b"x\n")
    files.finish()
    assert names(tmp_path) == [
        "2026-11-21T12-00-00Z-0001.jsonl",
        "2026-11-21T12-01-01Z-0001.jsonl",
        "2026-11-21T13-00-00Z-0001.jsonl",
    ]


def test_two_writers_in_one_folder_never_share_a_file(tmp_path):
    one, other = folder(tmp_path), folder(tmp_path)
    for _ in range(3):
        one.append(b"one\n")
        other.append(b"other\n")
    one.finish()
    other.finish()
    assert [file.read_bytes() for file in sorted(tmp_path.iterdir())] == [b"one\n" * 3, b"other\n" * 3]


def test_finished_files_can_be_compressed(tmp_path):
    files = folder(tmp_path, rotate_bytes=4, compress=True)
    files.append(b"one\n")
    files.append(b"two\n")
    assert names(tmp_path) == ["2026-11-21T12-00-00Z-0001.jsonl.gz", "2026-11-21T12-00-00Z-0002.jsonl"]
    files.finish()
    assert [gzip.decompress(file.read_bytes()) for file in sorted(tmp_path.iterdir())] == [b"one\n", b"two\n"]


def test_a_file_that_cannot_be_compressed_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("processors.archive_files.gzip.GzipFile", fail_with(errno.ENOSPC))
    files = folder(tmp_path, compress=True)
    files.append(b"one\n")
    files.finish()
    assert names(tmp_path) == ["2026-11-21T12-00-00Z-0001.jsonl"]


def fail_with(number: int):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_write_that_stops_halfway_leaves_no_partial_line(tmp_path, monkeypatch):
    write = os.write
    calls = []

    def half_then_full(descriptor, data):
        calls.append(len(data))
        if len(calls) == 2:
            return write(descriptor, bytes(data)[:3])
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    files = folder(tmp_path)
    monkeypatch.setattr("processors.archive_files.os.write", half_then_full)
    files.append(b"first\n")
    with pytest.raises(OSError, match="No space left") as raised:
        files.append(b"second\n")
    assert "2026-11-21T12-00-00Z-0001.jsonl" in raised.value.__notes__[0]
    assert lines(tmp_path) == [b"first"]
    files.append(b"second\n")
    files.finish()
    assert lines(tmp_path) == [b"first", b"second"]
    assert len(names(tmp_path)) == 2, "what follows an error goes to a new file"


def test_a_disk_that_does_not_confirm_makes_the_batch_fail(tmp_path, monkeypatch):
    files = folder(tmp_path)
    files.append(b"first\n")
    with monkeypatch.context() as broken:
        broken.setattr("processors.archive_files.os.fsync", fail_with(errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            files.append(b"second\n")
    files.append(b"second\n")
    files.finish()
    assert lines(tmp_path) == [b"first", b"second"]


def test_a_failed_first_batch_leaves_no_empty_file(tmp_path, monkeypatch):
    files = folder(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("processors.archive_files.os.write", fail_with(errno.ENOSPC))
        with pytest.raises(OSError, match="No space"):
            files.append(b"first\n")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("durability", "in_batch", "at_end"), [("batch", 1, 1), ("rotate", 0, 1), ("never", 0, 0)]
)
def test_the_disk_is_asked_to_confirm_as_often_as_configured(
    tmp_path, monkeypatch, durability, in_batch, at_end
):
    confirmed = []
    monkeypatch.setattr("processors.archive_files.os.fsync", confirmed.append)
    files = folder(tmp_path, durability=durability)
    files.append(b"first\n")
    confirmed.clear()
    files.append(b"second\n")
    assert len(confirmed) == in_batch
    files.finish()
    assert len(confirmed) - in_batch == at_end


CRASHING = """
import os, sys
from pathlib import Path
from processors import archive_files
write = os.write
def die_halfway(descriptor, data):
    if b"second" in bytes(data):
        write(descriptor, bytes(data)[:4])
        os._exit(9)
    return write(descriptor, data)
archive_files.os.write = die_halfway
folder = archive_files.ArchiveFolder(
    Path(sys.argv[1]), rotate_bytes=100, rotate_s=60, durability="batch", compress=False)
folder.append(b'"first"\\n')
folder.append(b'"second"\\n')
"""


async def test_a_crash_leaves_one_torn_last_line_and_the_next_start_goes_on_elsewhere(
    tmp_path, event, caplog
):
    crash = await asyncio.create_subprocess_exec(sys.executable, "-c", CRASHING, str(tmp_path))
    assert await crash.wait() == 9
    (torn,) = tmp_path.iterdir()
    assert torn.read_bytes() == b'"first"\n"sec'
    assert torn_files(tmp_path) == [torn.name]

    archive = Archive(Archive.Settings(path=tmp_path))
    await archive.open()
    events = [event()]
    await archive.process_batch(events, context(events))
    await archive.close()
    assert torn.name in caplog.text
    assert torn.read_bytes() == b'"first"\n"sec', "a line is never rewritten"
    assert len(names(tmp_path)) == 2


async def test_a_folder_that_is_missing_is_made(tmp_path, event):
    assert len(await archived(tmp_path / "a" / "b", [event()])) == 1


async def test_a_folder_that_cannot_be_written_keeps_it_from_opening(tmp_path):
    (tmp_path / "file").write_text("")
    archive = Archive(Archive.Settings(path=tmp_path / "file"))
    with pytest.raises(ProcessorSettingsError, match="cannot be written"):
        await archive.open()
    await archive.close()


async def test_an_archive_without_events_makes_no_file(tmp_path):
    assert await archived(tmp_path) == []
    assert names(tmp_path) == []
