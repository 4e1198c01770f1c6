"""What can be configured of a webhook, and what it says of itself."""

from __future__ import annotations

import base64

import pytest
from pydantic import ValidationError

from consumer.processor import Context
from processors.webhook import Webhook

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()


@pytest.mark.parametrize(
    ("given", "flaw"),
    [
        ({}, "give `url` or `url_file`"),
        ({"url": "https://a.example/", "url_file": "x"}, "give `url` or `url_file`"),
        ({"url": "http://a.example/"}, "url: has to begin with https://"),
        ({"url": "https://{data.host}/"}, "url: has a slot before its path"),
        ({"url": "https://a.example:{data.port}/"}, "url: has a slot before its path"),
        ({"url": "{data.url}"}, "url: has a slot before its path"),
        ({"url": "https://a.example/{__class__}"}, "url: has the slot {__class__}, which is none"),
        ({"url": "https://a.example/{data.x"}, "url: has a { without its other half"),
        ({"url": "https://a.example/{data.__class__.y!r}/\n"}, "url: has a character"),
        ({"url": "https://10.0.0.1/"}, "url: leads to 10.0.0.1, which is private"),
        ({"headers": {"X Y": "1"}}, "'X Y' cannot be the name of a header"),
        ({"headers": {"X\r\nY": "1"}}, "cannot be the name of a header"),
        ({"headers": {"X": "1\r\nY: 2"}}, "the value of X has a character that a header cannot have"),
        ({"headers": {"X": ""}}, "the value of X is empty"),
        ({"headers": {"X": "é"}}, "the value of X has a character"),
        ({"headers": {"Content-Length": "1"}}, "Content-Length is set by inturn itself"),
        ({"headers": {"host": "evil.example"}}, "host is set by inturn itself"),
        ({"headers": {"CE-Id": "1"}}, "CE-Id is set by inturn itself"),
        ({"headers": {"webhook-signature": "v1,x"}}, "webhook-signature is set by inturn itself"),
        ({"headers": {"A": "1"}, "header_files": {"a": "x"}}, "a stands in `headers` and in `header_files`"),
        ({"signing_secret": "hunter2"}, "is no signing secret"),
        ({"signing_secret": SECRET, "signing_secret_file": "x"}, "not both"),
        ({"handshake": "required"}, "needs an `origin`"),
        ({"handshake": "required", "origin": "a b"}, "origin"),
        ({"batch": True, "body": "cloudevents_binary"}, "`batch` cannot be"),
        ({"batch": True, "url": "https://a.example/{subject}"}, "`batch` cannot be"),
        ({"verify": False}, "verify"),
        ({"url": "https://a.example/hook?v=1&sig=hunter2"}, "url: holds a key: give the URL in `url_file`"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given, flaw):
    known = {} if {"url", "url_file"} & given.keys() or not given else {"url": "https://a.example/"}
    with pytest.raises(ValidationError) as refusal:
        Webhook.Settings(**known, **given)
    assert flaw in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_preview_shows_the_request_without_what_is_secret(event):
    settings = Webhook.Settings(
        url="https://a.example/{data.modelName}?api_key=hunter2&v={model_version}",
        headers={"Authorization": "hunter2"},
        signing_secret=SECRET,
    )
    made = event(original=b'{"id":"1","eventType":"T","topic":"/t","subject":"s","data":{"a":1}}')
    assert Webhook(settings).preview(made, Context("hook", 1, [made], lambda event: f"key-{event.id}")) == {
        "method": "POST",
        "url": "https://a.example/fraud?api_key=***&v=3",
        "headers": {
            "Authorization": "***",
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": "key-id-7",
        },
        "signed": True,
        "body": {
            "specversion": "1.0",
            "id": "1",
            "type": "T",
            "source": "/t",
            "subject": "s",
            "datacontenttype": "application/json",
            "data": {"a": 1},
        },
    }
    assert "hunter2" not in repr(settings)
