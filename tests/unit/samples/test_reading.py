"""The oracle reads as strictly as it must, with its own eyes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer.events import Reason
from consumer.samples.poison import BODIES, ELEMENTS
from consumer.samples.reading import BODY_MAX, ELEMENTS_MAX, Read, read_body, read_time, value_of

EVENT: dict[str, Any] = {
    "id": "1",
    "eventType": "Microsoft.Storage.BlobCreated",
    "topic": "/subscriptions/S/providers/Microsoft.Storage/storageAccounts/a",
    "subject": "blobs/A",
    "eventTime": "2026-03-02T08:00:00Z",
}


def body(*elements: Any) -> bytes:
    return json.dumps(list(elements)).encode()


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_a_bare_object_is_an_event_and_an_empty_array_is_none() -> None:
    assert len(read_body(json.dumps(EVENT).encode())) == 1
    assert read_body(b"[]") == []


def test_a_bad_element_costs_only_itself() -> None:
    first, bad, last = read_body(body(EVENT, {"id": "2"}, EVENT))

    assert isinstance(first, Read)
    assert isinstance(last, Read)
    assert bad is Reason.UNKNOWN_SCHEMA


@pytest.mark.parametrize(("note", "reason", "spoil"), BODIES, ids=[note for note, _, _ in BODIES])
def test_poison_is_refused_for_its_reason(note: str, reason: Reason, spoil: Any) -> None:
    (read,) = read_body(spoil(EVENT))

    # That a type is spoofed is not seen by reading.
    assert isinstance(read, Read) if reason is Reason.SPOOFED_TYPE else read is reason, note


@pytest.mark.parametrize(("note", "reason", "spoil"), ELEMENTS, ids=[note for note, _, _ in ELEMENTS])
def test_a_spoiled_element_leaves_its_neighbours_alone(note: str, reason: Reason, spoil: Any) -> None:
    whole = json.dumps(EVENT).encode()

    first, _, last = read_body(b"[" + whole + b"," + spoil(EVENT) + b"," + whole + b"]")

    assert isinstance(first, Read)
    assert first == last


@pytest.mark.parametrize(("levels", "is_taken"), [(30, True), (31, False)])
def test_depth_is_counted_from_the_outer_array(levels: int, is_taken: bool) -> None:
    (read,) = read_body(body(EVENT | {"data": nested(levels)}))

    assert isinstance(read, Read) if is_taken else read is Reason.TOO_DEEP


def test_a_body_has_its_limits() -> None:
    assert read_body(b" " * (BODY_MAX + 1)) == [Reason.TOO_LARGE]
    assert read_body(b"[" + b"1," * ELEMENTS_MAX + b"1]") == [Reason.TOO_MANY_ELEMENTS]


def test_data_that_is_json_in_a_string_is_read_once() -> None:
    (once, twice, text) = read_body(
        body(
            EVENT | {"data": '{"a": 1}'},
            EVENT | {"data": json.dumps('{"a": 1}')},
            EVENT | {"data": "{not json"},
        )
    )

    assert isinstance(once, Read)
    assert isinstance(twice, Read)
    assert isinstance(text, Read)
    assert (once.data, twice.data, text.data) == ({"a": 1}, '"{\\"a\\": 1}"', "{not json")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-03-02T08:00:00Z", "2026-03-02T09:30:00+01:30"),
        ("2026-03-02T08:00:00Z", "2026-03-02T01:00:00.0000000-07:00"),
        ("2026-03-02T08:00:00.1234567Z", "2026-03-02t08:00:00.123456799z"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.9999999"),
    ],
)
def test_two_writings_of_a_time_are_one_time(one: str, other: str) -> None:
    assert read_time(one) is not None
    assert read_time(one) == read_time(other)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-03-02", "2026-13-02T08:00:00Z", "2026/03/02 08:00:00"]
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert read_time(text) is None


def test_a_key_is_found_whatever_its_case_and_exactly_first() -> None:
    assert value_of({"ModelName": 1, "modelName": 2}, "modelName") == 2
    assert value_of({"MODELNAME": 1}, "modelName") == 1
    assert value_of(["modelName"], "modelName") is None
