"""The console processor: one line per event, whole, safe and in order."""

from __future__ import annotations

import io
import os
import sys

import orjson
import pytest

from consumer.errors import ProcessorSettingsError
from consumer.events import OrderedBy, OrderToken
from consumer.processor import Context, Retry
from processors.console import Console


def context(events) -> Context:
    return Context("log", 1, events, lambda event: event.id)


async def printed(capsys, events, **settings) -> str:
    console = Console(Console.Settings(**settings))
    await console.open()
    await console.process_batch(events, context(events))
    await console.close()
    return capsys.readouterr().out


async def test_a_line_says_when_what_of_which_object_and_what_it_was_ordered_by(capsys, event):
    assert await printed(capsys, [event()]) == (
        "2026-11-21T06:00:00.000Z  ModelRegistered  models/fraud  version  models/fraud:3\n"
    )


async def test_a_batch_keeps_its_order(capsys, event):
    lines = (await printed(capsys, [event(subject=f"s{n}") for n in range(50)])).splitlines()
    assert [line.split()[-1] for line in lines] == [f"s{n}" for n in range(50)]


async def test_json_lines_can_be_read_by_programs(capsys, event):
    made = event(stale=True, order_token=OrderToken(OrderedBy.SEQUENCER, "00a"))
    record = orjson.loads(await printed(capsys, [made], format="json"))
    assert record["type"] == "Microsoft.MachineLearningServices.ModelRegistered"
    assert record["ordered_by"] == "sequencer"
    assert record["stale"] is True
    assert record["sequence_number"] == 7


async def test_an_event_without_a_time_shows_when_it_was_enqueued(capsys, event):
    line = await printed(capsys, [event(event_time=None)])
    assert line.startswith("2026-11-21T06:00:00.007Z ")


async def test_a_stale_event_is_marked(capsys, event):
    assert (await printed(capsys, [event(stale=True)])).endswith("models/fraud:3  stale\n")


async def test_an_event_cannot_move_the_cursor_or_forge_a_line(capsys, event):
    line = await printed(capsys, [event(subject="a\x1b[2J\nforged")])
    assert line.endswith("a\\x1b[2J\\x0aforged\n")


async def test_colour_is_for_terminals_only(capsys, event, monkeypatch):
    assert "\x1b" not in await printed(capsys, [event()])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b[1mModelRegistered\x1b[0m" in await printed(capsys, [event()])


async def test_a_terminal_without_the_letters_still_gets_a_line(event, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    console = Console(Console.Settings())
    events = [event(subject="modèles/é")]
    await console.process_batch(events, context(events))
    await console.close()
    assert raw.getvalue().endswith(b"mod\\xe8les/\\xe9\n")


async def test_a_reader_that_left_is_told_as_retry_and_loses_nothing(event, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as raw:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, write_through=True))
        console = Console(Console.Settings())
        events = [event()]
        with pytest.raises(Retry, match="Standard output is closed") as told:
            await console.process_batch(events, context(events))
        assert told.value.after_s
        await console.close()
        sys.stdout.detach()


async def test_without_a_standard_output_it_does_not_open(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    console = Console(Console.Settings())
    with pytest.raises(ProcessorSettingsError):
        await console.open()
    await console.close()
