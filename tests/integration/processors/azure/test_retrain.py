"""Retraining at a fake Data Factory and a fake Azure ML, over HTTP: once, and as often as is allowed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from harness.resource_manager import LOST, Fault, error
from harness.resource_manager_factory import FACTORY
from harness.resource_manager_ml import WORKSPACE

from consumer.processor import Context, NotYet, Reject, Retry
from processors.azure_rest import AccessRefused
from processors.retrain import Retrain
from processors.retrain_targets import FactoryTarget

ML = "Microsoft.MachineLearningServices"
TOPIC = f"/subscriptions/s/resourcegroups/g/providers/{ML}/workspaces/w"
FIT = {"factory": FACTORY, "pipeline": "refit-fraud", "parameters": {"why": "{monitor} at {coefficient}"}}
JOB = {"workspace": WORKSPACE, "component_id": "/c/refit/versions/1", "inputs": {"model": "{model}", "n": 3}}
RULE = {"model": "fraud", "monitors": ["fraud-live_drift"], "drifts": ["fraud-*"], "start_at": 0.4}


@asynccontextmanager
async def retraining(azure, rules=None, **changes):
    settings = {
        "azure": {"endpoint": azure.url},
        "workspaces": [WORKSPACE],
        "rules": rules or [RULE | {"data_factory": FIT}],
        "runs_per_day_max": 5,
    }
    processor = Retrain(Retrain.Settings.model_validate(settings | changes))
    await processor.open()
    try:
        yield processor
    finally:
        await processor.close()


@pytest.fixture
def drifted(event):
    """Makes the event of a dataset monitor."""

    def make(number, coefficient=0.7, name="fraud-daily", **changes):
        data = {"DataDriftName": name, "RunId": f"run-{number}", "DriftCoefficient": coefficient}
        known = {"topic": TOPIC, "type": f"{ML}.DatasetDriftDetected", "id": f"drift-{number}", "data": data}
        return event(**(known | {"subject": f"datadrift/d/run/run-{number}"} | changes))

    return make


@pytest.fixture
def breached(event):
    """Makes the event of a model monitor's run."""

    def make(number, status="Failed", signal="fraud-live_drift", **changes):
        text = f"Signal {signal} has failed due to one or more features violating metric thresholds."
        tags = {"azureml_modelmonitor_threshold_breached": text}
        data = {"runId": f"run-{number}", "runStatus": status, "RunTags": tags}
        known = {"topic": TOPIC, "type": f"{ML}.RunStatusChanged", "id": f"run-{number}", "data": data}
        return event(**(known | {"subject": f"experiments/e/runs/run-{number}"} | changes))

    return make


async def given(processor, event, attempt=1):
    """Hand over an event; gives what was emitted."""
    context = Context("retrain", attempt, [event], lambda event: f"-key_of-{event.id}")
    await processor(event, context)
    return [(emission.type.removeprefix("Inturn."), emission.data) for emission in context.emitted]


def ended(factory, status="Succeeded"):
    for run in factory.runs:
        run["status"] = status


async def test_drift_above_the_threshold_runs_the_pipeline_and_is_told(azure, factory, drifted):
    async with retraining(azure) as retrain:
        ((told, data),) = await given(retrain, drifted(1))
    (deed,) = azure.ledger
    assert (deed.kind, deed.name) == ("run", "refit-fraud")
    assert deed.detail == {
        "why": "fraud-daily at 0.7",
        "inturn_key": "-key_of-drift-1",
        "inturn_model": "fraud",
    }
    assert (told, data["model"], data["runId"]) == ("RetrainingStarted", "fraud", factory.runs[0]["runId"])


async def test_a_monitor_of_today_is_heard_by_the_tag_of_its_failed_run(azure, factory, breached):
    async with retraining(azure) as retrain:
        assert await given(retrain, breached(1, signal="fraud-live_drift2")) == []
        assert await given(retrain, breached(1, status="Running")) == []
        ((told, data),) = await given(retrain, breached(2))
    assert (told, data["monitor"], len(azure.ledger)) == ("RetrainingStarted", "fraud-live_drift", 1)


async def test_drift_below_the_threshold_asks_azure_nothing(azure, factory, drifted):
    async with retraining(azure) as retrain:
        assert await given(retrain, drifted(1, 0.39)) == []
    assert azure.requests == []


async def test_a_run_in_flight_holds_others_back_in_every_process(azure, factory, drifted, breached):
    async with retraining(azure) as retrain:
        await given(retrain, drifted(1))
    async with retraining(azure) as retrain:
        for number, make in enumerate((drifted, breached, drifted), 2):
            ((told, data),) = await given(retrain, make(number))
            assert (told, data["reason"]) == ("RetrainingHeldBack", "in_flight")
    assert data["lastRun"]["state"] == "running"
    assert len(azure.ledger) == 1


async def test_the_cool_down_counts_from_the_run_at_the_target(azure, factory, drifted):
    marks = {"inturn_key": "earlier", "inturn_model": "fraud"}
    started = datetime.now(UTC) - timedelta(hours=2)
    factory.add_run("refit-fraud", marks, "Succeeded", started)
    async with retraining(azure, cooldown_h=3) as retrain:
        ((told, data),) = await given(retrain, drifted(1))
    assert (told, data["reason"]) == ("RetrainingHeldBack", "cooldown")
    assert datetime.fromisoformat(data["until"]) == started + timedelta(hours=3)


async def test_after_a_run_the_drift_has_to_be_gone_once_before_the_next(azure, factory, drifted):
    marks = {"inturn_key": "earlier", "inturn_model": "fraud"}
    factory.add_run("refit-fraud", marks, "Succeeded", datetime.now(UTC) - timedelta(hours=2))
    rule = RULE | {"clear_below": 0.2, "data_factory": FIT}
    now_ticks = int(datetime.now(UTC).timestamp()) * 10_000_000
    async with retraining(azure, [rule], cooldown_h=1) as retrain:
        for coefficient in (0.7, 0.3, 0.5):
            told = await given(retrain, drifted(1, coefficient, ticks=now_ticks))
            assert all(data["reason"] == "not_cleared" for _, data in told)
        await given(retrain, drifted(2, 0.1, ticks=now_ticks))
        ((told, _),) = await given(retrain, drifted(3, 0.5, ticks=now_ticks))
    assert (told, len(azure.ledger)) == ("RetrainingStarted", 1)


async def test_the_budget_of_a_day_is_for_all_models_and_all_targets(azure, factory, workspace, drifted):
    rules = [
        {"model": "fraud", "drifts": ["fraud-*"], "data_factory": FIT},
        {"model": "churn", "drifts": ["churn-*"], "job": JOB},
        {"model": "price", "drifts": ["price-*"], "job": JOB},
    ]
    async with retraining(azure, rules, runs_per_day_max=2) as retrain:
        told = [
            (await given(retrain, drifted(number, name=f"{model}-daily")))[0]
            for number, model in enumerate(("fraud", "churn", "price"))
        ]
    assert [each for each, _ in told] == ["RetrainingStarted", "RetrainingStarted", "RetrainingHeldBack"]
    assert told[-1][1]["reason"] == "budget"
    assert [deed.kind for deed in azure.ledger] == ["run", "job"]


async def test_runs_of_others_do_not_count(azure, factory, drifted):
    factory.add_run("refit-fraud", {"why": "by hand"}, "InProgress", datetime.now(UTC))
    async with retraining(azure) as retrain:
        ((told, _),) = await given(retrain, drifted(1))
    assert told == "RetrainingStarted"


async def test_runs_are_counted_over_all_pages(azure, factory, drifted):
    factory.page_size = 2
    for number in range(5):
        marks = {"inturn_key": f"k{number}", "inturn_model": f"m{number}"}
        factory.add_run("refit-fraud", marks, "Succeeded", datetime.now(UTC) - timedelta(hours=1))
    async with retraining(azure, runs_per_day_max=5) as retrain:
        ((told, data),) = await given(retrain, drifted(1))
    assert (told, data["reason"]) == ("RetrainingHeldBack", "budget")


async def test_a_run_whose_answer_was_lost_is_found_and_not_started_again(azure, factory, drifted):
    azure.faults.append(Fault("POST", "createRun", LOST))
    async with retraining(azure) as retrain:
        with pytest.raises(Retry):
            await given(retrain, drifted(1))
    async with retraining(azure) as retrain:
        ((told, data),) = await given(retrain, drifted(1), attempt=2)
    assert (told, data["runId"]) == ("RetrainingStarted", factory.runs[0]["runId"])
    assert len(azure.ledger) == 1


async def test_a_run_that_does_not_show_yet_is_waited_for(azure, factory, drifted, monkeypatch):
    azure.faults.append(Fault("POST", "createRun", LOST))
    factory.hidden_queries = 3
    async with retraining(azure) as retrain:
        with pytest.raises(Retry, match="no answer"):
            await given(retrain, drifted(1))
        with pytest.raises(NotYet, match="show in a while") as asked:
            await given(retrain, drifted(1), attempt=2)
        assert 20 < asked.value.after_s <= FactoryTarget.shows_after_s
        ((told, data),) = await given(retrain, drifted(2))
        assert (told, data["reason"]) == ("RetrainingHeldBack", "in_flight")
        ((told, _),) = await given(retrain, drifted(1), attempt=3)
    assert (told, len(azure.ledger)) == ("RetrainingStarted", 1)


async def test_drifts_side_by_side_start_one_run(azure, factory, breached):
    factory.hidden_queries = 100
    async with retraining(azure) as retrain, asyncio.TaskGroup() as group:
        tasks = [group.create_task(given(retrain, breached(number))) for number in range(6)]
    assert sorted(told for task in tasks for told, _ in task.result()) == [
        *["RetrainingHeldBack"] * 5,
        "RetrainingStarted",
    ]
    assert len(azure.ledger) == 1


async def test_a_pipeline_job_is_named_for_the_key_and_so_there_once(azure, workspace, drifted):
    rules = [RULE | {"job": JOB}]
    async with retraining(azure, rules) as retrain:
        await given(retrain, drifted(1))
    async with retraining(azure, rules) as retrain:
        ((told, data),) = await given(retrain, drifted(1), attempt=2)
    assert (told, data["runId"]) == ("RetrainingStarted", "inturn--key_of-drift-1")
    (deed,) = azure.ledger
    assert deed.name == "inturn--key_of-drift-1"
    assert deed.detail["componentId"] == "/c/refit/versions/1"
    assert deed.detail["inputs"]["model"] == {"jobInputType": "literal", "value": "fraud"}


async def test_a_job_whose_answer_was_lost_is_found(azure, workspace, drifted):
    azure.faults.append(Fault("PUT", "/jobs/", LOST, times=2))  # aiohttp repeats a PUT once
    async with retraining(azure, [RULE | {"job": JOB}]) as retrain:
        told = []
        for attempt in (1, 2):
            try:
                told += await given(retrain, drifted(1), attempt)
                break
            except Retry:
                continue
    assert [each for each, _ in told] == ["RetrainingStarted"]
    assert azure.deeds("job") == ["inturn--key_of-drift-1"]


async def test_jobs_in_flight_and_those_of_the_last_days_hold_others_back(azure, workspace, drifted):
    rules = [RULE | {"job": JOB}]
    async with retraining(azure, rules) as retrain:
        await given(retrain, drifted(1))
    async with retraining(azure, rules) as retrain:
        ((_, data),) = await given(retrain, drifted(2))
        assert data["reason"] == "in_flight"
        (job,) = workspace.jobs.values()
        job["properties"]["status"] = "Failed"
        ((_, data),) = await given(retrain, drifted(2))
    assert (data["reason"], data["lastRun"]["state"]) == ("cooldown", "failed")


async def test_what_azure_refuses_is_told_and_does_not_count(azure, factory, drifted):
    rule = RULE | {"data_factory": FIT | {"pipeline": "gone"}}
    async with retraining(azure, [rule]) as retrain:
        for number in range(2):
            ((told, data),) = await given(retrain, drifted(number))
            assert (told, data["code"]) == ("RetrainingFailed", "PipelineNotFound")
    async with retraining(azure, [rule], on_failed="reject") as retrain:
        with pytest.raises(Reject, match="PipelineNotFound"):
            await given(retrain, drifted(3))


async def test_azure_that_asks_for_time_gets_it_and_a_missing_role_is_a_fault(azure, factory, drifted):
    azure.faults.append(Fault("POST", "queryPipelineRuns", error(429, "Throttled", "Slow.", Retry_After="9")))
    async with retraining(azure) as retrain:
        with pytest.raises(Retry) as asked:
            await given(retrain, drifted(1))
        assert asked.value.after_s == 9
        azure.is_forbidden = True
        with pytest.raises(AccessRefused):
            await given(retrain, drifted(1), attempt=2)
    assert azure.ledger == []


@pytest.mark.parametrize(
    "name", ["fraud-{model}", "fraud-../x", "fraud-\r\nx", "fraud-x?api-version=1", "fraud- "]
)
async def test_a_monitors_name_that_is_none_is_refused_before_anything_is_asked(
    azure, factory, drifted, name
):
    async with retraining(azure) as retrain:
        with pytest.raises(Reject, match="no name"):
            await given(retrain, drifted(1, name=name))
    assert azure.requests == []
