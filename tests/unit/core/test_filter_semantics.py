"""What filters mean, row by row as Event Grid's documentation says it ("Event filtering for Azure Event Grid").

Rows marked as ours are where it says nothing; `consumer.core.filter_operators` says what was chosen.
"""

# ruff: noqa: E501 - a table wants its columns
from __future__ import annotations

from typing import Any

import pytest

from consumer.core.filter_operators import MEANINGS, Operator
from consumer.core.filters import AdvancedFilter, Filter, compiled
from consumer.events import BadData, Event

from .conftest import cloud_event, compact, grid_event, one

O = Operator  # noqa: E741 - a table
GONE: Any = object()
"""In place of a value: the key is not there."""


def event_with(value: Any, *, cloud: bool = False) -> Event:
    data = {"other": 1} if value is GONE else {"key1": value}
    return one(compact([cloud_event(data=data) if cloud else grid_event(data=data)]))


def lets_through(event: Event, *conditions: AdvancedFilter, **settings: Any) -> bool:
    return compiled(Filter(advanced_filters=conditions, **settings))(event)


def condition(operator: Operator, *values: Any, key: str = "data.key1") -> AdvancedFilter:
    return AdvancedFilter(key, operator, values)


RANGES = (3.14159, 999.95), (3000, 4000)
DOCUMENTED: list[tuple[Operator, tuple[Any, ...], Any, bool]] = [
    # one of the values
    (O.NUMBER_IN, (5, 1), 5, True),
    (O.NUMBER_IN, (5, 1), 1.0, True),
    (O.NUMBER_IN, (5, 1), 2, False),
    (O.NUMBER_NOT_IN, (41, 0), 41, False),
    (O.NUMBER_NOT_IN, (41, 0), 0.0, False),
    (O.NUMBER_NOT_IN, (41, 0), 7, True),
    # less, greater, with and without the limit itself
    (O.NUMBER_LESS_THAN, (100,), 99.9, True),
    (O.NUMBER_LESS_THAN, (100,), 100, False),
    (O.NUMBER_GREATER_THAN, (20,), 20.5, True),
    (O.NUMBER_GREATER_THAN, (20,), 20, False),
    (O.NUMBER_LESS_THAN_OR_EQUALS, (100,), 100, True),
    (O.NUMBER_LESS_THAN_OR_EQUALS, (100,), 101, False),
    (O.NUMBER_GREATER_THAN_OR_EQUALS, (30,), 30, True),
    (O.NUMBER_GREATER_THAN_OR_EQUALS, (30,), 29, False),
    # ranges have both their ends
    (O.NUMBER_IN_RANGE, RANGES, 3.14159, True),
    (O.NUMBER_IN_RANGE, RANGES, 4000, True),
    (O.NUMBER_IN_RANGE, RANGES, 2000, False),
    (O.NUMBER_NOT_IN_RANGE, RANGES, 999.95, False),
    (O.NUMBER_NOT_IN_RANGE, RANGES, 2999, True),
    (O.BOOL_EQUALS, (True,), True, True),
    (O.BOOL_EQUALS, (True,), False, False),
    (O.BOOL_EQUALS, (False,), False, True),
    # text, where case never counts
    (O.STRING_CONTAINS, ("microsoft", "azure"), "the Azure data factory", True),
    (O.STRING_CONTAINS, ("microsoft", "azure"), "contoso", False),
    (O.STRING_NOT_CONTAINS, ("contoso", "fabrikam"), "at FABRIKAM's", False),
    (O.STRING_NOT_CONTAINS, ("contoso", "fabrikam"), "microsoft", True),
    (O.STRING_BEGINS_WITH, ("event", "message"), "Event Hubs", True),
    (O.STRING_BEGINS_WITH, ("event", "message"), "no event", False),
    (O.STRING_NOT_BEGINS_WITH, ("event", "message"), "Message", False),
    (O.STRING_NOT_BEGINS_WITH, ("event", "message"), "no message", True),
    (O.STRING_ENDS_WITH, ("jpg", "jpeg", "png"), "eventgrid.PNG", True),
    (O.STRING_ENDS_WITH, ("jpg", "jpeg", "png"), "png.txt", False),
    (O.STRING_NOT_ENDS_WITH, ("jpg", "jpeg", "png"), "a.jpeg", False),
    (O.STRING_NOT_ENDS_WITH, ("jpg", "jpeg", "png"), "a.txt", True),
    (O.STRING_IN, ("contoso", "fabrikam", "factory"), "CONTOSO", True),
    (O.STRING_IN, ("contoso", "fabrikam", "factory"), "contoso ltd", False),
    (O.STRING_NOT_IN, ("aws", "bridge"), "Bridge", False),
    (O.STRING_NOT_IN, ("aws", "bridge"), "bridges", True),
    # null and undefined
    (O.IS_NULL_OR_UNDEFINED, (), GONE, True),
    (O.IS_NULL_OR_UNDEFINED, (), None, True),
    (O.IS_NULL_OR_UNDEFINED, (), "", False),
    (O.IS_NULL_OR_UNDEFINED, (), 0, False),
    (O.IS_NOT_NULL, (), GONE, False),
    (O.IS_NOT_NULL, (), None, False),
    (O.IS_NOT_NULL, (), False, True),
    (O.IS_NOT_NULL, (), [], True),
    (O.IS_NOT_NULL, (), {}, True),
    # what has another type is ignored: it is in nothing, and fails nothing
    (O.NUMBER_IN, (5,), "5", False),
    (O.NUMBER_IN, (1,), True, False),
    (O.NUMBER_NOT_IN, (5,), "5", True),
    (O.NUMBER_GREATER_THAN, (0,), "5", False),
    (O.NUMBER_LESS_THAN, (5,), False, False),
    (O.NUMBER_IN_RANGE, ((0, 9),), True, False),
    (O.NUMBER_NOT_IN_RANGE, ((0, 9),), "5", True),
    (O.BOOL_EQUALS, (True,), "true", False),
    (O.BOOL_EQUALS, (True,), 1, False),
    (O.STRING_IN, ("5",), 5, False),
    (O.STRING_NOT_IN, ("5",), 5, True),
    (O.STRING_CONTAINS, ("5",), 5, False),
    (O.STRING_NOT_CONTAINS, ("5",), 5, True),
    (O.STRING_IN, ("x",), {"x": "x"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "values", "value", "expected"), DOCUMENTED)
@pytest.mark.parametrize("cloud", [False, True], ids=["eventgrid", "cloudevents"])
def test_an_operator_means_what_event_grid_says(
    operator: Operator, values: tuple[Any, ...], value: Any, expected: bool, cloud: bool
) -> None:
    assert lets_through(event_with(value, cloud=cloud), condition(operator, *values)) is expected


def test_the_table_has_every_operator_with_both_answers() -> None:
    assert {(row[0], row[3]) for row in DOCUMENTED} == {(each, said) for each in O for said in (True, False)}


EXAMPLES: dict[Operator, tuple[Any, ...]] = {operator: values for operator, values, _, _ in DOCUMENTED}

MATCHED_WITHOUT_THE_KEY = {
    O.NUMBER_NOT_IN,
    O.STRING_NOT_IN,
    O.NUMBER_NOT_IN_RANGE,  # ours: the list in the documentation leaves it out
    O.IS_NULL_OR_UNDEFINED,
}


@pytest.mark.parametrize("operator", Operator)
@pytest.mark.parametrize("value", [GONE, None], ids=["gone", "null"])
def test_without_the_key_only_these_match_and_null_is_as_good_as_none(operator: Operator, value: Any) -> None:
    expected = operator in MATCHED_WITHOUT_THE_KEY

    assert lets_through(event_with(value), condition(operator, *EXAMPLES[operator])) is expected


def test_a_path_that_ends_early_or_leads_through_an_array_finds_nothing() -> None:
    deeper = condition(O.STRING_IN, "x", key="data.key1.key2.key3")

    assert not lets_through(event_with("x"), deeper)
    assert not lets_through(event_with([{"key2": {"key3": "x"}}]), deeper)
    assert lets_through(event_with({"key2": {"key3": "x"}}), deeper)


ARRAYS: list[tuple[Operator, tuple[Any, ...], list[Any], bool]] = [
    # any element matches; elements of another type are ignored
    (O.STRING_IN, ("a", "b"), ["x", "B"], True),
    (O.STRING_IN, ("a", "b"), ["x", 1], False),
    (O.NUMBER_IN, (5, 1), [7, "5", 1], True),
    (O.NUMBER_GREATER_THAN, (20,), [3, 21], True),
    (O.NUMBER_GREATER_THAN, (20,), [3, "21"], False),
    (O.NUMBER_IN_RANGE, ((3, 4),), [9, 3.5], True),
    (O.BOOL_EQUALS, (True,), [False, True], True),
    (O.STRING_CONTAINS, ("zur",), ["aws", "Azure"], True),
    # one element that fits fails the negated operators
    (O.STRING_NOT_IN, ("a", "b"), ["x", "b"], False),
    (O.STRING_NOT_IN, ("a", "b"), ["x", 1], True),
    (O.NUMBER_NOT_IN, (5, 1), [7, 1], False),
    (O.NUMBER_NOT_IN, (5, 1), [7, "1"], True),
    (O.NUMBER_NOT_IN_RANGE, ((3, 4),), [9, 3.5], False),
    (O.STRING_NOT_CONTAINS, ("zur",), ["aws", "Azure"], False),
    (O.STRING_NOT_BEGINS_WITH, ("a",), ["b", "c"], True),
    (O.STRING_NOT_ENDS_WITH, ("a",), ["b", "ca"], False),
    # nothing in it, nothing fits
    (O.STRING_IN, ("a",), [], False),
    (O.STRING_NOT_IN, ("a",), [], True),
    (O.STRING_NOT_CONTAINS, ("a",), [], True),
    # neither arrays in arrays nor objects are looked into
    (O.STRING_IN, ("a",), [["a"], {"a": "a"}], False),
    (O.IS_NOT_NULL, (), [None], True),
    (O.IS_NULL_OR_UNDEFINED, (), [None], False),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "values", "array", "expected"), ARRAYS)
def test_filtering_on_arrays_looks_at_every_element(
    operator: Operator, values: tuple[Any, ...], array: list[Any], expected: bool
) -> None:
    one_condition = condition(operator, *values)

    assert (
        lets_through(event_with(array), one_condition, enable_advanced_filtering_on_arrays=True) is expected
    )


@pytest.mark.parametrize("operator", Operator)
def test_without_filtering_on_arrays_an_array_matches_nothing_that_compares(operator: Operator) -> None:
    expected = operator is O.IS_NOT_NULL

    for array in ([], ["contoso", 5, True], ["nothing of the sort"]):
        assert lets_through(event_with(array), condition(operator, *EXAMPLES[operator])) is expected


KEYS = {
    "id": "7", "Id": "7", "ID": "7", "eventId": "7", "eventid": "7",
    "topic": "/t", "Topic": "/t", "source": "/t",
    "subject": "s", "Subject": "s",
    "eventType": "T.Made", "eventtype": "T.Made", "type": "T.Made",
    "data.Key1": "v", "Data.key1": "v", "DATA.KEY1": "v",
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("cloud", [False, True], ids=["eventgrid", "cloudevents"])
def test_a_key_is_found_in_either_schema_whatever_its_case(key: str, cloud: bool) -> None:
    written = (
        cloud_event(id="7", source="/t", subject="s", type="T.Made", data={"key1": "v"})
        if cloud
        else grid_event(id="7", topic="/t", subject="s", eventType="T.Made", data={"Key1": "v"})
    )

    assert lets_through(one(compact([written])), condition(O.STRING_IN, KEYS[key], key=key))
    assert not lets_through(one(compact([written])), condition(O.STRING_IN, "other", key=key))


@pytest.mark.parametrize("key", ["dataVersion", "dataversion", "eventTypeVersion"])
def test_the_data_version_is_a_key(key: str) -> None:
    event = one(compact([grid_event(dataVersion="2.1")]))

    assert lets_through(event, condition(O.STRING_IN, "2.1", key=key))
    assert not lets_through(one(compact([cloud_event()])), condition(O.IS_NOT_NULL, key=key))


def test_an_extension_attribute_of_cloudevents_is_a_key() -> None:
    event = one(compact([cloud_event(comexampleextension1="value", comexampleothervalue=5, urgent=True)]))

    assert lets_through(event, condition(O.STRING_IN, "VALUE", key="comExampleExtension1"))
    assert lets_through(event, condition(O.STRING_BEGINS_WITH, "5", "1", key="comexampleothervalue"))
    assert lets_through(event, condition(O.NUMBER_IN, 5, key="comexampleothervalue"))
    assert lets_through(event, condition(O.BOOL_EQUALS, True, key="urgent"))
    assert lets_through(event, condition(O.STRING_IN, "true", key="urgent"))
    assert not lets_through(event, condition(O.IS_NOT_NULL, key="missing"))


def test_all_advanced_filters_have_to_match() -> None:
    both = condition(O.STRING_CONTAINS, "a"), condition(O.STRING_CONTAINS, "b")

    assert lets_through(event_with("ab"), *both)
    assert not lets_through(event_with("a"), *both)


SUBJECTS = [
    ("blobs/log", ".jpg", False, "/blobs/log1.jpg", False),
    ("/blobs/log", ".jpg", False, "/Blobs/LOG1.JPG", True),
    ("/blobs/log", ".jpg", True, "/Blobs/LOG1.JPG", False),
    ("/blobs/log", ".jpg", True, "/blobs/log1.jpg", True),
    ("/blobs/log", "", False, "/blobs/log1.png", True),
    ("", ".jpg", False, "/blobs/log1.png", False),
    ("", "", True, "anything", True),
]


@pytest.mark.parametrize(("begin", "end", "sensitive", "subject", "expected"), SUBJECTS)
def test_the_subject_begins_and_ends_as_told_and_case_counts_only_if_told(
    begin: str, end: str, sensitive: bool, subject: str, expected: bool
) -> None:
    wanted = Filter(subject_begins_with=begin, subject_ends_with=end, is_subject_case_sensitive=sensitive)

    assert compiled(wanted)(one(compact([grid_event(subject=subject)]))) is expected


def test_only_included_types_pass_and_a_filter_of_nothing_lets_all_through() -> None:
    event = one(compact([grid_event()]))

    assert compiled(Filter(included_event_types=("microsoft.storage.blobcreated", "B")))(event)
    assert not compiled(Filter(included_event_types=("Microsoft.Storage.BlobDeleted",)))(event)
    assert compiled(Filter())(event)


def test_data_that_cannot_be_read_is_refused_loudly_and_only_when_it_is_needed() -> None:
    body = compact([grid_event(subject="s", data={})]).replace(b"{}", b'{"key1":1,"key1":2}')
    event = plain_event(body)

    with pytest.raises(BadData):
        lets_through(event, condition(O.NUMBER_IN, 1))
    by_subject = condition(O.STRING_IN, "other", key="subject")
    assert not lets_through(event, condition(O.NUMBER_IN, 1), by_subject)


def plain_event(body: bytes) -> Event:
    """An event as the pipeline has it: with data that nobody has looked into."""
    from consumer.core.admission import Admission
    from consumer.core.arrivals import Arrivals
    from consumer.core.catalogue import Catalogue
    from consumer.core.flights import Router

    from .conftest import as_batch

    ((flight,),) = Arrivals(Catalogue(), Admission(None, None), Router([])).of(as_batch(body))
    assert flight.event is not None
    return flight.event


def test_every_operator_says_what_it_compares_with() -> None:
    assert MEANINGS.keys() == set(Operator)
