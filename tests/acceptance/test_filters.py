"""Filters in whole runs: over a real hub, after a restart, and in a replay."""

from __future__ import annotations

import json

import pytest
from harness.replays import configure, effects, replay

from .conftest import registered, stop

pytestmark = pytest.mark.slow

EVEN = ["data.modelVersion NumberIn 2 4 6 8", "subject StringNotContains mb:"]
"""Of the models ma, mb and mc, versions 2, 4, 6 and 8 of ma and mc."""


def bodies(*versions: int) -> list[bytes]:
    return [registered(model, version) for version in versions for model in ("ma", "mb", "mc")]


def wanted(*versions: int) -> list[str]:
    return sorted(f"{model}-{version}" for model in ("ma", "mc") for version in versions)


async def test_a_filter_holds_live_after_a_restart_and_in_a_replay(place):
    (place.folder / "subscription.json").write_text(
        json.dumps({"properties": {"filter": {"subjectBeginsWith": "models/MB"}}})
    )
    configure(
        place,
        processors=[
            {"name": "even", "type": "notes:note", "filter": {"az": EVEN}},
            {"name": "second", "type": "notes:note", "filter": {"arm_file": "subscription.json"}},
        ],
    )

    def done(processor: str, replay_id: str = "") -> list[str]:
        return sorted(each.event for each in effects(place, replay_id) if each.processor == processor)

    for versions in ((1, 2, 3, 4), (5, 6, 7, 8)):
        place.publish(bodies(*versions), key="k")
        async with place.running() as process:
            await place.until(lambda last=versions[-1]: f"mb-{last}" in done("second"))
            await place.until(lambda last=versions[-1]: f"mc-{last}" in done("even"))
            assert await stop(process) == 0

    assert done("even") == wanted(2, 4, 6, 8)
    assert done("second") == [f"mb-{version}" for version in range(1, 9)]

    ended = await replay(place, "--from", "earliest", "--processor", "even", "--id", "r", "--yes")

    assert ended.code == 0, ended
    assert done("even", "r") == wanted(2, 4, 6, 8)
    assert done("second", "r") == []
    told = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert "handled 8" in told
    assert "ignored: filter 16" in told
