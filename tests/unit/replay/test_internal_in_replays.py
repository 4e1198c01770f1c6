"""What processors and rules emit reaches those who name it in a replay too, and is counted in a dry run."""

from __future__ import annotations

import json

import pytest

from consumer.replay.ledger import Ledger
from consumer.replay.places import parse_place
from consumer.replay.planning import Request, make_plan
from consumer.replay.running import Tried, open_run
from consumer.settings import Settings

ML = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
TOLD: list[tuple[str, str, str]] = []


async def emit(event, context):
    context.emit("Inturn.Seen", event.subject, {"of": event.id})


async def listen(event, context):
    TOLD.append((event.type, event.subject, context.replay_id))


def registered(minute):
    return {
        "id": f"e{minute}",
        "topic": ML,
        "subject": f"models/m:{minute}",
        "eventType": REGISTERED,
        "eventTime": f"2026-11-21T06:{minute:02}:00Z",
        "data": {"modelName": "m", "modelVersion": minute},
        "dataVersion": "1",
    }


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "log.jsonl").write_text("".join(json.dumps([registered(m)]) + "\n" for m in (0, 20, 40)))
    return Settings.model_validate(
        {
            "source": {"type": "file", "paths": [str(tmp_path / "log.jsonl")]},
            "state": {"type": "memory"},
            "admission": {"topics": "any"},
            "processors": [
                {"name": "emit", "type": f"{__name__}:emit"},
                {"name": "listen", "type": f"{__name__}:listen", "types": ["Inturn.*"]},
            ],
            "expect": [
                {
                    "name": "deployed",
                    "after": {"types": [REGISTERED], "key": "{data.modelVersion}"},
                    "expect": {"types": ["Deployed"], "key": "{data.version}"},
                    "within_min": 30,
                }
            ],
        }
    )


async def plan_of(settings):
    begin, end = parse_place("earliest"), parse_place("latest")
    return (await make_plan(settings, Request(begin, end))).plan


async def test_a_replay_tells_of_what_was_seen_and_of_what_was_missed_by_then(settings, tmp_path):
    TOLD.clear()
    plan, path = await plan_of(settings), tmp_path / "replays.sqlite"
    ledger = Ledger(path)
    await ledger.begin(plan)
    await ledger.close()

    async with open_run(settings, plan, path) as run:
        await run.run()

    assert run.is_finished
    seen = [("Inturn.Seen", f"models/m:{minute}", plan.id) for minute in (0, 20, 40)]
    # The log ends 20 minutes after the second one: whether that is missed is not known yet.
    assert sorted(TOLD) == [("Inturn.ExpectationMissed", "models/m:0", plan.id), *seen]


async def test_a_dry_run_counts_what_rules_would_have_emitted_and_tells_nobody(settings):
    TOLD.clear()

    async with open_run(settings, await plan_of(settings), None) as run:
        await run.run()

    assert run.tried == {Tried("emit", REGISTERED): 3, Tried("listen", "Inturn.ExpectationMissed"): 1}
    assert TOLD == []
