"""`inturn test`, as who writes a configuration calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from harness.processes import ROOT

WORKSPACE = (
    "/subscriptions/7c1d5a1e-4b0f-4e0c-9d55-2f6a3b9c8e10/resourceGroups/ml-prod"
    "/providers/Microsoft.MachineLearningServices/workspaces/churn"
)
REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
CONFIG = f"""
source: {{type: eventhub, namespace: nowhere.servicebus.windows.net, hub: events}}
admission: {{topics: [{WORKSPACE}]}}
processors:
  - {{name: deploy, type: "mine:Deploy", types: [{REGISTERED}]}}
  - {{name: all, type: console, types: [Microsoft.*], stale: deliver}}
"""
MINE = """
from pathlib import Path
from consumer.processor import Reject

class Deploy:
    async def open(self):
        raise AssertionError("opened")

    async def __call__(self, event, context):
        raise AssertionError("done, and not only looked at")

    def preview(self, event, context):
        if event.field("modelName") == "forbidden":
            raise Reject("this model is not ours")
        return {"endpoint": event.field("modelName"), "key": context.idempotency_key != ""}
"""


def registered(version: int, model: str = "churn", **fields: object) -> dict[str, object]:
    data = {"ModelName": model, "ModelVersion": version}
    return {"type": REGISTERED, "subject": f"models/{model}:{version}", "data": data, **fields}


def inturn_test(
    folder: Path, cases: object, *arguments: str, mine: str = MINE, config: str = CONFIG
) -> subprocess.CompletedProcess[str]:
    (folder / "inturn.yaml").write_text(config)
    (folder / "mine.py").write_text(mine)
    (folder / "cases.yaml").write_text(cases if isinstance(cases, str) else yaml.safe_dump({"cases": cases}))
    command = [sys.executable, "-m", "consumer", "test", "cases.yaml", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_events_go_the_whole_way_in_log_time_and_processors_only_say_what_they_would_do(tmp_path):
    shuffled = {
        "name": "versions come in turn",
        "events": [registered(2), registered(1), registered(2, id="1"), {"wait_s": 60}, registered(0)],
        "expect": {
            "deploy": [{"subject": "models/churn:1"}, {"effect": {"endpoint": "churn", "key": True}}],
            "all": [{"stale": False}, {"subject": "~:2$"}, {"stale": True, "data": {"ModelVersion": 0}}],
        },
        "outcomes": {"handled": 3, "duplicate": 1},
    }
    refused = {
        "name": "another team's model is not deployed",
        "events": [registered(1, "forbidden")],
        "expect": {"deploy": []},
        "dead_letters": [{"reason": "rejected", "processor": "deploy", "error": "this model is not ours"}],
    }

    ended = inturn_test(tmp_path, [shuffled, refused])

    assert ended.stdout == (
        "ok  versions come in turn\nok  another team's model is not deployed\n2 of 2 cases as expected\n"
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_is_not_as_expected_is_shown_as_a_diff(tmp_path):
    ended = inturn_test(
        tmp_path,
        [
            {
                "name": "wrong",
                "events": [registered(1)],
                "expect": {"deploy": [{"effect": {"endpoint": "x"}}]},
            },
            {"name": "right", "events": [registered(1)], "outcomes": {"handled": 1}},
        ],
    )

    assert ended.returncode == 1
    assert "FAILED  wrong" in ended.stdout
    assert "endpoint: x\n" in next(
        line for line in ended.stdout.splitlines(True) if line.startswith("    -  ")
    )
    assert "1 of 2 cases as expected" in ended.stdout


def test_a_message_can_come_from_a_file_as_it_stood_in_a_hub(tmp_path):
    (tmp_path / "captured.json").write_bytes(b'[{"specversion": "1.0", "broken": true}]')

    ended = inturn_test(
        tmp_path,
        [
            {
                "name": "it",
                "events": [{"file": "captured.json"}],
                "dead_letters": [{"reason": "missing_field", "processor": None}],
            }
        ],
    )

    assert ended.returncode == 0, ended.stdout


def test_what_came_can_be_shown_to_begin_an_expectation_with(tmp_path):
    shown = inturn_test(tmp_path, [{"name": "it", "events": [registered(1)]}], "--show")
    lines = [line.removeprefix("    ") for line in shown.stdout.splitlines() if line.startswith("    ")]
    pasted = yaml.safe_load("\n".join(lines))

    ended = inturn_test(tmp_path, [{"name": "it", "events": [registered(1)], **pasted}])

    assert pasted["expect"]["deploy"][0]["effect"] == {"endpoint": "churn", "key": True}
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    ("cases", "finding"),
    [
        (
            "cases:\n  - name: a\n    events: [{typ: X}]\n",
            "cases.yaml:3:15: cases[0].events[0].typ: there is no",
        ),
        (
            "cases:\n  - {name: a, events: [{wait_s: 1, type: X}]}\n",
            "should have one of type, file and wait_s",
        ),
        (
            "cases:\n  - {name: a, events: [{wait_s: 1}], expect: {nobody: []}}\n",
            "there is no such processor",
        ),
        (
            "cases:\n  - {name: a, events: [{wait_s: 1}], expect: {all: [{efect: 1}]}}\n",
            "expect.all[0].efect: there is no such thing to expect",
        ),
        (
            'cases:\n  - {name: a, events: [{wait_s: 1}], expect: {all: [{data: {x: [ok, "~("]}}]}}\n',
            "expect.all[0].data.x[1]: is no regular expression: missing )",
        ),
        (
            'cases:\n  - {name: a, events: [{wait_s: 1}], dead_letters: [{error: "~[z"}]}\n',
            "dead_letters[0].error: is no regular expression",
        ),
        ("cases:\n  - &c {name: a, events: [{wait_s: 1}]}\n  - *c\n", "is the name of an earlier case"),
        ("cases: [{name: a, events: [{file: gone.json}]}]\n", "gone.json: cannot be read"),
        ("- a", "should be a mapping"),
    ],
)
def test_a_mistake_in_the_cases_is_found_with_its_place(tmp_path, cases, finding):
    ended = inturn_test(tmp_path, cases)

    assert ended.returncode == 78
    assert finding in ended.stderr


def test_whoever_names_no_file_of_cases_is_not_sent_to_the_configuration(tmp_path):
    (tmp_path / "inturn.yaml").write_text(CONFIG)
    (tmp_path / "mine.py").write_text(MINE)

    command = [sys.executable, "-m", "consumer", "test", "cases.yaml"]
    missed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert missed.returncode == 78
    assert "cases.yaml: there is no such file" in missed.stderr
    assert "config init" not in missed.stderr


def test_who_takes_every_type_is_given_nothing_of_an_internal_event(tmp_path):
    told = {"type": "Inturn.ModelDeployed", "subject": "models/churn:1", "data": {"modelName": "churn"}}
    config = CONFIG.replace("types: [Microsoft.*]", 'types: ["*"]')
    cases = [{"name": "told", "events": [told], "expect": {"all": []}, "dead_letters": [], "outcomes": {}}]

    ended = inturn_test(tmp_path, cases, config=config)

    assert ended.returncode == 0, ended.stdout


def test_an_event_with_which_a_processor_would_do_nothing_is_not_among_its_effects(tmp_path):
    nothing = MINE.replace("return {", "if event.field('modelVersion') == 1: return None\n        return {")

    ended = inturn_test(
        tmp_path,
        [
            {
                "name": "it",
                "events": [registered(1), registered(2)],
                "expect": {"deploy": [{"subject": "~:2$"}]},
            }
        ],
        mine=nothing,
    )

    assert ended.returncode == 0, ended.stdout


def test_the_examples_own_cases_hold_of_the_example():
    deploy = ROOT / "deploy"
    command = [sys.executable, "-m", "consumer", "test", "-c", "team.yaml", "team-cases.yaml"]
    ended = subprocess.run(command, cwd=deploy, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "9 of 9 cases as expected" in ended.stdout


def test_cases_can_be_chosen_by_name(tmp_path):
    cases = [{"name": name, "events": [registered(1)]} for name in ("one", "two")]

    assert inturn_test(tmp_path, cases, "-k", "tw").stdout == "ok  two\n1 of 1 cases as expected\n"
    assert inturn_test(tmp_path, cases, "-k", "three").returncode == 1
