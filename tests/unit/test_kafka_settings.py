"""What may be said of a Kafka source, and what is refused at once."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from consumer.kafka_settings import KafkaSource

LEAST = {"type": "kafka", "bootstrap": "broker:9092", "topic": "events", "placement": "keyed"}
SPREAD = LEAST | {"placement": "spread", "rekey_topic": "by-object"}


def read(**fields: object) -> KafkaSource:
    return TypeAdapter(KafkaSource).validate_python({**LEAST, **fields})


def test_keyed_events_are_read_where_they_are():
    assert read().read_topic == "events"


def test_spread_events_are_read_where_they_are_sent_on_to():
    assert read(**SPREAD).read_topic == "by-object"


def test_how_events_are_placed_has_to_be_written_down():
    with pytest.raises(ValidationError, match="placement"):
        TypeAdapter(KafkaSource).validate_python({**LEAST, "placement": None})


def test_the_connection_is_encrypted_unless_somebody_says_no():
    assert read().security.tls


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"placement": "spread"}, "need a topic"),
        ({"rekey_topic": "other"}, "has no effect"),
        (SPREAD | {"rekey_topic": "events"}, "another topic"),
        ({"bootstrap": "broker"}, "bootstrap"),
        ({"security": {"mechanism": "plain"}}, "needs one of password and password_file"),
        ({"security": {"mechanism": "plain", "password": "x"}}, "needs a username"),
        ({"security": {"mechanism": "connection_string"}}, "needs one of connection_string"),
        ({"security": {"username": "me"}}, "has no effect with the mechanism none"),
        ({"security": {"mechanism": "identity", "tls": False}}, "encrypted connections only"),
    ],
)
def test_what_contradicts_itself_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        read(**fields)


def test_a_password_is_read_from_its_file(tmp_path):
    (tmp_path / "secret").write_text("hush\n")
    security = {"mechanism": "scram-sha-512", "username": "me", "password_file": tmp_path / "secret"}
    secret = read(security=security).security.secret()
    assert secret is not None
    assert secret.get_secret_value() == "hush"
