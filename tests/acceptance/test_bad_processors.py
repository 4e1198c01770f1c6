"""Processors that break the contract, in real processes: they are named, and they hold up no stop."""

from __future__ import annotations

import asyncio
import json
import time

from .conftest import registered, stop

BLOCKING = """
import time

async def block(event, context):
    if event.data["modelVersion"] == 3:
        time.sleep(2.5)  # THE LINE
"""
STUBBORN = """
import asyncio

async def cling(event, context):
    while event.data["modelVersion"] == 3:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
    with open("done.txt", "a") as file:
        file.write(event.id + "\\n")
"""


async def test_a_processor_that_blocks_the_loop_is_named_with_the_line_and_the_others_go_on_after_it(place):
    (place.folder / "blocking.py").write_text(BLOCKING)
    place.configure(
        processors=[
            {"name": "blocker", "type": "blocking:block"},
            {"name": "keep", "type": "archive", "with": {"path": "archive"}},
        ],
        logging={"format": "json"},
    )
    place.publish([registered("m", version) for version in range(1, 7)])

    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == 6)
        await place.until(lambda: "turns again" in place.log())
        assert await stop(process) == 0

    (told,) = [line for line in _log(place) if line["event"].startswith("The event loop is held up")]
    line_number = 1 + BLOCKING.splitlines().index("        time.sleep(2.5)  # THE LINE")
    assert told["level"] == "warning"
    assert told["processor"] == "blocker"
    assert told["line"].endswith(f"blocking.py:{line_number} in block")
    assert place.versions("m") == [1, 2, 3, 4, 5, 6]


async def test_a_processor_that_swallows_cancellation_is_named_and_holds_up_no_stop(place):
    (place.folder / "stubborn.py").write_text(STUBBORN)
    place.configure(
        processors=[
            {"name": "clinger", "type": "stubborn:cling", "deadline_s": 1},
            {"name": "keep", "type": "archive", "with": {"path": "archive"}},
        ],
        logging={"format": "json"},
    )
    place.publish([registered(model, version) for model in ("a", "b") for version in range(1, 5)])

    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == 8)
        await place.until(lambda: "swallows cancellation" in place.log())
        began_s = time.monotonic()
        code = await stop(process)
        took_s = time.monotonic() - began_s

    assert code == 75
    assert took_s < 20
    errors = [line for line in _log(place) if line["level"] == "error"]
    assert {line.get("processor") for line in errors if "swallows" in line["event"]} == {"clinger"}
    assert errors[-1]["processors"] == ["clinger"]
    done = (place.folder / "done.txt").read_text().split()
    assert done.index("a-1") < done.index("a-2")
    assert sorted(done) == ["a-1", "a-2", "b-1", "b-2"]

    (place.folder / "stubborn.py").write_text(STUBBORN.replace("== 3", "== 0"))
    async with place.running() as process:
        await place.until(lambda: len((place.folder / "done.txt").read_text().split()) >= 8)
        await asyncio.sleep(0)
        assert await stop(process) == 0

    again = (place.folder / "done.txt").read_text().split()[4:]
    assert sorted(again) == ["a-3", "a-4", "b-3", "b-4"]
    assert len(place.ids()) == 8


def _log(place) -> list[dict]:
    return [json.loads(line) for line in place.log().splitlines() if line.startswith("{")]
