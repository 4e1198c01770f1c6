"""What can be said of rules about what does not come, and of the events that they and processors emit."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from consumer.composition import policy_of, rule_of, running_processor
from consumer.expectation_settings import ExpectationSettings
from consumer.settings import Settings

REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
DEPLOYED = "Microsoft.MachineLearningServices.ModelDeployed"


def rule(**changes):
    return {
        "name": "deployed",
        "after": {"types": [REGISTERED], "key": "{data.modelName}:{data.modelVersion}"},
        "expect": {"types": [DEPLOYED], "keys": "data.modelIds"},
        "within_min": 30,
    } | changes


def settings(*rules, types=("Microsoft.Storage.*", "Inturn.*"), **changes):
    return Settings.model_validate(
        {
            "source": {"type": "file", "paths": ["x"]},
            "admission": {"topics": "any"},
            "processors": [{"name": "show", "type": "console", "types": list(types)}],
            "expect": list(rules),
        }
        | changes
    )


def test_a_rule_admits_its_types_and_what_is_internal_admits_none():
    assert settings(rule()).admitted_types == ("Microsoft.Storage.*", REGISTERED, DEPLOYED)
    assert settings().admitted_types == ("Microsoft.Storage.*",)
    assert settings(types=["*", "Inturn.*"]).admitted_types is None


@pytest.mark.parametrize(
    ("types", "of_hub", "internal"),
    [
        (["*"], None, ()),
        (["*", "Inturn.*"], None, ("Inturn.*",)),
        (["Inturn.ModelDeployed"], (), ("Inturn.ModelDeployed",)),
        (["inturn.*", "In*"], ("In*",), ("inturn.*",)),
    ],
)
def test_only_who_names_internal_events_is_given_them(types, of_hub, internal):
    (processor,) = settings(types=types).processors

    plan = running_processor(processor, "$Default").plan

    assert (plan.types, plan.internal_types) == (of_hub, internal)


def test_a_rule_becomes_what_the_pipeline_goes_by():
    (made,) = policy_of(settings(rule(pending_max=7))).rules

    assert (made.name, made.within_ms, made.pending_max) == ("deployed", 1_800_000, 7)


def test_both_sides_of_a_rule_can_have_a_filter():
    advanced = {"advanced_filters": [{"key": "data.modelTags.deploy", "string_in": ["true"]}]}
    after = {"types": [REGISTERED], "key": "{id}", "filter": advanced}
    made = rule_of(ExpectationSettings.model_validate(rule(after=after)))

    assert made.after._matches is not None
    assert made.fulfilment._matches is None


@pytest.mark.parametrize("types", [["*"], ["Microsoft.*"], [REGISTERED.upper(), DEPLOYED], None])
def test_a_rule_sees_what_is_admitted(types):
    assert settings(rule(), admission={"topics": "any", "types": types}).expect


def test_a_rule_that_would_never_see_its_fulfilment_is_refused():
    with pytest.raises(ValidationError, match=r"admission\.types does not take it"):
        settings(rule(), admission={"topics": "any", "types": [REGISTERED]})


@pytest.mark.parametrize(
    ("rules", "at", "why"),
    [
        ([rule(), rule()], ("expect", 1, "name"), "the name of an earlier rule"),
        (
            [rule(after={"types": ["Inturn.*"], "key": "{id}"})],
            ("expect", 0, "after", "types", 0),
            "of the hub",
        ),
        ([rule(expect={"types": ["X"]})], ("expect", 0, "expect"), "exactly one of key and keys"),
        (
            [rule(expect={"types": ["X"], "key": "{id}", "keys": "data.x"})],
            ("expect", 0, "expect"),
            "exactly one of key and keys",
        ),
        ([rule(after={"types": ["X"], "key": "plain"})], ("expect", 0, "after", "key"), "in braces"),
        ([rule(after={"types": ["X"], "key": "{a} {"})], ("expect", 0, "after", "key"), "in braces"),
        ([rule(after={"types": ["X"], "key": "{}"})], ("expect", 0, "after", "key"), "in braces"),
        ([rule(within_min=0)], ("expect", 0, "within_min"), "greater than 0"),
    ],
)
def test_what_makes_no_rule_is_refused_where_it_stands(rules, at, why):
    with pytest.raises(ValidationError) as caught:
        settings(*rules)

    found = [
        (error["loc"] + finding.at, finding.message)
        for error in caught.value.errors()
        for finding in error.get("ctx", {}).get("findings", ())
    ]
    found += [(error["loc"], error["msg"]) for error in caught.value.errors()]
    assert any(place == at and why in message for place, message in found), found
