"""Filters as they are written: in YAML, as az's arguments, as Resource Manager's JSON."""

# ruff: noqa: E501 - what is wrong and what is said of it are read side by side
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from consumer.config_file import load_settings, read_configuration
from consumer.config_rendering import render
from consumer.core.filter_operators import Operator
from consumer.core.filters import AdvancedFilter, Filter
from consumer.errors import ConfigurationError
from consumer.filter_settings import FilterSettings
from consumer.filter_translation import setting_of


def read(**written: Any) -> Filter:
    return FilterSettings.model_validate(written).canonical().filter()


def refused(**written: Any) -> list[tuple[tuple[str | int, ...], str]]:
    """Where a filter is wrong, and why."""
    with pytest.raises(ValidationError) as caught:
        FilterSettings.model_validate(written)
    (error,) = caught.value.errors()
    return [tuple(finding) for finding in error["ctx"]["findings"]]


FILTER = {
    "includedEventTypes": ["Microsoft.MachineLearningServices.ModelRegistered"],
    "subjectBeginsWith": "models/",
    "subjectEndsWith": "",
    "isSubjectCaseSensitive": None,
    "enableAdvancedFilteringOnArrays": True,
    "advancedFilters": [
        {"operatorType": "StringIn", "key": "data.ModelTags.stage", "values": ["production"]},
        {"operatorType": "NumberGreaterThan", "key": "data.n", "value": 3},
    ],
}
MEANT = Filter(
    ("Microsoft.MachineLearningServices.ModelRegistered",),
    "models/",
    enable_advanced_filtering_on_arrays=True,
    advanced_filters=(
        AdvancedFilter("data.ModelTags.stage", Operator.STRING_IN, ("production",)),
        AdvancedFilter("data.n", Operator.NUMBER_GREATER_THAN, (3,)),
    ),
)
SUBSCRIPTION = {"name": "s", "properties": {"destination": {"endpointType": "EventHub"}, "filter": FILTER}}
TEMPLATE = {
    "resources": [
        {"type": "Microsoft.EventGrid/systemTopics", "properties": {"source": "x"}},
        {"type": "Microsoft.EventGrid/systemTopics/eventSubscriptions", **SUBSCRIPTION},
    ]
}
EXPORTS = {
    "the filter alone": FILTER,
    "what REST gives": SUBSCRIPTION,
    "what az shows": {"name": "s", "destination": {"endpointType": "EventHub"}, "filter": FILTER},
    "a template": TEMPLATE,
    "names in another case": {"Filter": {key.upper(): value for key, value in FILTER.items()}},
}


@pytest.mark.parametrize("given_", EXPORTS.values(), ids=EXPORTS)
def test_a_subscription_may_be_given_as_it_is_exported(given_: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "subscription.json"
    file.write_text(json.dumps(given_), "utf-8-sig")

    assert read(arm=given_) == MEANT
    assert read(arm_file=file) == MEANT


@pytest.mark.parametrize(
    "given_", [{}, {"filter": None}, {"filter": {"includedEventTypes": ["All"]}}, {"destination": {}}]
)
def test_a_subscription_without_a_filter_lets_everything_through(given_: dict[str, Any]) -> None:
    assert read(arm=given_) == Filter()


def test_a_number_may_be_given_as_the_documentation_once_had_it() -> None:
    for values in (5, [5]):
        written = {"OperatorType": "NumberGreaterThanOrEquals", "Key": "Data.Key1", "Values": values}
        (condition,) = read(arm={"advancedFilters": [written]}).advanced_filters
        assert condition == AdvancedFilter("Data.Key1", Operator.NUMBER_GREATER_THAN_OR_EQUALS, (5,))


ARM = ("arm", "advancedFilters", 0)
WRONG_ARM: list[tuple[dict[str, Any], tuple[str | int, ...], str]] = [
    ({"advancedFilter": []}, ("arm",), "there is no filter in it"),
    ({"subjectBeginWith": "x", "advancedFilters": []}, ("arm", "subjectBeginWith"), "no filter of Event Grid has this; did you mean subjectBeginsWith?"),
    ({"filter": []}, ("arm",), "the filter should be an object"),
    ({"resources": []}, ("arm",), "there are 0 event subscriptions in it, and not one"),
    ({"advancedFilters": [3]}, ARM, "should be an object"),
    ({"advancedFilters": [{"key": "a"}]}, ARM, "operatorType is missing"),
    ({"advancedFilters": [{"operatorType": "IsNotNull"}]}, ARM, "key is missing"),
    ({"advancedFilters": [{"operatorType": "NumberEquals", "key": "a", "values": [1]}]}, ARM, "operatorType: there is no such operator; did you mean NumberLessThanOrEquals?"),
    ({"advancedFilters": [{"operatorType": "IsNotNull", "key": "a", "values": [1]}]}, ARM, "IsNotNull takes no value"),
    ({"advancedFilters": [{"operatorType": "StringIn", "key": "a"}]}, ARM, "StringIn needs one of value and values"),
    ({"advancedFilters": [{"operatorType": "StringIn", "key": "a", "vals": ["x"]}]}, ARM, "no advanced filter has vals"),
    ({"advancedFilters": [{"operatorType": "NumberIn", "key": "a", "values": ["x"]}]}, ARM, "number_in.0: should be a number"),
    ({"advancedFilters": [{"operatorType": "NumberLessThan", "key": "a", "values": [1, 2]}]}, ARM, "number_less_than: should be a number"),
    ({"isSubjectCaseSensitive": "maybe"}, ("arm", "isSubjectCaseSensitive"), "should be a valid boolean, unable to interpret input"),
]  # fmt: skip


@pytest.mark.parametrize(("given_", "at", "message"), WRONG_ARM)
def test_what_is_wrong_with_a_subscription_is_said_at_its_place(
    given_: dict[str, Any], at: tuple[str | int, ...], message: str
) -> None:
    assert refused(arm=given_) == [(at, message)]


def test_a_template_with_expressions_is_no_filter_to_go_by() -> None:
    given_ = json.loads(json.dumps(TEMPLATE).replace('"models/"', "\"[parameters('prefix')]\""))

    assert refused(arm=given_) == [
        (("arm",), "the template's filter has expressions in it: give the deployed subscription")
    ]


WRONG_AZ = [
    ("data.x", "should be KEY OPERATOR [VALUE...], such as data.color StringIn blue red"),
    ("data.x StringsIn a", "StringsIn: there is no such operator; did you mean StringIn?"),
    ("data.x StringIn", "StringIn takes at least one value"),
    ("data.x IsNotNull 3", "IsNotNull takes no value"),
    ("data.x NumberLessThan 1 2", "NumberLessThan takes one value"),
    ("data.x NumberIn 1 two", "two should be a number"),
    ("data.x NumberIn nan", "nan should be a number"),
    ("data.x NumberInRange 1-2", "1-2 should be a range such as 5,10"),
    ("data.x NumberInRange 2,1", "the range 2 to 1 is empty"),
    ("data.x BoolEquals 0", "should be true or false"),
    ("data.x StringIn 'a", "a quotation mark is not closed"),
    ("--subject-begins-with a b", "--subject-begins-with takes one value"),
    ("--subject-ends-with a --subject-ends-with b", "--subject-ends-with is given twice"),
    ("data..x StringIn a", "key: String should match pattern '^[^.]+(\\.[^.]+)*$'"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_AZ)
def test_what_is_wrong_with_az_s_arguments_is_said_of_the_text_it_is_in(text: str, message: str) -> None:
    assert refused(az=["subject StringIn fine", text]) == [(("az", 1), message)]


def test_a_flag_of_az_that_says_nothing_of_filters_is_refused() -> None:
    ((at, message),) = refused(az=["--name x"])

    assert at == ("az", 0)
    assert message.startswith("--name is none of az's flags for filters: --advanced-filter, ")


def test_az_s_arguments_are_read_as_a_shell_would() -> None:
    folded = "--included-event-types A.Made B.Lost \\\n  --subject-case-sensitive --subject-ends-with='.jpg' \\\n --enable-af-arr true"

    assert read(az=["data.x stringin 'a b' \"c\"", folded, "data.y BoolEquals false"]) == Filter(
        ("A.Made", "B.Lost"), "", ".jpg", True, True,
        (
            AdvancedFilter("data.x", Operator.STRING_IN, ("a b", "c")),
            AdvancedFilter("data.y", Operator.BOOL_EQUALS, (False,)),
        ),
    )  # fmt: skip


def test_a_filter_is_written_in_one_way() -> None:
    ((at, message),) = refused(az=["data.x IsNotNull"], arm={}, subject_begins_with="x")

    assert (at, message) == (
        ("az",),
        "subject_begins_with and az and arm are different ways to write a filter: use one",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, ": cannot be read: No such file or directory"),
        (b'{"filter": ', ":1:12: this is no JSON: Expecting value"),
        (b"\xff", ": this is not UTF-8"),
        (b"[" * 100_000, ": values are nested too deeply"),
        (
            b'{"filter": {"advancedFilters": [{"key": "a"}]}}',
            ": filter.advancedFilters[0]: operatorType is missing",
        ),
        (b"[]", ": should be an object"),
        (b" " * 1_048_577, ": larger than 1048576 bytes"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "subscription.json"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        read(arm_file=file)

    assert caught.value.findings == (f"{file}{message}",)


CONFIGURATION = """\
source: {type: file, paths: [events.jsonl]}
admission: {topics: any}
processors:
  - name: one
    type: console
    filter:
      advanced_filters:
        - {key: data.n, number_in_range: [[3, 4], [9, 5]]}
        - {key: data.n, StringNotIn: [x]}
        - {key: data.n}
        - {key: data.n, number_less_than: "x"}
        - {key: data.n, string_in: [3]}
  - {name: two, type: console, filter: {az: ["data.x StringsIn a b"]}}
  - {name: three, type: console, filter: {arm: {advancedFilters: [{key: a}]}}}
"""


def test_what_is_wrong_in_a_configuration_is_said_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "inturn.yaml"
    file.write_text(CONFIGURATION)

    with pytest.raises(ConfigurationError) as caught:
        load_settings(file, {})

    assert [finding.removeprefix(f"{file}:") for finding in caught.value.findings] == [
        "8:42: processors[0].filter.advanced_filters[0].number_in_range: the range 9 to 5 is empty",
        "9:25: processors[0].filter.advanced_filters[1].StringNotIn: there is no such setting; did you mean string_not_in?",
        "10:11: processors[0].filter.advanced_filters[2]: needs exactly one operator, such as string_in: [production]",
        "11:43: processors[0].filter.advanced_filters[3].number_less_than: should be a number",
        "12:37: processors[0].filter.advanced_filters[4].string_in[0]: should be text: put it in quotes",
        "13:46: processors[1].filter.az[0]: StringsIn: there is no such operator; did you mean StringIn?",
        "14:67: processors[2].filter.arm.advancedFilters[0]: operatorType is missing",
    ]


def test_a_file_is_looked_for_beside_the_configuration_and_checked_with_it(tmp_path: Path) -> None:
    file = tmp_path / "inturn.yaml"
    head, _, _ = CONFIGURATION.partition("  - name")
    file.write_text(f"{head}  - {{name: one, type: console, filter: {{arm_file: azure/s.json}}}}\n")
    subscription = tmp_path / "azure" / "s.json"

    with pytest.raises(ConfigurationError, match=r"azure/s\.json: cannot be read: No such file"):
        load_settings(file, {})
    subscription.parent.mkdir()
    subscription.write_text(json.dumps(SUBSCRIPTION))

    (processor,) = load_settings(file, {}).processors
    assert processor.filter is not None
    assert processor.filter.canonical().filter() == MEANT


def test_a_file_of_a_rule_is_checked_too(tmp_path: Path) -> None:
    file = tmp_path / "inturn.yaml"
    head, _, _ = CONFIGURATION.partition("  - name")
    sides = "after: {types: [A], key: '{subject}'}, expect: {types: [B], key: '{subject}', filter: {arm_file: s.json}}"
    rule = f"expect: [{{name: r, within_min: 1, {sides}}}]"
    file.write_text(f"{head}  - {{name: one, type: console}}\n{rule}\n")

    with pytest.raises(ConfigurationError, match=r"expect\[0\]\.expect\.filter\.arm_file: .*No such file"):
        load_settings(file, {})


def test_the_schema_wants_one_operator_too() -> None:
    schema = FilterSettings.model_json_schema()["$defs"]["ConditionSettings"]

    assert (schema["minProperties"], schema["maxProperties"]) == (2, 2)
    assert {setting_of(operator) for operator in Operator} == schema["properties"].keys() - {"key"}


def test_a_number_may_come_from_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "inturn.yaml"
    head, _, _ = CONFIGURATION.partition("  - name")
    condition = "{key: data.n, number_in: ['${LIMIT}', '${SHARE:-0.5}', 3]}"
    file.write_text(f"{head}  - {{name: one, type: console, filter: {{advanced_filters: [{condition}]}}}}\n")

    (processor,) = load_settings(file, {"LIMIT": "12"}).processors

    assert processor.filter is not None
    (condition_,) = processor.filter.canonical().filter().advanced_filters
    assert condition_.values == (12, -0.5, 3)


def test_a_filter_that_is_shown_is_read_back_the_same_however_it_was_written(tmp_path: Path) -> None:
    file, again = tmp_path / "inturn.yaml", tmp_path / "again.yaml"
    (tmp_path / "s.json").write_text(json.dumps(SUBSCRIPTION))
    head, _, _ = CONFIGURATION.partition("  - name")
    ways = [
        "{subject_begins_with: x}",
        "{az: ['data.x IsNotNull']}",
        "{arm: {subjectEndsWith: x}}",
        "{arm_file: s.json}",
    ]
    file.write_text(
        head + "".join(f"  - {{name: p{i}, type: console, filter: {way}}}\n" for i, way in enumerate(ways))
    )
    configuration = read_configuration(file, {})

    again.write_text(render(*configuration))

    assert load_settings(again, {}).processors == configuration.settings.processors
