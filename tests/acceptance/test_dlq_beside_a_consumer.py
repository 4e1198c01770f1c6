"""A redrive beside the live consumer that parks: whatever comes meanwhile, every object stays in turn."""

from __future__ import annotations

import asyncio
import json

from .conftest import inturn, registered, stop

TARGET = """
from pathlib import Path

class Target:
    async def __call__(self, event, context):
        if Path("down").exists():
            raise RuntimeError("the target is down")
        with Path("effects.txt").open("a") as effects:
            effects.write(event.id + "\\n")
"""
MODELS = ("fraud", "churn")


async def test_redriven_parked_and_live_events_of_an_object_come_in_turn_and_once(place):
    (place.folder / "target.py").write_text(TARGET)
    (place.folder / "down").touch()
    place.configure(
        processors=[
            {
                "name": "deploy",
                "type": "target:Target",
                "on_failure_order": "park",
                "retry": {"attempts": 2, "backoff_s": 0, "backoff_max_s": 0},
            }
        ]
    )

    def publish(*versions: int) -> None:
        place.publish([registered(model, version) for version in versions for model in MODELS])

    def effects() -> list[str]:
        path = place.folder / "effects.txt"
        return path.read_text().split() if path.exists() else []

    async def letters() -> list[dict[str, object]]:
        listed = await inturn(place.folder, "dlq", "list", "--json")
        return [json.loads(line) for line in listed.out.splitlines()]

    async with place.running() as process:
        publish(1, 2, 3)
        while len(await letters()) < 6:  # each look takes a process its time
            assert process.returncode is None, place.log()
        (place.folder / "down").unlink()
        publish(4, 5)  # parked, or they would overtake: the letters are still there

        redriven = await inturn(place.folder, "dlq", "redrive", "--rate", "20/s")
        publish(6)
        await place.until(lambda: {"fraud-3", "churn-3"} <= set(effects()))
        assert redriven.code == 0, redriven.out + redriven.errors

        publish(7)
        # What comes before the consumer has looked again is parked, too, and needs another redrive.
        async with asyncio.timeout(100):
            while not {"fraud-7", "churn-7"} <= set(effects()):
                if await letters():
                    await inturn(place.folder, "dlq", "redrive")
        assert await stop(process) == 0

    for model in MODELS:
        assert [each for each in effects() if each.startswith(model)] == [
            f"{model}-{version}" for version in range(1, 8)
        ]
    assert await letters() == []
