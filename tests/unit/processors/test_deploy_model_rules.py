"""Which models are deployed, and what comes out of an event's names."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from consumer.processor import Context, Reject
from processors.deploy_model import DeployModel
from processors.deploy_model_rules import Rule, wanted_of

WORKSPACE = "/subscriptions/S/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
BASE = {"models": ["fraud-*"], "endpoint": "shop"}


def rule(**changes) -> Rule:
    return Rule.model_validate(BASE | changes)


@pytest.fixture
def wanted(event):
    """What rules make of a registered model."""

    def make(*rules, name="fraud-eu", version=3, tags=None, properties=None, **changes):
        data = {"ModelName": name, "ModelVersion": version, "ModelTags": tags, "modelProperties": properties}
        return wanted_of(event(**{"data": data, **changes}), (WORKSPACE,), rules or [rule()])

    return make


def test_a_model_is_named_by_a_pattern_in_which_case_counts(wanted):
    assert wanted().model_id == f"{WORKSPACE}/models/fraud-eu/versions/3"
    assert wanted(name="Fraud-eu") is None
    assert wanted(name="xfraud-eu") is None


def test_the_topic_is_compared_without_case_and_as_a_whole(wanted):
    assert wanted(topic=WORKSPACE.upper()) is not None
    assert wanted(topic=WORKSPACE + "2") is None
    assert wanted(topic=WORKSPACE + "/x") is None


def test_other_events_are_left_alone(wanted):
    assert wanted(type="Microsoft.MachineLearningServices.RunCompleted") is None
    assert wanted(type="Inturn.ModelDeployed") is None


@pytest.mark.parametrize(
    ("tags", "fits"),
    [
        ({"deploy": "true", "stage": "prod-eu"}, True),
        ({"deploy": "True", "stage": "prod-us", "more": "x"}, True),
        ({"deploy": True, "stage": "prod-us"}, True),
        ({"deploy": "false", "stage": "prod-us"}, False),
        ({"stage": "prod-us"}, False),
        ({"deploy": "true", "stage": "test"}, False),
        (None, False),
        ("deploy", False),
    ],
)
def test_tags_must_all_be_there_with_one_of_the_values(wanted, tags, fits):
    found = wanted(rule(tags={"deploy": True, "stage": ["prod-*", "canary"]}), tags=tags)
    assert (found is not None) == fits


def test_properties_count_as_tags_do(wanted):
    asked = rule(properties={"framework": "mlflow"})
    assert wanted(asked, properties={"framework": "MLflow"}) is not None
    assert wanted(asked, properties={}) is None


def test_versions_below_the_least_are_left_alone(wanted):
    assert wanted(rule(version_min=4)) is None
    assert wanted(rule(version_min=3)) is not None


def test_the_first_rule_that_fits_counts(wanted):
    first, second = rule(tags={"stage": "prod"}, endpoint="prod-shop"), rule(endpoint="any-shop")
    assert wanted(first, second, tags={"stage": "prod"}).endpoint == "prod-shop"
    assert wanted(first, second).endpoint == "any-shop"


def test_names_may_be_made_of_the_models_name_and_version(wanted):
    found = wanted(rule(endpoint="{model}-ep", deployment="v{version}-x"), version="12")
    assert (found.endpoint, found.deployment) == ("fraud-eu-ep", "v12-x")


@pytest.mark.parametrize("name", ["fraud-" + "x" * 40, "fraud-a_b"])
def test_a_name_that_azure_would_not_take_is_refused(wanted, name):
    with pytest.raises(Reject, match="does not take"):
        wanted(rule(endpoint="{model}"), name=name)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"endpoint": "{topic}"}, "no slot"),
        ({"endpoint": "{model.__class__}"}, "no slot"),
        ({"endpoint": "{model!r}"}, "no slot"),
        ({"endpoint": "{model"}, "braces"),
        ({"endpoint": "a/b"}, "no name"),
        ({"deployment": "-x-"}, "no name"),
        ({"models": []}, "models"),
        ({"code_id": "c"}, "go together"),
        ({"code_id": "c", "scoring_script": "score.py"}, "environment_id"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_at_once(changes, text):
    with pytest.raises(ValidationError, match=text):
        rule(**changes)


def test_a_preview_says_what_would_be_wanted_and_nothing_of_us(event):
    known = {
        "azure": {"identity": "managed", "client_id": "secret-id"},
        "workspaces": [WORKSPACE],
        "rules": [{"models": ["fraud"], "endpoint": "shop", "traffic": "all", "instance_count": 2}],
        "deployments_per_hour_max": 1,
    }
    deploy = DeployModel(DeployModel.Settings.model_validate(known))
    seen = event(topic=WORKSPACE)
    context = Context("deploy", 1, [seen], lambda _: "key")
    assert deploy.preview(seen, context) == {
        "action": "deploy",
        "workspace": WORKSPACE,
        "modelName": "fraud",
        "modelVersion": 3,
        "endpointName": "shop",
        "deploymentName": "blue",
        "model": f"{WORKSPACE}/models/fraud/versions/3",
        "traffic": "all",
        "instance_count": 2,
    }
    assert deploy.preview(event(topic=WORKSPACE, type="Inturn.ModelDeployed"), context) is None
