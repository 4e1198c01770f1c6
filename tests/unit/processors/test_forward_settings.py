"""What may be configured of forwarding, and where it leads."""

from __future__ import annotations

import sys

import pytest
from pydantic import ValidationError

from consumer.errors import ProcessorSettingsError
from processors.forward import Forward
from processors.forward_settings import ForwardSettings

KEY = "SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0"
AZURE = f"Endpoint=sb://Contoso.servicebus.windows.net/;{KEY}"
LOCAL = f"Endpoint=sb://127.0.0.1:5672;{KEY};UseDevelopmentEmulator=true"
KAFKA = {"bootstrap": "one:9092,two:9092", "topic": "events"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "no target"),
        ({"hub": "h"}, "exactly one of"),
        ({"hub": "h", "namespace": "n", "connection_string": AZURE}, "exactly one of"),
        ({"namespace": "n.servicebus.windows.net"}, "no target"),
        ({"hub": "h", "kafka": KAFKA}, "hub has no effect"),
        ({"hub": "h", "connection_string": "c2VjcmV0"}, "is not a connection string"),
        ({"hub": "h", "connection_string": f"{AZURE};EntityPath=other"}, "is for another hub"),
        ({"hub": "h", "connection_string": LOCAL.replace("127.0.0.1", "hub")}, "not this machine"),
        ({"kafka": {**KAFKA, "username": "u"}}, "no effect with the mechanism none"),
        ({"kafka": {**KAFKA, "mechanism": "plain", "username": "u"}}, "either password or password_file"),
        ({"kafka": {**KAFKA, "tls": False, "ca_file": "ca.pem"}}, "no effect without tls"),
        ({"hub": "h", "connection_string": AZURE, "partition_key": "data"}, "match pattern"),
        ({"hub": "h", "connection_string": AZURE, "partition_key": "topic"}, "match pattern"),
    ],
)
def test_what_cannot_work_is_refused_without_a_word_of_the_secret(fields, message):
    with pytest.raises(ValidationError, match=message) as raised:
        ForwardSettings.model_validate(fields)
    assert "c2VjcmV0" not in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({"hub": "Events", "connection_string": AZURE}, [("contoso.servicebus.windows.net", "events")]),
        ({"hub": "h", "connection_string": LOCAL}, [("127.0.0.1:5672", "h")]),
        ({"hub": "h", "namespace": "N.servicebus.windows.net"}, [("n.servicebus.windows.net", "h")]),
        ({"hub": "h", "namespace": "n.servicebus.windows.net:5671"}, [("n.servicebus.windows.net", "h")]),
        ({"kafka": KAFKA}, [("one", "events"), ("two", "events")]),
    ],
)
def test_it_is_known_where_events_go(fields, places):
    assert ForwardSettings.model_validate(fields).places == places


def test_a_plain_host_that_is_listed_is_taken():
    text = LOCAL.replace("127.0.0.1", "hub")
    settings = ForwardSettings(hub="h", connection_string=text, allow_plaintext_hosts=("hub",))
    assert settings.place == ("hub", "h")


def test_without_the_extra_kafka_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "processors.forward_kafka", raising=False)
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    with pytest.raises(ProcessorSettingsError, match=r"pip install 'inturn\[kafka\]'"):
        Forward(ForwardSettings.model_validate({"kafka": KAFKA}))
