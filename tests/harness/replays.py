"""Replays as processes, with processors that note what they do."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any, NamedTuple

ENDS_WITHIN_S = 30.0
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


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    errors: str


def configure(place: Any, *names: str, how: str = "note", **changes: Any) -> None:
    """Have processors of these names note what they are given."""
    (place.folder / "notes.py").write_text(NOTES)
    processors = [{"name": name, "type": f"notes:{how}"} for name in names or ("one", "two")]
    place.configure(**{"processors": processors, **changes})


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


async def end_of(process: asyncio.subprocess.Process) -> Ended:
    """Wait for the end."""
    try:
        out, errors = await asyncio.wait_for(process.communicate(), ENDS_WITHIN_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), errors.decode())


async def replay(place: Any, *arguments: str) -> Ended:
    """Run an `inturn replay` to its end."""
    return await end_of(await start_replay(place, *arguments))
