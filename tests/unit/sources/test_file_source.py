"""What is a message in a file, when it was enqueued, and what happens to files that are odd."""

from __future__ import annotations

import asyncio
import io
import json
import os

import pytest

from consumer.errors import ConfigurationError, SourceUnavailable
from consumer.events import NOTHING_DONE, Checkpoint
from consumer.sources.file import FileSource
from consumer.sources.file_messages import LINE_BYTES_MAX, lines_of


async def read(source: FileSource, after: Checkpoint = NOTHING_DONE):
    (partition,) = source.partitions()
    return [batch async for batch in source.batches(partition, after)]


async def bodies(source: FileSource) -> list[bytes]:
    return [body for batch in await read(source) for body in batch.bodies]


def event(number: int, **more) -> str:
    return json.dumps({"id": str(number), "eventType": "T", "subject": "s", **more})


async def test_each_line_is_a_message_and_blank_lines_are_none(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id":"1"}\r\n\n   \n[{"id":"2"},{"id":"3"}]\n{"id":"4"}')
    batches = await read(FileSource(path))
    assert [body for batch in batches for body in batch.bodies] == [
        b'{"id":"1"}',
        b'[{"id":"2"},{"id":"3"}]',
        b'{"id":"4"}',
    ]
    assert [number for batch in batches for number in batch.sequence_numbers] == [0, 1, 2]
    assert [offset for batch in batches for offset in batch.offsets] == ["0", "1", "2"]
    assert batches[0].properties_at(0) == {}


async def test_numbers_run_on_over_sorted_files_and_named_order(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "c.txt"):
        (tmp_path / name).write_text(f'"{name}"\n')
    source = FileSource(tmp_path / "c.txt", str(tmp_path / "*.jsonl"), tmp_path / "a.jsonl")
    batches = await read(source)
    assert [body for batch in batches for body in batch.bodies] == [b'"c.txt"', b'"a.jsonl"', b'"b.jsonl"']
    assert [number for batch in batches for number in batch.sequence_numbers] == [0, 1, 2]


async def test_a_relative_pattern_is_found_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "1.jsonl").write_text("1\n")
    monkeypatch.chdir(tmp_path)
    assert await bodies(FileSource("x/*.jsonl")) == [b"1"]


async def test_a_dead_letter_blob_is_one_message_for_each_event_byte_for_byte(tmp_path):
    events = [event(number, deadLetterReason="MaxDeliveryAttemptsExceeded", n=1.50) for number in range(3)]
    path = tmp_path / "dead.json"
    path.write_text("[" + ", ".join(events) + "]")
    assert await bodies(FileSource(path)) == [each.encode() for each in events]


async def test_a_pretty_printed_array_is_one_message_for_each_element(tmp_path):
    path = tmp_path / "dead.json"
    path.write_text(json.dumps([{"id": "1"}, {"id": "ü"}], indent=2, ensure_ascii=False))
    assert [json.loads(body) for body in await bodies(FileSource(path))] == [{"id": "1"}, {"id": "ü"}]


async def test_an_array_on_a_line_of_its_own_stays_one_message(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(f"[{event(1)},{event(2)}]\n")
    assert len(await bodies(FileSource(path))) == 1


@pytest.mark.parametrize("text", ["[1, 2", "[\n{]", "[" * 100_000])
async def test_a_broken_array_is_read_as_lines_for_decoding_to_refuse(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    assert b"\n".join(await bodies(FileSource(path))) == text.encode()


async def test_log_time_comes_from_the_events_and_never_falls(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        "\n".join(
            [
                "not json",
                event(1, eventTime="2026-11-21T06:00:10.1234567Z"),
                event(2, eventTime="2026-11-21T06:00:05Z"),
                event(3, eventTime="soon"),
                json.dumps([{"time": "2026-11-21T07:00:20+01:00"}]),
                json.dumps({"time": "2026-11-21T06:00:30"}),
                "",
            ]
        )
    )
    (batch,) = await read(FileSource(path))
    first = batch.enqueued_times_ms[1]
    assert batch.enqueued_times_ms == [0, first, first, first, first + 9_877, first + 19_877]
    assert first == 1_795_240_810_123


async def test_an_overlong_line_is_handed_over_cut_and_the_next_one_is_whole(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * (3 * LINE_BYTES_MAX) + b"\nafter\n" + b"y" * (2 * LINE_BYTES_MAX))
    found = await bodies(FileSource(path))
    assert [len(body) for body in found] == [LINE_BYTES_MAX, 5, LINE_BYTES_MAX]
    assert found[1] == b"after"


def test_lines_of_any_chunks_are_the_lines_of_the_whole():
    text = b"a\n\nbb\r\nccc\n" + b"d" * 600_000 + b"\ne"

    class Small(io.BytesIO):
        def read1(self, _=-1):
            return self.read(7_001)

    whole = [line.rstrip(b"\r") for line in text.split(b"\n") if line.strip()]
    assert [line for lines in lines_of(Small(text)) for line in lines] == whole


async def test_a_batch_has_at_most_five_hundred_messages_and_begins_behind_the_checkpoint(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(str(number) for number in range(1_234)))
    batches = await read(FileSource(path), Checkpoint(699, "699"))
    assert max(map(len, batches)) <= 500
    assert [number for batch in batches for number in batch.sequence_numbers] == list(range(700, 1_234))
    assert batches[0].bodies[0] == b"700"


async def test_standard_input_is_read_as_it_comes():
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as stdin, os.fdopen(write_end, "wb", buffering=0) as writer:
        source = FileSource("-", stdin=stdin)
        batches = source.batches("0", NOTHING_DONE)
        async with asyncio.timeout(10):
            writer.write(b"1\n2\n")
            assert (await anext(batches)).bodies == [b"1", b"2"]
            writer.write(b"3\n")
            assert (await anext(batches)).bodies == [b"3"]
            writer.close()
            assert await anext(batches, None) is None


@pytest.mark.parametrize("path", ["missing.jsonl", "missing-*.jsonl"])
def test_a_path_without_a_file_is_a_mistake_in_the_configuration(tmp_path, path):
    with pytest.raises(ConfigurationError, match=r"There is no file .*missing"):
        FileSource(tmp_path / path).partitions()


def test_no_path_at_all_is_one_too():
    with pytest.raises(ConfigurationError, match="No file was named"):
        FileSource().partitions()


async def test_a_file_that_cannot_be_read_makes_the_source_unavailable(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("1\n")
    source = FileSource(path)
    batches = source.batches("0", NOTHING_DONE)
    source.files = lambda: [str(path)]
    path.unlink()
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        await anext(batches)


async def test_an_empty_file_has_no_messages(tmp_path):
    path = tmp_path / "a.jsonl"
    path.touch()
    assert await read(FileSource(path)) == []
