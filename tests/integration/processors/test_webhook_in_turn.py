"""A webhook in the real engine, while attempts fail, answers are lost and the process dies."""

from __future__ import annotations

import random
from collections import defaultdict

import orjson
import pytest
from aiohttp import web
from harness.endpoints import Received

from consumer.testing import run_under_faults
from consumer.testing.events import make_event
from processors.webhook import Webhook

OBJECTS, VERSIONS = 12, 15


@pytest.mark.parametrize("batch", [False, True], ids=["one by one", "in batches"])
async def test_an_endpoint_that_knows_the_keys_has_every_event_once_and_of_every_object_in_turn(
    endpoint, chosen, batch
):
    rng = random.Random(11)
    accepted: dict[str, None] = {}
    versions: dict[str, list[int]] = defaultdict(list)

    def answer(request: Received) -> web.Response:
        if rng.random() < 0.1:
            return web.Response(status=rng.choice([500, 503, 404, 429]))
        members = orjson.loads(request.body)
        for member in members if batch else [members]:
            key = f"{member['source']} {member['id']}" if batch else request.headers["webhook-id"]
            if key not in accepted:
                accepted[key] = None
                versions[member["data"]["modelName"]].append(int(member["data"]["modelVersion"]))
        return web.Response(status=204)

    endpoint.answer = answer
    events = [
        make_event(
            "Microsoft.MachineLearningServices.ModelRegistered",
            f"models/m{number}:{version}",
            {"modelName": f"m{number}", "modelVersion": str(version)},
        )
        for version in range(1, VERSIONS + 1)
        for number in range(OBJECTS)
    ]
    made: list[Webhook] = []

    def make() -> Webhook:
        made.append(Webhook(Webhook.Settings(url=endpoint.url, batch=batch, **chosen)))
        return made[-1]

    try:
        report = await run_under_faults(make, events, seed=3)
    finally:
        for webhook in made:  # those that died are not closed by anybody
            await webhook.close()

    assert report.crashes == 3
    assert not report.dead_letters
    assert len(accepted) == len(events)
    assert dict(versions) == {f"m{number}": list(range(1, VERSIONS + 1)) for number in range(OBJECTS)}
