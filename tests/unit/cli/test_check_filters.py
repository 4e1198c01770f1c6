"""What `inturn check` says of filters."""

# ruff: noqa: E501 - what is printed stands in one line
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from consumer.cli import app
from consumer.config_file import load_settings

MADE = "Microsoft.MachineLearningServices.ModelRegistered"
ENDED = "Microsoft.MachineLearningServices.RunCompleted"
CREATE = "az eventgrid event-subscription create"


def checked(folder: Path, *processors: dict[str, Any], **settings: Any) -> tuple[int, list[str]]:
    """The exit code, and the lines about filters."""
    file = folder / "inturn.yaml"
    named = [{"name": f"p{index}", "type": "console", **each} for index, each in enumerate(processors)]
    topics = ["/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"]
    source = {"type": "file", "paths": ["events.jsonl"]}
    file.write_text(
        yaml.safe_dump({"source": source, "admission": {"topics": topics}, "processors": named, **settings})
    )
    result = CliRunner().invoke(app, ["check", "--config", str(file)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, [
        line for line in result.output.splitlines() if "filter" in line.lower() and str(folder) not in line
    ]


def test_a_filter_is_printed_as_what_would_have_event_grid_do_the_same(tmp_path):
    stage = {"key": "data.modelTags.stage", "string_in": ["production", "pre production"]}
    wanted = {"subject_begins_with": "models/", "advanced_filters": [stage]}

    code, lines = checked(tmp_path, {"types": [MADE], "filter": wanted}, {"types": [ENDED, "Inturn.*"]})

    assert code == 0
    assert lines == [
        f"filter of p0: {CREATE} --included-event-types {MADE} --subject-begins-with models/ --advanced-filter data.modelTags.stage StringIn production 'pre production'",
        f"to receive less, have Event Grid filter for all of them: {CREATE} --included-event-types {MADE} {ENDED}",
    ]


def test_what_is_printed_can_be_put_into_the_configuration(tmp_path):
    conditions = [{"key": "data.n", "number_in_range": [[-3, 4]]}, {"key": "data.on", "bool_equals": False}]
    wanted = {"subject_ends_with": "it's", "is_subject_case_sensitive": True, "advanced_filters": conditions}
    _, (line, _) = checked(tmp_path, {"filter": wanted})
    first = load_settings(tmp_path / "inturn.yaml", {}).processors[0].filter

    _, lines = checked(tmp_path, {"filter": {"az": [line.partition(CREATE)[2].strip()]}})

    second = load_settings(tmp_path / "inturn.yaml", {}).processors[0].filter
    assert first is not None
    assert second is not None
    assert first.canonical() == second.canonical()
    assert lines[0] == line


def test_types_that_the_filter_leaves_out_are_left_out_and_patterns_are_no_types(tmp_path):
    both = {"included_event_types": [MADE, ENDED]}

    _, exact = checked(tmp_path, {"types": [MADE.lower(), "Other"], "filter": both})
    _, pattern = checked(tmp_path, {"types": ["Microsoft.*"], "filter": {"subject_begins_with": "x"}})

    assert exact[0] == f"filter of p0: {CREATE} --included-event-types {MADE}"
    assert pattern[0] == f"filter of p0: {CREATE} --subject-begins-with x"


@pytest.mark.parametrize(
    ("filter_", "finding"),
    [
        (
            {"advanced_filters": [{"key": f"data.k{i}", "is_not_null": True} for i in range(26)]},
            "has 26 advanced filters, and Event Grid takes 25: it works here, and not in an event subscription.",
        ),
        (
            {"advanced_filters": [{"key": "data.k", "number_in": [*range(13)]}, {"key": "data.k", "number_not_in": [*range(13)]}]},
            "has 26 values, and Event Grid takes 25 over all advanced filters: it works here, and not in an event subscription.",
        ),
        (
            {"az": ["data.k StringIn " + "x" * 513]},
            "has a text of 513 characters, and Event Grid takes 512: it works here, and not in an event subscription.",
        ),
        (
            {"az": ["eventTime StringBeginsWith 2026"]},
            "looks at eventTime, which is no key of Event Grid's: it works here, and not in an event subscription.",
        ),
    ],
)  # fmt: skip
def test_what_event_grid_would_not_take_is_a_finding(tmp_path, filter_, finding):
    code, lines = checked(tmp_path, {"filter": filter_})

    assert code == 1
    assert lines[-1] == f"finding: the filter of p0 {finding}"


def test_what_az_could_not_say_is_a_finding_with_what_resource_manager_would_take(tmp_path):
    conditions = [{"key": "data.k", "string_in": ["@home"]}, {"key": "data.n", "is_not_null": True}]
    code, lines = checked(tmp_path, {"filter": {"advanced_filters": conditions}})

    assert code == 1
    assert lines[0] == f"filter of p0: {CREATE} --advanced-filter data.n IsNotNull"
    assert lines[-1] == (
        "finding: the filter of p0: az would not take @home for a value of --advanced-filter. Resource Manager would: "
        '{"advancedFilters": [{"operatorType": "StringIn", "key": "data.k", "values": ["@home"]}, {"operatorType": "IsNotNull", "key": "data.n"}]}'
    )


def test_arguments_that_az_itself_misreads_are_a_finding(tmp_path):
    code, lines = checked(tmp_path, {"filter": {"az": ["data.on BoolEquals false"]}})

    assert code == 1
    assert lines[0].endswith("--advanced-filter data.on BoolEquals ''")
    assert "which is read as it says; az itself makes BoolEquals true of it" in lines[-1]


def test_event_grid_is_told_nothing_of_what_processors_emit(tmp_path):
    by_tag = {"advanced_filters": [{"key": "eventTime", "is_not_null": True}]}

    assert checked(tmp_path, {"types": ["Inturn.ModelDeployed"], "filter": by_tag}) == (0, [])


def test_what_rules_wait_for_is_not_kept_back(tmp_path):
    rule = {
        "name": "deployed",
        "after": {"types": [MADE], "key": "{subject}", "filter": {"subject_begins_with": "models/a"}},
        "expect": {"types": [ENDED], "key": "{subject}"},
        "within_min": 5,
    }
    only = {"types": [MADE], "filter": {"subject_begins_with": "models/abc"}}

    code, lines = checked(tmp_path, only, expect=[rule])

    assert code == 0
    assert lines == [
        f"filter of p0: {CREATE} --included-event-types {MADE} --subject-begins-with models/abc",
        f"filter of after in the rule deployed: {CREATE} --included-event-types {MADE} --subject-begins-with models/a",
        f"to receive less, have Event Grid filter for all of them: {CREATE} --included-event-types {MADE} {ENDED}",
    ]


def test_without_filters_nothing_is_said_of_them(tmp_path):
    assert checked(tmp_path, {"types": [MADE]}) == (0, [])
