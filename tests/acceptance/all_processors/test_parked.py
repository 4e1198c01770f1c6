"""What follows a refused event of its object waits behind it, and a redrive mends both, in order."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from typing import Any

import orjson
from aiohttp import web
from harness.endpoints import Received
from harness.processes import ROOT
from harness.team import HUB, Team, open_team
from harness.team_at_work import SIGNING_SECRET, Run, working

from consumer.testing import make_message
from consumer.testing.events import TOPIC

REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
REDRIVES_MAX = 60


def configuration(team: Team) -> dict[str, Any]:
    target = {
        "url": f"https://localhost:{team.https.port}/models/{{model}}",
        "signing_secret": SIGNING_SECRET,
        "ca_file": str(team.authority.ca_file),
        "allow_private_hosts": ["localhost"],
        "ports": [team.https.port],
    }
    return {
        "source": {"type": "eventhub", "hub": HUB, "connection_string": team.connection_string()},
        "state": {"type": "sqlite", "path": "state.sqlite"},
        "admission": {"topics": [TOPIC]},
        "sequence": {"window_s": 0.2, "idle_margin_s": 0.5},
        "admin": {"enabled": False},
        "processors": [
            {"name": "models", "type": "webhook", "on_failure_order": "park", "with": target},
        ],
    }


def publish(team: Team, models: int, versions: range) -> None:
    """Every model in as many versions."""
    for version in versions:
        for number in range(models):
            name = f"m{number}"
            body = make_message(
                REGISTERED, f"models/{name}:{version}", {"modelName": name, "modelVersion": version}
            )
            team.hub.publish(HUB, body, partition_key=name)


class Registry:
    """The target: it refuses the third version of every other model, until it is mended."""

    def __init__(self) -> None:
        self.taken: dict[str, list[int]] = defaultdict(list)
        """By model, in the order in which they were taken."""
        self.is_mended = False
        self.refused = 0

    def answer(self, request: Received) -> web.Response:
        data = orjson.loads(request.body)["data"]
        name, version = data["modelName"], data["modelVersion"]
        if not self.is_mended and version == 3 and int(name[1:]) % 2:
            self.refused += 1
            return web.Response(status=422)
        self.taken[name].append(version)
        return web.Response(status=204)

    def count(self) -> int:
        return sum(map(len, self.taken.values()))


async def redrive(team: Team) -> int:
    command = (sys.executable, "-m", "consumer", "dlq", "redrive", "-c", "inturn.json")
    with (team.folder / "redrive.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=team.folder, env={"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
        )
        return await process.wait()


async def test_what_was_parked_behind_a_refused_event_is_redriven_in_order(tmp_path, figure, effort, explain):
    models, versions = effort.pick(short=(10, 10), full=(200, 50), deep=(500, 100))
    registry = Registry()
    half = versions // 2
    async with open_team(tmp_path) as team:
        team.https.answer = registry.answer
        publish(team, models, range(1, half + 1))
        refused = models // 2
        before = (models - refused) * half + refused * 2
        async with working(team, configuration(team), Run({})), asyncio.timeout(300):
            while registry.count() < before or registry.refused < refused:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            registry.is_mended = True
            # While some are redriven, others of the same objects come and are parked.
            publish(team, models, range(half + 1, versions + 1))
            redrives = 0
            while registry.count() < models * versions and redrives < REDRIVES_MAX:
                code = await redrive(team)
                assert code in (0, 1), (tmp_path / "redrive.log").read_text()[-2_000:]
                redrives += 1
                await asyncio.sleep(0.5)
    due = list(range(1, versions + 1))
    wrong = {name: taken for name, taken in registry.taken.items() if taken != due}
    lost = sum(len(set(due) - set(taken)) for taken in wrong.values())
    repeated = sum(len(taken) - len(set(taken)) for taken in wrong.values())
    explain(f"{redrives} redrives; {dict(list(wrong.items())[:3])}")
    explain((tmp_path / "redrive.log").read_text()[-2_000:])
    figure("parked-objects", refused, "objects")
    figure("parked-lost", lost, "effects", "==", 0)
    figure("parked-repeated", repeated, "effects", "==", 0)
    figure(
        "parked-objects-out-of-order",
        sum(taken != sorted(taken) for taken in wrong.values()),
        "objects",
        "==",
        0,
    )
