"""Decoding: what an event is, what it is not, and that a bad one costs only itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.decode import Rejection
from consumer.events import Event, Reason, Schema

from .conftest import STORAGE, cloud_event, compact, decoded, grid_event, one

GOOD = compact(grid_event())


def nested(levels: int) -> bytes:
    """An event whose containers are nested that deeply, itself included."""
    inner = b"[" * (levels - 1) + b"]" * (levels - 1)
    return compact(grid_event(data="HERE")).replace(b'"HERE"', inner)


def with_data(data: bytes) -> bytes:
    return compact(grid_event(data="HERE")).replace(b'"HERE"', data)


def with_members(members: bytes) -> bytes:
    """An event with further members at its end."""
    return GOOD[:-1] + b"," + members + b"}"


BAD_BODIES = {
    "empty": (b"", Reason.INVALID_JSON),
    "blank": (b" \n", Reason.INVALID_JSON),
    "prose": (b"hello", Reason.INVALID_JSON),
    "cut short": (b"[" + GOOD[:-5], Reason.INVALID_JSON),
    "trailing comma": (b"[" + GOOD + b",]", Reason.INVALID_JSON),
    "two documents": (b"[" + GOOD + b"] []", Reason.INVALID_JSON),
    "byte order mark": (b"\xef\xbb\xbf[" + GOOD + b"]", Reason.INVALID_JSON),
    "UTF-16 with a mark": (GOOD.decode().encode("utf-16"), Reason.NOT_UTF8),
    "UTF-16 without": (GOOD.decode().encode("utf-16-le"), Reason.INVALID_JSON),
    "Latin-1": (with_data(b'"caf\xe9"'), Reason.NOT_UTF8),
    "overlong UTF-8": (with_data(b'"\xc0\xaf"'), Reason.NOT_UTF8),
    "NaN": (with_data(b'{"n":NaN}'), Reason.NOT_A_NUMBER),
    "Infinity": (with_data(b'{"n":Infinity}'), Reason.NOT_A_NUMBER),
    "minus Infinity": (with_data(b'{"n":-Infinity}'), Reason.NOT_A_NUMBER),
    # These are JSON, but no number that we can hold.
    "1e999": (with_data(b'{"n":1e999}'), Reason.INVALID_JSON),
    "5,000 digits": (with_data(b'{"n":' + b"9" * 5_000 + b"}"), Reason.INVALID_JSON),
    "duplicate key": (with_members(b'"topic":"/other"'), Reason.DUPLICATE_KEY),
    "duplicate key, spaced": (with_members(b'"topic" : "/other"'), Reason.DUPLICATE_KEY),
    "duplicate key, escaped": (with_members(b'"t\\u006fpic":"/other"'), Reason.DUPLICATE_KEY),
    "duplicate key, same value": (with_members(b'"id":"1"'), Reason.DUPLICATE_KEY),
    "duplicate key, nested": (with_data(b'{"a":{"b":1,"b":1}}'), Reason.DUPLICATE_KEY),
    "duplicate key, in an array": (with_data(b'[[{"b":1,"\\u0062":2}]]'), Reason.DUPLICATE_KEY),
    "duplicate empty key": (with_data(b'{"":1,"":2}'), Reason.DUPLICATE_KEY),
    "lone high surrogate": (with_data(b'"\\ud83d"'), Reason.LONE_SURROGATE),
    "lone low surrogate": (with_data(b'"\\ude00"'), Reason.LONE_SURROGATE),
    "lone surrogate in a key": (with_data(b'{"\\ud83dx":1}'), Reason.LONE_SURROGATE),
    "surrogates the wrong way round": (with_data(b'"\\ude00\\ud83d"'), Reason.LONE_SURROGATE),
    "33 levels": (nested(33), Reason.TOO_DEEP),
    "1,025 levels": (nested(1_025), Reason.TOO_DEEP),
    "100,000 levels": (nested(100_000), Reason.TOO_DEEP),
    "too large": (b"[" + b" " * 1_048_576 + b"]", Reason.TOO_LARGE),
    "5,001 elements": (b"[" + b",".join([b"1"] * 5_001) + b"]", Reason.TOO_MANY_ELEMENTS),
    "5,001 elements, one of them bad": (
        b"[" + b",".join([b"1"] * 5_000) + b",NaN]",
        Reason.TOO_MANY_ELEMENTS,
    ),
    "a number": (b"7", Reason.NOT_AN_OBJECT),
    "text": (b'"event"', Reason.NOT_AN_OBJECT),
    "null": (b"null", Reason.NOT_AN_OBJECT),
    "array in an array": (b"[[" + GOOD + b"]]", Reason.NOT_AN_OBJECT),
    "foreign JSON": (b'{"temperature":21}', Reason.UNKNOWN_SCHEMA),
    "empty object": (b"{}", Reason.UNKNOWN_SCHEMA),
    "CloudEvents 0.1": (
        compact(cloud_event(specversion=None, cloudEventsVersion="0.1")),
        Reason.UNKNOWN_SCHEMA,
    ),
    "CloudEvents 0.3": (compact(cloud_event(specversion="0.3")), Reason.UNKNOWN_SCHEMA),
    "specversion as a number": (compact(cloud_event(specversion=1.0)), Reason.UNKNOWN_SCHEMA),
    "misspelt specVersion": (
        compact(cloud_event(specversion=None, specVersion="1.0")),
        Reason.UNKNOWN_SCHEMA,
    ),
    "both schemas": (compact(cloud_event(eventType="x")), Reason.HYBRID_SCHEMA),
    **{
        f"no {name}": (compact(grid_event(**{name: None})), Reason.MISSING_FIELD)
        for name in ("id", "topic", "subject")
    },
    **{
        f"no {name}, CloudEvents": (compact(cloud_event(**{name: None})), Reason.MISSING_FIELD)
        for name in ("id", "source", "subject", "type")
    },
    "empty id": (compact(grid_event(id="")), Reason.MISSING_FIELD),
    "null type": (GOOD.replace(b'"Microsoft.Storage.BlobCreated"', b"null"), Reason.MISSING_FIELD),
    "id as a number": (compact(grid_event(id=7)), Reason.WRONG_TYPE),
    "subject as an array": (compact(grid_event(subject=["a"])), Reason.WRONG_TYPE),
    "topic as false": (compact(grid_event(topic=False)), Reason.WRONG_TYPE),
    "time as a number": (compact(grid_event(eventTime=1_795_262_400)), Reason.WRONG_TYPE),
    "time with slashes": (compact(grid_event(eventTime="2026/05/24 22:57:29.3260160")), Reason.BAD_TIME),
    "empty time": (compact(cloud_event(time="")), Reason.BAD_TIME),
    "leap second": (compact(cloud_event(time="2026-12-31T23:59:60Z")), Reason.BAD_TIME),
}


@pytest.mark.parametrize(("body", "reason"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_what_is_not_an_event_is_rejected_with_its_reason_and_its_bytes(body: bytes, reason: Reason) -> None:
    (rejection,) = decoded(body)

    assert isinstance(rejection, Rejection)
    assert rejection.reason is reason
    assert rejection.original in body
    assert 0 < len(rejection.error) <= 1_000
    assert "\n" not in rejection.error


def test_every_reason_of_decoding_is_in_the_table() -> None:
    other = {
        Reason.TOPIC,
        Reason.TYPE,
        Reason.CONTROL,
        Reason.FILTER,
        Reason.SPOOFED_TYPE,
        Reason.REJECTED,
        Reason.RETRIES_SPENT,
        Reason.PARKED,
    }

    assert {reason for _, reason in BAD_BODIES.values()} == set(Reason) - other


BAD_ELEMENTS = {
    name: (body, reason)
    for name, (body, reason) in BAD_BODIES.items()
    if body.strip()
    and name
    not in {
        # Without whole brackets and strings nobody can say where an element ends.
        *("prose", "cut short", "two documents", "byte order mark", "UTF-16 with a mark", "UTF-16 without"),
        *("trailing comma", "too large", "5,001 elements", "5,001 elements, one of them bad"),
        "array in an array",
    }
}


@pytest.mark.parametrize(("bad", "reason"), BAD_ELEMENTS.values(), ids=BAD_ELEMENTS)
def test_a_bad_element_costs_only_itself(bad: bytes, reason: Reason) -> None:
    first, last = compact(grid_event(id="first")), compact(cloud_event(id="last"))

    entries = decoded(b"[ " + first + b",\n" + bad + b" , " + last + b"]")

    assert [type(entry) for entry in entries] == [Event, Rejection, Event]
    assert [entry.position.index for entry in entries] == [0, 1, 2]
    assert [entry.original for entry in entries] == [first, bad, last]
    assert entries[1].reason is reason


@pytest.mark.parametrize("make", [grid_event, cloud_event])
@pytest.mark.parametrize("wrap", ["{}", "[{}]", " [ {} ]\r\n", "\t{} "])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_event_is_taken_bare_or_in_an_array_compact_or_pretty(make, wrap: str, indent: int | None) -> None:
    written = json.dumps(make(), indent=indent)

    event = one(wrap.replace("{}", written).encode())

    assert (event.id, event.topic, event.type) == ("1", STORAGE, "Microsoft.Storage.BlobCreated")
    assert json.loads(event.original) == make()
    assert event.schema is (Schema.EVENT_GRID if make is grid_event else Schema.CLOUD_EVENTS)
    assert event.event_time is not None
    assert event.event_time.isoformat() == "2026-11-21T06:00:00.123456+00:00"


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b"[\n]"])
def test_an_empty_array_holds_no_event(body: bytes) -> None:
    assert decoded(body) == []


def test_the_schema_is_decided_for_each_element() -> None:
    entries = decoded(compact([grid_event(), cloud_event()]))

    assert [entry.schema for entry in entries if isinstance(entry, Event)] == ["eventgrid", "cloudevents"]


def test_5_000_events_in_one_body_are_taken() -> None:
    body = compact([{"id": str(i), "subject": "s", "topic": "/t", "eventType": "T"} for i in range(5_000)])

    assert [entry.position.index for entry in decoded(body)] == list(range(5_000))


def test_32_levels_are_taken_and_the_array_around_an_event_is_one_of_them() -> None:
    assert one(nested(32)).original == nested(32)
    assert one(b"[" + nested(31) + b"]").original == nested(31)
    (rejection,) = decoded(b"[" + nested(32) + b"]")
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.TOO_DEEP


@pytest.mark.parametrize("rest", [b"]", b"] ]", b",", b"} ]", b'] "'])
def test_a_body_that_is_too_deep_and_whose_brackets_do_not_match_is_refused_whole(rest: bytes) -> None:
    body = b"[" + GOOD + b"," + b"[" * 5_000 + rest

    assert [entry.original for entry in decoded(body)] == [body]


def test_braces_in_text_are_no_levels() -> None:
    assert one(with_data(b'{"t":"' + b"[{" * 100 + b'"}')).data == {"t": "[{" * 100}


def test_a_body_of_exactly_one_mebibyte_is_taken() -> None:
    assert one(GOOD + b" " * (1_048_576 - len(GOOD))).id == "1"


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert one(with_data(b'{"t":"\\ud83d\\ude00"}')).data == {"t": "\N{GRINNING FACE}"}


@pytest.mark.parametrize(
    ("written", "data"),
    [
        ('{"a":{"b":1}}', {"a": {"b": 1}}),
        ("[1,2]", [1, 2]),
        (json.dumps(json.dumps({"a": 1})), json.dumps(json.dumps({"a": 1}))),
        ('{"a":"{\\"b\\":1}"}', {"a": '{"b":1}'}),
        ("{not json", "{not json"),
        ('{"a":1,"a":2}', '{"a":1,"a":2}'),
        ("7", "7"),
        ("text", "text"),
    ],
)
def test_data_that_is_json_in_text_is_decoded_once(written: str, data: Any) -> None:
    assert one(compact(grid_event(data=written))).data == data


def test_an_event_without_data_or_time_is_an_event() -> None:
    event = one(compact(cloud_event(data=None, time=None)))

    assert (event.data, event.event_time, event.ordered_by) == (None, None, "arrival")


def test_unknown_fields_and_those_of_a_dead_letter_blob_are_kept_in_the_bytes() -> None:
    extra = {
        "deadLetterReason": "MaxDeliveryAttemptsExceeded",
        "deliveryAttempts": 3,
        "lastDeliveryOutcome": "NotFound",
        "publishTime": "2026-11-21T06:00:00.0000000Z",
        "lastDeliveryAttemptTime": "2026-11-21T06:05:00.0000000Z",
        "somethingNew": {"a": [1]},
    }
    event = one(compact([grid_event(**extra)]))

    assert {key: json.loads(event.original)[key] for key in extra} == extra


def test_what_is_refused_for_its_envelope_is_still_named_as_far_as_it_goes() -> None:
    (rejection,) = decoded(compact(grid_event(id="7", eventTime="never")))

    assert isinstance(rejection, Rejection)
    named = (rejection.event_id, rejection.event_type, rejection.topic)
    assert named == ("7", "Microsoft.Storage.BlobCreated", STORAGE)


@given(st.binary(max_size=60))
def test_no_bytes_at_all_make_it_raise(body: bytes) -> None:
    assert all(isinstance(entry, Rejection) for entry in decoded(body))


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(json_values, min_size=2, max_size=4), st.sampled_from([None, 1]), st.booleans())
def test_every_element_has_one_entry_whose_bytes_mean_the_same(
    values, indent: int | None, ascii_: bool
) -> None:
    body = json.dumps(values, indent=indent, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")

    entries = decoded(body)

    assert [entry.position.index for entry in entries] == list(range(len(values)))
    assert [json.dumps(json.loads(entry.original)) for entry in entries] == [
        json.dumps(value) for value in values
    ]
