"""Replays as processes, with processors that note what they do."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from harness.commands import Ended, end_of

NOTES = """
import asyncio, json

async def note(event, context):
    line = [context.processor, context.replay_id, event.id, context.idempotency_key]
    with open("notes.jsonl", "a") as file:
        file.write(json.dumps(line) + "\\n")

async def note_slowly(event, context):
    await asyncio.sleep(0.01)
    await note(event, context)
"""


class Effect(NamedTuple):
    """What a processor did."""

    processor: str
    replay: str
    """The id of the replay; "" for what was done live."""
    event: str
    key: str


def configure(place: Any, *names: str, how: str = "note", **changes: Any) -> None:
    """Have processors of these names note what they are given."""
    (place.folder / "notes.py").write_text(NOTES)
    processors = [{"name": name, "type": f"notes:{how}"} for name in names or ("one", "two")]
    place.configure(**{"processors": processors, **changes})


def rows(file: Path, *tables: str) -> dict[str, list[Any]]:
    """All that stands in tables of a SQLite file."""
    with closing(sqlite3.connect(file)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


def effects(place: Any, replay: str | None = None) -> list[Effect]:
    """What was done, in order; live (""), in a replay, or all."""
    file = place.folder / "notes.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    found = [Effect(*json.loads(line)) for line in lines]
    return [effect for effect in found if replay in (None, effect.replay)]


def versions(done: list[Effect], model: str) -> list[int]:
    """The versions of a model, in the order in which they were handled."""
    return [int(each.event.rpartition("-")[2]) for each in done if each.event.rpartition("-")[0] == model]


async def start_replay(place: Any, *arguments: str) -> asyncio.subprocess.Process:
    """Begin an `inturn replay`."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer", "replay", *arguments),
        cwd=place.folder,
        env=os.environ | {"PYTHONPATH": str(place.folder), "COLUMNS": "200"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def replay(place: Any, *arguments: str) -> Ended:
    """Run an `inturn replay` to its end."""
    return await end_of(await start_replay(place, *arguments))
