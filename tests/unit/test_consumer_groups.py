"""Processors with a consumer group of their own: what may be said, and what it means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from consumer.consumer_groups import group_name, groups_of, settings_of, unheard
from consumer.settings import Settings

HUB = "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=r;SharedAccessKey=Zm9v"


def settings(*processors, **changed):
    known = {
        "source": {
            "type": "eventhub",
            "hub": "events",
            "connection_string": HUB,
            "consumer_group": "inturn",
            "start": "latest",
        },
        "admission": {"topics": "any"},
        "processors": [
            {"name": f"p{number}", "type": "console"} | each for number, each in enumerate(processors)
        ],
    }
    return Settings.model_validate(known | changed)


def test_processors_share_the_sources_group_unless_they_have_one_of_their_own():
    told = settings(
        {"types": ["A.B"]},
        {"consumer_group": "audit", "from": "earliest", "types": ["C.*"]},
        {"types": ["D.E"]},
        {"consumer_group": "slow"},
        {"consumer_group": "audit", "types": ["F.G"]},
    )
    groups = groups_of(told)
    assert {group: [each.name for each in own.processors] for group, own in groups.items()} == {
        "": ["p0", "p2"],
        "audit": ["p1", "p4"],
        "slow": ["p3"],
    }
    assert [(own.source.consumer_group, own.source.start) for own in groups.values()] == [
        ("inturn", "latest"),
        ("audit", "earliest"),
        ("slow", "latest"),
    ]
    assert [own.admitted_types for own in groups.values()] == [("A.B", "D.E"), ("C.*", "F.G"), None]


def test_without_groups_of_their_own_nothing_is_different():
    told = settings({})
    assert groups_of(told) == {"": told}


def test_if_every_processor_has_another_group_the_shared_one_is_not_read():
    assert list(groups_of(settings({"consumer_group": "a"}, {"consumer_group": "b"}))) == ["a", "b"]


def test_a_group_is_found_by_its_name_in_the_hub():
    told = settings({}, {"consumer_group": "audit"})
    for asked, name in ((None, "inturn"), ("INTURN", "inturn"), ("Audit", "audit")):
        found = settings_of(told, asked)
        assert found is not None
        assert group_name(found) == name
    assert settings_of(told, "nobody") is None


def test_a_group_may_begin_at_a_time():
    told = settings({"consumer_group": "audit", "from": "2026-11-21T06:30:00Z"})
    assert groups_of(told)["audit"].source.start == datetime(2026, 11, 21, 6, 30, tzinfo=UTC)


def refused(*processors, **changed) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        settings(*processors, **changed)
    (error,) = caught.value.errors()
    return [(finding.at, finding.message) for finding in error["ctx"]["findings"]]


def test_where_to_begin_without_a_group_of_its_own_is_refused_and_it_is_said_why():
    ((at, message),) = refused({"from": "earliest"})
    assert at == ("processors", 0, "from")
    assert "one link to a partition for each group" in message


@pytest.mark.parametrize(
    ("processors", "at", "word"),
    [
        ([{"consumer_group": "Inturn"}], ("processors", 0, "consumer_group"), "others share"),
        (
            [{"consumer_group": "a", "from": "latest"}, {"consumer_group": "a", "from": "earliest"}],
            ("processors", 1, "from"),
            "begins at one place",
        ),
        (
            [{"consumer_group": "audit"}, {"consumer_group": "AUDIT"}],
            ("processors", 1, "consumer_group"),
            "one group",
        ),
    ],
)
def test_groups_that_contradict_each_other_are_refused(processors, at, word):
    ((where, message),) = refused(*processors)
    assert where == at
    assert word in message


def test_files_are_read_once_for_all_processors(tmp_path):
    ((at, message),) = refused(
        {"consumer_group": "audit"}, source={"type": "file", "paths": [str(tmp_path / "a.jsonl")]}
    )
    assert at == ("processors", 0, "consumer_group")
    assert "eventhub" in message


MODELS, NEWS = "Microsoft.MachineLearningServices.ModelRegistered", "Inturn.ModelDeployed"


@pytest.mark.parametrize(
    ("processors", "names"),
    [
        ([{"types": [MODELS]}, {"types": [NEWS]}], []),
        ([{"types": [MODELS]}, {"types": [NEWS], "consumer_group": "mail"}], ["p1"]),
        ([{"types": [MODELS], "consumer_group": "deploy"}, {"types": [NEWS]}], ["p1"]),
        ([{}, *({"types": [each], "consumer_group": "models"} for each in (MODELS, NEWS))], []),
    ],
)
def test_who_waits_for_what_is_emitted_in_another_group_waits_in_vain(processors, names):
    assert [each.name for each in unheard(settings(*processors))] == names


RULE = {
    "name": "deployed",
    "after": {"types": [MODELS], "key": "{data.modelName}"},
    "expect": {"types": ["Microsoft.MachineLearningServices.ModelDeployed"], "keys": "data.modelIds"},
    "within_min": 30,
}


@pytest.mark.parametrize(
    ("types", "watching"),
    [
        (["*"], [""]),
        (["Inturn.ModelDeployed"], [""]),
        (["Inturn.*"], ["", "own"]),
        (["Inturn.ExpectationMissed"], ["", "own"]),
    ],
)
def test_what_is_missed_is_looked_for_once_and_where_somebody_waits_for_it(types, watching):
    told = settings({}, {"consumer_group": "own", "types": types}, expect=[RULE])
    assert [group for group, own in groups_of(told).items() if own.expect] == watching


def test_if_every_processor_has_another_group_the_first_looks_for_what_is_missed():
    told = settings({"consumer_group": "a"}, {"consumer_group": "b"}, expect=[RULE])
    assert [group for group, own in groups_of(told).items() if own.expect] == ["a"]
