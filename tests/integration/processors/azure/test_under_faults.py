"""Deploying and retraining while answers are lost, connections break, Azure is busy, and we are cut off.

Every event is given as a lane gives it: again until it is handled, one after the other. Afterwards the
fake's ledger says what was really done.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from harness.resource_manager import DROPPED, LOST, Fault, Said, error
from harness.resource_manager_factory import FACTORY
from harness.resource_manager_ml import WORKSPACE

from consumer.processor import Context, Retry
from processors.deploy_model import DeployModel
from processors.retrain import Retrain

ML = "Microsoft.MachineLearningServices"
WHATS = (LOST, DROPPED, Said(503), error(429, "TooManyRequests", "Slow."), error(409, "Conflict", "Busy."))
ATTEMPTS_MAX = 200


async def until_handled(processors, event, rng) -> list:
    """Give an event again and again, now and then cut; after each attempt it may be another process's."""
    for _ in range(ATTEMPTS_MAX):
        processor = rng.choice(processors)
        context = Context("it", 1, [event], lambda event: f"key-{event.id}")
        cut_s = 0.02 if rng.random() < 0.2 else 5.0
        try:
            async with asyncio.timeout(cut_s):
                await processor(event, context)
        except (Retry, TimeoutError):
            continue
        return context.emitted
    pytest.fail("It was never handled.")


def some_faults(rng, *places) -> list[Fault]:
    return [
        Fault(*rng.choice(places), rng.choice(WHATS), times=rng.randint(1, 2))
        for _ in range(rng.randint(0, 6))
    ]


@pytest.mark.parametrize("seed", range(12))
async def test_versions_only_ever_rise_and_each_is_deployed_once(azure, workspace, event, seed):
    rng = random.Random(seed)
    workspace.add_endpoint("shop")
    azure.looks = rng.randint(0, 3)
    known = {
        "azure": {"endpoint": azure.url, "poll_s": 0.002},
        "workspaces": [WORKSPACE],
        "rules": [{"models": ["fraud"], "endpoint": "shop", "traffic": "all"}],
        "deployments_per_hour_max": 20,
        "follow_s": 0.05,
    }
    processors = [DeployModel(DeployModel.Settings.model_validate(known)) for _ in range(2)]
    for processor in processors:
        await processor.open()
    versions = [rng.randint(1, 8) for _ in range(10)]
    told = []
    for version in versions:
        places = (
            ("PUT", "/deployments/"),
            ("PUT", "/onlineEndpoints/shop"),
            ("GET", "/shop"),
            ("GET", "/op"),
        )
        azure.faults = some_faults(rng, *places)
        azure.failing = {"blue": ("ImageBuildFailure", "No.")} if rng.random() < 0.2 else {}
        data = {"modelName": "fraud", "modelVersion": version}
        subject = f"models/fraud:{version}"
        registered = event(topic=WORKSPACE, subject=subject, id=f"fraud-{version}", data=data)
        told += [each.data["modelVersion"] for each in await until_handled(processors, registered, rng)]
    for processor in processors:
        await processor.close()

    deployed = [int(deed.detail["model"].split(":")[1]) for deed in azure.ledger if deed.kind == "deployment"]
    risen = [version for at, version in enumerate(versions) if version > max(versions[:at], default=0)]
    assert deployed == risen
    assert list(dict.fromkeys(told)) == risen


@pytest.mark.parametrize("seed", range(8))
async def test_a_drift_starts_one_run_at_most_and_none_beside_another(azure, factory, event, seed):
    rng = random.Random(seed)
    refit = {"factory": FACTORY, "pipeline": "refit-fraud"}
    known = {
        "azure": {"endpoint": azure.url},
        "workspaces": [WORKSPACE],
        "rules": [{"model": "fraud", "drifts": ["*"], "data_factory": refit}],
        "runs_per_day_max": 4,
        "cooldown_h": 0,
        "rearm_h": 0,
    }
    at_rest = 0
    for number in range(10):
        processor = Retrain(Retrain.Settings.model_validate(known))
        await processor.open()
        azure.faults = some_faults(rng, ("POST", "/createRun"), ("POST", "/queryPipelineRuns"))
        data = {"dataDriftName": "daily", "runId": f"run-{number}", "driftCoefficient": 0.9}
        drift = event(topic=WORKSPACE, type=f"{ML}.DatasetDriftDetected", id=f"drift-{number}", data=data)
        for _ in range(ATTEMPTS_MAX):
            try:
                await processor(drift, context := Context("it", 1, [drift], lambda event: f"key-{event.id}"))
                break
            except Retry:  # by a process that was started anew: it remembers nothing
                await processor.close()
                processor = Retrain(Retrain.Settings.model_validate(known))
                await processor.open()
        assert len(context.emitted) == 1
        await processor.close()
        assert sum(run["status"] == "InProgress" for run in factory.runs) <= 1
        if rng.random() < 0.5:
            at_rest += sum(run["status"] == "InProgress" for run in factory.runs)
            for run in factory.runs:
                run["status"] = "Succeeded"

    keys = [run["parameters"]["inturn_key"] for run in factory.runs]
    assert len(keys) == len(set(keys)) == len(azure.ledger) <= 4
    assert at_rest in (len(keys), len(keys) - 1)
