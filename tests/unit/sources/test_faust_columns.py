"""Kafka's records become columns, and log time of a re-key partition is that of the slowest log."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.sources.faust_columns import (
    ORIGIN,
    LogTime,
    Origin,
    header_value,
    keyed_batch,
    origin_of,
    rekeyed_batch,
)


@dataclass
class Message:
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = b"{}"
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def rekeyed(offset: int, partition: int, time_ms: int) -> Message:
    return Message(offset, 1, b"k", headers=[Origin(partition, offset, 0, time_ms).header()])


@given(st.builds(Origin, *[st.integers(-1, 2**40)] * 4))
def test_where_a_message_came_from_can_be_read_back(origin):
    assert origin_of(Message(headers=[("other", b"1"), origin.header()])) == origin


@pytest.mark.parametrize("value", [b"", b"1/2/3", b"a/b/c/d", b"\xff"])
def test_a_header_of_ours_that_somebody_else_wrote_says_nothing(value):
    assert origin_of(Message(headers=[(ORIGIN, value)])) is None


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1_000)), max_size=50),
)
def test_log_time_is_that_of_the_slowest_log(partitions, heard):
    log_time = LogTime(partitions)
    newest = dict.fromkeys(range(partitions), 0)
    for partition, time_ms in heard:
        log_time.observe(partition, time_ms)
        if partition in newest:
            newest[partition] = max(newest[partition], time_ms)
        assert log_time.time_ms == min(newest.values())


def test_a_rekeyed_message_keeps_the_time_at_which_it_was_enqueued_at_first():
    log_time = LogTime(2)
    messages = [rekeyed(0, 0, 500), rekeyed(1, 1, 100), rekeyed(2, 1, 300)]
    batch = rekeyed_batch("3", messages, 9, log_time)
    assert batch.enqueued_times_ms == [500, 100, 300]
    assert batch.watermarks_ms == [0, 100, 300]
    assert batch.newest_sequence_number == 9


def test_what_somebody_else_sent_to_a_rekey_topic_moves_no_log_time():
    log_time = LogTime(1)
    batch = rekeyed_batch("0", [rekeyed(0, 0, 500), Message(1, 700)], None, log_time)
    assert batch.enqueued_times_ms == [500, 700]
    assert batch.watermarks_ms == [500, 500]


def test_our_own_header_is_no_property_of_the_event():
    message = Message(headers=[Origin(0, 0, 0, 0).header(), ("aeg-event-type", b"Notification")])
    batch = keyed_batch("0", [message], None, is_event_hubs=False)
    assert batch.properties_at(0) == {"aeg-event-type": "Notification"}


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (b"\xa1\x0cNotification", "Notification"),
        (b"\xa3\x03sym", "sym"),
        (b"\xb1\x00\x00\x00\x02hi", "hi"),
        (b"\x83\x00\x00\x00\x00\x00\x00\x00\x07", 7),
        (b"plain", "plain"),
        ("grün".encode(), "grün"),
        (b"", ""),
        (b"\xa1\x7fcut off", b"\xa1\x7fcut off"),
    ],
)
def test_a_header_from_event_hubs_is_what_its_sender_meant(value, meant):
    assert header_value(value, is_event_hubs=True) == meant


def test_a_header_of_another_kafka_is_never_taken_for_an_encoded_one():
    assert header_value(b"\xa1\x02hi", is_event_hubs=False) == b"\xa1\x02hi"
