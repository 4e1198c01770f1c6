"""Which events tell of drift, and of which model."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from consumer.processor import Context, Reject
from processors.retrain import Retrain
from processors.retrain_rules import BREACH_TAG, Rule, sign_of

ML = "Microsoft.MachineLearningServices"
WORKSPACE = f"/subscriptions/S/resourceGroups/g/providers/{ML}/workspaces/w"
FACTORY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DataFactory/factories/refit"
FIT = {"factory": FACTORY, "pipeline": "refit"}
TEXT = "violating metric thresholds"


def rule(**changes) -> Rule:
    return Rule.model_validate({"model": "fraud", "drifts": ["fraud-*"], "data_factory": FIT} | changes)


@pytest.fixture
def sign(event):
    """What rules make of an event with this data."""

    def make(kind, data, *rules, **changes):
        made = event(type=f"{ML}.{kind}", data=data, **{"topic": WORKSPACE.lower(), **changes})
        return sign_of(made, (WORKSPACE,), rules or [rule(monitors=["fraud-live_*"])], TEXT)

    return make


def breach(text, status="failed", case="runTags"):
    return {"runId": "run-1", "runStatus": status, case: {BREACH_TAG: text}}


@pytest.mark.parametrize("status", ["failed", "Failed"])
@pytest.mark.parametrize("case", ["runTags", "RunTags"])
def test_a_breach_counts_as_full_drift_however_it_is_written(sign, status, case):
    found = sign("RunStatusChanged", breach(f"fraud-live_drift: features {TEXT}.", status, case))
    assert (found.monitor, found.drift.level, found.run) == ("fraud-live_drift", 1.0, "run-1")


def test_the_monitors_run_that_ends_well_again_says_that_the_drift_is_gone(sign):
    found = sign("RunStatusChanged", breach(f"fraud-live_drift {TEXT}", "Completed"))
    assert found.drift.level == 0.0


@pytest.mark.parametrize(
    "data",
    [
        breach(f"xfraud-live_drift {TEXT}"),
        breach(f"churn-live_drift {TEXT}"),
        breach("fraud-live_drift has failed because the machine was lost"),
        breach(f"fraud-live_drift {TEXT}", "Running"),
        breach(None),
        {"runId": "run-1", "runStatus": "Failed", "runTags": {}},
        {"runId": "run-1", "runStatus": "Failed"},
        {},
        None,
    ],
)
def test_other_runs_say_nothing_of_drift(sign, data):
    assert sign("RunStatusChanged", data) is None


def test_a_rule_may_be_for_any_monitor_where_the_tag_names_none(sign):
    found = sign("RunStatusChanged", breach(f"has failed {TEXT}"), rule(monitors=["*"]))
    assert found.monitor == "fraud"


def test_a_dataset_monitor_says_how_far(sign):
    data = {"DataDriftName": "fraud-eu", "DriftCoefficient": 0.83, "RunId": "run-9"}
    asked = rule(start_at=0.6, clear_below=0.2)
    found = sign("DatasetDriftDetected", data, asked)
    assert (found.monitor, found.drift) == ("fraud-eu", ("fraud", 0.83, 0.6, 0.2))
    assert found.fill({"a": "{model}/{monitor} {coefficient} {run}", "n": 3}) == {
        "a": "fraud/fraud-eu 0.83 run-9",
        "n": 3,
    }


@pytest.mark.parametrize("coefficient", ["0.9", None, True, [1]])
def test_a_coefficient_that_is_no_number_is_refused(sign, coefficient):
    data = {"DataDriftName": "fraud-eu", "DriftCoefficient": coefficient, "RunId": "run-9"}
    with pytest.raises(Reject, match="no number"):
        sign("DatasetDriftDetected", data)


def test_other_workspaces_and_other_events_are_left_alone(sign):
    data = {"DataDriftName": "fraud-eu", "DriftCoefficient": 0.9, "RunId": "run-9"}
    assert sign("DatasetDriftDetected", data, topic=WORKSPACE + "2") is None
    assert sign("ModelRegistered", data) is None
    assert sign("DatasetDriftDetected", {**data, "DataDriftName": "churn"}) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"drifts": []}, "nothing fits"),
        ({"data_factory": None}, "one of"),
        ({"start_at": 0.2, "clear_below": 0.3}, "more than start_at"),
        ({"data_factory": {**FIT, "parameters": {"a": "{secret}"}}}, "a: {secret} is no slot"),
        ({"data_factory": {**FIT, "pipeline": "../x"}}, "pipeline"),
        ({"data_factory": {**FIT, "factory": "/subscriptions/s"}}, "factory"),
        ({"model": "a b"}, "model"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_at_once(changes, text):
    with pytest.raises(ValidationError, match=text):
        rule(**changes)


def settings(**changes):
    known = {"workspaces": [WORKSPACE], "rules": [rule()], "runs_per_day_max": 1}
    return Retrain.Settings.model_validate(known | changes)


def test_nothing_is_retrained_until_it_is_told_where_what_and_how_often():
    for missing in ("workspaces", "rules"):
        with pytest.raises(ValidationError, match=missing):
            settings(**{missing: []})
    with pytest.raises(ValidationError, match="runs_per_day_max"):
        Retrain.Settings.model_validate({"workspaces": [WORKSPACE], "rules": [rule()]})
    with pytest.raises(ValidationError, match="two are for fraud"):
        settings(rules=[rule(), rule()])


def test_a_preview_says_what_would_be_run(event):
    retrain = Retrain(settings(rules=[rule(data_factory={**FIT, "parameters": {"m": "{monitor}"}})]))
    data = {"DataDriftName": "fraud-eu", "DriftCoefficient": 0.9, "RunId": "run-9"}
    seen = event(type=f"{ML}.DatasetDriftDetected", data=data, topic=WORKSPACE)
    context = Context("retrain", 1, [seen], lambda _: "key")
    assert retrain.preview(seen, context) == {
        "action": "retrain",
        "model": "fraud",
        "monitor": "fraud-eu",
        "monitorRunId": "run-9",
        "coefficient": 0.9,
        "factory": FACTORY,
        "pipeline": "refit",
        "with": {"m": "fraud-eu"},
    }
    quiet = event(type=seen.type, data={**data, "DriftCoefficient": 0.1}, topic=WORKSPACE)
    assert retrain.preview(quiet, context) is None
