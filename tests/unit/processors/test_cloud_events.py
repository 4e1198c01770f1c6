"""Events as CloudEvents: nothing lost, nothing added, data to the byte."""

from __future__ import annotations

import base64
from urllib.parse import unquote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events import Schema
from consumer.processor import Reject
from processors import cloud_events

GRID = (
    b'{"id":"1","topic":"/subscriptions/s/workspaces/w","subject":"models/a:1","eventType":"T.Registered",'
    b'"eventTime":"2026-11-21T06:00:00.1234567Z","dataVersion":"2","metadataVersion":"1",'
    b'"data":{ "modelName" : "a\\u00e9", "n": 1.0, "big": 12345678901234567890123 }}'
)
CLOUD = (
    b'{ "specversion":"1.0", "id":"1", "source":"/s", "type":"T", "subject":"models/a:1",'
    b'"time":"2026-11-21T06:00:00Z","traceparent":"00-ab-cd-01","flag":true,"count":7,"none":null,'
    b'"data":{ "a" : 1 } }'
)


def cloud(event, **members):
    body = orjson.dumps({"specversion": "1.0", "id": "1", "source": "/s", "type": "T", **members})
    return event(original=body, schema=Schema.CLOUD_EVENTS)


def test_an_event_of_event_grid_becomes_a_cloud_event(event):
    content = cloud_events.structured(event(original=GRID))
    assert content.headers == {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    assert content.body == (
        b'{"specversion":"1.0","id":"1","type":"T.Registered","source":"/subscriptions/s/workspaces/w",'
        b'"subject":"models/a:1","time":"2026-11-21T06:00:00.1234567Z","dataversion":"2","metadataversion":"1",'
        b'"datacontenttype":"application/json",'
        b'"data":{ "modelName" : "a\\u00e9", "n": 1.0, "big": 12345678901234567890123 }}'
    )


def test_empty_versions_are_left_out(event):
    grid = {"id": "1", "topic": "/t", "subject": "s", "eventType": "T", "eventTime": "x", "dataVersion": ""}
    content = cloud_events.structured(event(original=orjson.dumps({**grid, "metadataVersion": None})))
    assert set(orjson.loads(content.body)) == {
        *("specversion", "id", "type", "source", "subject", "time", "datacontenttype")
    }


def test_a_topic_that_is_no_uri_is_encoded_and_one_that_is_stays(event):
    grid = {"id": "1", "topic": "/a b\r\n%41é?x=[1]", "subject": "s", "eventType": "T", "eventTime": "x"}
    content = cloud_events.structured(event(original=orjson.dumps(grid)))
    assert orjson.loads(content.body)["source"] == "/a%20b%0D%0A%41%C3%A9?x=[1]"


def test_a_cloud_event_goes_out_as_it_came(event):
    made = event(original=CLOUD, schema=Schema.CLOUD_EVENTS)
    assert cloud_events.structured(made).body == CLOUD


def test_in_binary_form_data_is_the_body_and_attributes_are_headers(event):
    content = cloud_events.binary(event(original=CLOUD, schema=Schema.CLOUD_EVENTS))
    assert content.body == b'{ "a" : 1 }'
    assert content.headers == {
        "Content-Type": "application/json; charset=utf-8",
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/s",
        "ce-type": "T",
        "ce-subject": "models/a:1",
        "ce-time": "2026-11-21T06:00:00Z",
        "ce-traceparent": "00-ab-cd-01",
        "ce-flag": "true",
        "ce-count": "7",
    }


def test_an_event_of_event_grid_has_a_binary_form_too(event):
    content = cloud_events.binary(event(original=GRID))
    assert content.body == b'{ "modelName" : "a\\u00e9", "n": 1.0, "big": 12345678901234567890123 }'
    assert content.headers["ce-type"] == "T.Registered"
    assert content.headers["ce-dataversion"] == "2"
    assert content.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("members", "body", "media_type"),
    [
        ({"data": "<a/>", "datacontenttype": "application/xml"}, b"<a/>", "application/xml"),
        (
            {"data": "text", "datacontenttype": "text/plain; charset=utf-8"},
            b"text",
            "text/plain; charset=utf-8",
        ),
        ({"data": "text", "datacontenttype": "application/json"}, b'"text"', "application/json"),
        (
            {"data": "text", "datacontenttype": "application/problem+json"},
            b'"text"',
            "application/problem+json",
        ),
        ({"data": "text"}, b'"text"', "application/json; charset=utf-8"),
        ({"data": {"a": 1}, "datacontenttype": "application/xml"}, b'{"a":1}', "application/xml"),
        ({"data_base64": "AAEC", "datacontenttype": "image/png"}, b"\x00\x01\x02", "image/png"),
        ({"datacontenttype": "text/plain"}, b"", "text/plain"),
        ({}, b"", "application/json; charset=utf-8"),
    ],
)
def test_the_body_of_the_binary_form_is_what_the_media_type_says(event, members, body, media_type):
    content = cloud_events.binary(cloud(event, **members))
    assert (content.body, content.headers["Content-Type"]) == (body, media_type)


def test_the_example_of_the_specification_is_encoded_as_it_says(event):
    content = cloud_events.binary(cloud(event, subject="Euro € 😀"))
    assert content.headers["ce-subject"] == "Euro%20%E2%82%AC%20%F0%9F%98%80"


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50))
def test_whatever_an_attribute_holds_its_header_is_visible_ascii_and_can_be_read_back(text):
    from consumer.events import Event

    body = orjson.dumps({"specversion": "1.0", "id": text, "source": "/s", "type": "T"})
    made = Event(
        "", "", "", "", Schema.CLOUD_EVENTS, 0, 0, "0", 0, 0, b"", "", "", "event_time", 0, body, False, None
    )
    header = cloud_events.binary(made).headers["ce-id"]
    assert all("\x21" <= character <= "\x7e" and character != '"' for character in header)
    assert unquote(header, errors="strict") == text


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"bad-name": "x"}, "has a name that no header can have"),
        ({"x\r\nhost": "evil"}, "has a name that no header can have"),
        ({"Upper": "x"}, "has a name that no header can have"),
        ({"": "x"}, "has a name that no header can have"),
        ({"nested": {"a": 1}}, "is neither text, nor an integer"),
        ({"fraction": 1.5}, "is neither text, nor an integer"),
        ({"datacontenttype": "text/plain\r\nHost: evil"}, "is no media type"),
        ({"datacontenttype": ""}, "is no media type"),
        ({"data_base64": "%%%"}, "is no Base64"),
        ({"subject": "x" * 20_000}, "more than 16384 bytes as headers"),
    ],
)
def test_what_no_header_can_hold_is_refused_and_not_left_out(event, members, reason):
    with pytest.raises(Reject, match=reason):
        cloud_events.binary(cloud(event, **members))


def test_a_batch_is_an_array_in_order(event):
    content = cloud_events.batch([event(original=GRID), event(original=CLOUD, schema=Schema.CLOUD_EVENTS)])
    assert content.headers["Content-Type"] == "application/cloudevents-batch+json; charset=utf-8"
    assert [one["type"] for one in orjson.loads(content.body)] == ["T.Registered", "T"]
    assert content.body.endswith(b"," + CLOUD + b"]")


def test_original_is_what_event_grid_would_have_sent(event):
    grid, of_cloud = event(original=GRID), event(original=CLOUD, schema=Schema.CLOUD_EVENTS)
    alone = cloud_events.original([grid])
    assert alone.body == b"[" + GRID + b"]"
    assert alone.headers["aeg-event-type"] == "Notification"
    assert cloud_events.original([grid, grid]).body == b"[" + GRID + b"," + GRID + b"]"
    assert cloud_events.original([of_cloud]) == cloud_events.structured(of_cloud)
    assert cloud_events.original([of_cloud, of_cloud]) == cloud_events.batch([of_cloud, of_cloud])
    with pytest.raises(Reject, match="different schemas"):
        cloud_events.original([grid, of_cloud])


def test_data_in_base64_is_what_it_was(event):
    data = bytes(range(256))
    made = cloud(
        event, data_base64=base64.b64encode(data).decode(), datacontenttype="application/octet-stream"
    )
    assert cloud_events.binary(made).body == data
