"""From the client's messages to columns."""

from __future__ import annotations

import pytest
from azure.eventhub import EventData
from azure.eventhub.amqp import AmqpAnnotatedMessage

from consumer.errors import SourceUnavailable
from consumer.sources.eventhub_batches import raw_batch


def message(number: int | None = 7, properties=None, key=None, **body) -> EventData:
    annotations = {b"x-opt-offset": b"4096", b"x-opt-enqueued-time": 1_795_240_810_123}
    if number is not None:
        annotations[b"x-opt-sequence-number"] = number
    if key is not None:
        annotations[b"x-opt-partition-key"] = key
    event = EventData("")
    event._raw_amqp_message = AmqpAnnotatedMessage(
        **body or {"data_body": b"{}"}, annotations=annotations, application_properties=properties
    )
    return event


def test_columns_stand_beside_each_other():
    batch = raw_batch("3", [message(7, key=b"k\xc3\xa4"), message(8)], 12)
    assert batch.partition == "3"
    assert batch.sequence_numbers == [7, 8]
    assert batch.offsets == ["4096", "4096"]
    assert batch.enqueued_times_ms == [1_795_240_810_123] * 2
    assert batch.partition_keys == ["kä", None]
    assert batch.newest_sequence_number == 12


def test_a_body_of_several_sections_is_joined():
    assert raw_batch("0", [message(data_body=[b'{"a":', b"1}"])], None).bodies == [b'{"a":1}']


@pytest.mark.parametrize(
    ("value", "expected"), [(b'{"a":1}', b'{"a":1}'), ('{"a":1}', b'{"a":1}'), (5, b"5"), (None, b"")]
)
def test_a_body_that_is_a_value_is_handed_on_as_text(value, expected):
    assert raw_batch("0", [message(value_body=value)], None).bodies == [expected]


def test_properties_are_text_and_only_made_when_asked_for():
    batch = raw_batch(
        "0",
        [message(properties={b"aeg-event-type": b"Notification", "n": 5, b"\xff": b"\xfe"}), message()],
        None,
    )
    assert batch.properties_at(0) == {"aeg-event-type": "Notification", "n": 5, "�": "�"}
    assert batch.properties_at(1) == {}


def test_a_message_without_a_sequence_number_is_no_event_of_a_hub():
    with pytest.raises(SourceUnavailable, match="without a sequence number"):
        raw_batch("0", [message(None)], None)
