"""`inturn run` that deploys and retrains at a fake Azure: killed half-way, and told things late and twice."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import Any

import pytest
from harness.resource_manager import LOST, SECRET_HEADER, Fault, ResourceManagerServer
from harness.resource_manager_factory import FACTORY, Factory
from harness.resource_manager_ml import Workspace

from .conftest import TOPIC, registered, stop


class Azure(ResourceManagerServer):
    """Resource Manager with a workspace, an endpoint in it, and a Data Factory."""

    workspace: Workspace
    factory: Factory


@asynccontextmanager
async def an_azure(monkeypatch):
    async with Azure() as azure:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/identity/token")
        monkeypatch.setenv("IDENTITY_HEADER", SECRET_HEADER)
        azure.workspace, azure.factory = Workspace(azure), Factory(azure, "refit")
        azure.workspace.add_endpoint("shop")
        yield azure


@pytest.fixture
async def azure(monkeypatch):
    async with an_azure(monkeypatch) as running:
        yield running


def configure(place, azure, **of_processor: Any) -> None:
    known = {"azure": {"endpoint": azure.url, "poll_s": 0.05}, "workspaces": [TOPIC]}
    again = {"retry": {"attempts": 100, "backoff_s": 0.05, "backoff_max_s": 0.2}}
    deploy = {
        "rules": [{"models": ["fraud"], "endpoint": "shop", "traffic": "all"}],
        "deployments_per_hour_max": 20,
    }
    run = {"factory": FACTORY, "pipeline": "refit"}
    retrain = {
        "rules": [{"model": "fraud", "drifts": ["fraud-*"], "data_factory": run}],
        "runs_per_day_max": 3,
    }
    place.configure(
        processors=[
            {"name": "deploy", "type": "deploy_model", "with": known | deploy, **again, **of_processor},
            {"name": "retrain", "type": "retrain", "with": known | retrain, **again},
            {"name": "keep", "type": "archive", "types": ["Inturn.*"], "with": {"path": "archive"}},
        ]
    )


def drifted(number: int) -> bytes:
    """The body of a DatasetDriftDetected event."""
    data = {
        "dataDriftId": "d",
        "dataDriftName": "fraud-eu",
        "driftCoefficient": 0.9,
        "runId": f"run-{number}",
    }
    event = {
        "id": f"drift-{number}",
        "topic": TOPIC,
        "subject": f"datadrift/d/run/run-{number}",
        "eventType": "Microsoft.MachineLearningServices.DatasetDriftDetected",
        "eventTime": "2026-01-01T00:00:00.0000000Z",
        "data": data,
        "dataVersion": "2",
    }
    return json.dumps([event]).encode()


def told(place) -> list[tuple[str, str]]:
    """Type and subject of what the processors said."""
    return [(line["type"].removeprefix("Inturn."), line["subject"]) for line in place.archived()]


def models(azure) -> list[str]:
    """What was deployed, in order."""
    return [deed.detail["model"] for deed in azure.ledger if deed.kind == "deployment"]


async def test_what_is_killed_in_mid_operation_is_gone_on_with_and_done_once(place, azure):
    azure.gate.clear()
    azure.faults.append(Fault("POST", "createRun", LOST))
    configure(place, azure)
    place.publish([registered("fraud", 1)])
    place.hub.publish("events", drifted(1), partition_key="d")

    async with place.running() as process:
        await place.until(lambda: models(azure) == ["fraud:1"] and azure.deeds("run") == ["refit"])
        process.kill()
        await process.wait()
    azure.gate.set()
    async with place.running() as process:
        await place.until(lambda: azure.deeds("traffic") == ["shop"])
        place.publish([registered("fraud", 2)])
        await place.until(lambda: len(told(place)) == 3)
        assert await stop(process) == 0

    assert models(azure) == ["fraud:1", "fraud:2"]
    assert azure.deeds("run") == ["refit"]
    assert azure.workspace.endpoints["shop"]["properties"]["traffic"] == {"blue": 100}
    assert sorted(told(place)) == [
        ("ModelDeployed", "models/fraud:1"),
        ("ModelDeployed", "models/fraud:2"),
        ("RetrainingStarted", "datadrift/d/run/run-1"),
    ]


async def test_a_version_that_comes_late_is_never_deployed_even_to_a_processor_that_takes_it(place, azure):
    configure(place, azure, delivery="on_arrival", stale="deliver")

    async with place.running() as process:
        place.publish([registered("fraud", 3)])
        await place.until(lambda: models(azure) == ["fraud:3"])
        looked = len(azure.asked("GET", "/deployments"))
        place.publish([registered("fraud", 2)])
        await place.until(lambda: len(azure.asked("GET", "/deployments")) > looked)
        place.publish([registered("fraud", 4)])
        await place.until(lambda: len(models(azure)) == 2)
        assert await stop(process) == 0

    assert models(azure) == ["fraud:3", "fraud:4"]
