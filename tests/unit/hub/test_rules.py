"""Addresses, filters, tokens and messages: the service's rules in small."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.hub.addresses import Address, parse_address, parse_selector, start_position
from consumer.hub.codec import CodecError, Described, Symbol, ULong, encode
from consumer.hub.log import EARLIEST, LATEST, Column, StartPosition
from consumer.hub.messages import Incoming, batched, compose, incoming, outgoing, read_content
from consumer.hub.performatives import AmqpError
from consumer.hub.tokens import JWT, SAS, TokenPolicy


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("events", Address("events")),
        ("amqps://host:5672/events", Address("events")),
        ("sb://host/events/", Address("events")),
        ("events/Partitions/3", Address("events", None, "3")),
        ("amqps://h/events/ConsumerGroups/$Default/Partitions/0", Address("events", "$Default", "0")),
        ("events/consumergroups/%24Default/partitions/0", Address("events", "$Default", "0")),
    ],
)
def test_addresses_are_read_with_and_without_a_host(address: str, expected: Address) -> None:
    assert parse_address(address) == expected


@given(st.text(max_size=60))
def test_any_other_address_is_not_found(address: str) -> None:
    try:
        assert parse_address(address).hub
    except AmqpError as error:
        assert error.condition == "amqp:not-found"  # noqa: PT017 - most text is an address


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("amqp.annotation.x-opt-offset > '-1'", StartPosition(Column.OFFSET, -1, inclusive=False)),
        ("amqp.annotation.x-opt-offset > '@latest'", LATEST),
        ("amqp.annotation.x-opt-offset >= '@latest'", LATEST),
        (
            "amqp.annotation.x-opt-sequence-number >= '7'",
            StartPosition(Column.SEQUENCE_NUMBER, 7, inclusive=True),
        ),
        (
            "amqp.annotation.x-opt-enqueued-time > 17",
            StartPosition(Column.ENQUEUED_TIME, 17, inclusive=False),
        ),
    ],
)
def test_filters_say_where_to_start(selector: str, expected: StartPosition) -> None:
    assert parse_selector(selector) == expected
    name = Symbol("apache.org:selector-filter:string")
    assert start_position({name: Described(name, selector)}) == expected
    assert start_position({name: Described(ULong(0x468C00000004), selector)}) == expected


def test_without_a_filter_a_receiver_starts_at_the_beginning() -> None:
    assert start_position({}) == EARLIEST


@pytest.mark.parametrize(
    "selector", ["", "1 = 1", "amqp.annotation.x-opt-colour > '1'", "x-opt-offset > '1'", None, 5]
)
def test_a_filter_that_is_not_understood_is_refused(selector: object) -> None:
    with pytest.raises(AmqpError, match="invalid-field"):
        parse_selector(selector)


@given(st.text(max_size=200), st.sampled_from([SAS, JWT, "other"]))
def test_no_text_is_a_token_for_a_configured_key(token: str, kind: str) -> None:
    with pytest.raises(AmqpError, match="unauthorized"):
        TokenPolicy("name", "secret", lambda: 0).check(kind, token, "sb://host/events")


def signed() -> str:
    from azure.eventhub._pyamqp.utils import generate_sas_token

    token = generate_sas_token("sb://host/events", "name", "secret", 2_000_000_000)
    return token if isinstance(token, str) else token.decode()


@pytest.mark.parametrize(
    ("audience", "now_s", "words"),
    [
        ("sb://host/events", 1_999_999_999, None),
        ("sb://host/EVENTS/consumergroups/$default", 0, None),
        ("sb://host/events", 2_000_000_000, "expired"),
        ("sb://host/events2", 0, "another resource"),
        ("sb://host/other", 0, "another resource"),
    ],
)
def test_a_signed_token_opens_its_resource_until_it_expires(
    audience: str, now_s: int, words: str | None
) -> None:
    policy = TokenPolicy("name", "secret", lambda: now_s * 1_000)
    if words is None:
        policy.check(SAS, signed(), audience)
    else:
        with pytest.raises(AmqpError, match=words):
            policy.check(SAS, signed(), audience)


def test_a_changed_token_is_worth_nothing() -> None:
    with pytest.raises(AmqpError, match="invalid signature"):
        TokenPolicy("name", "secret", lambda: 0).check(
            SAS, signed().replace("2000000000", "2000000001"), "events"
        )


def test_a_senders_own_annotations_are_kept_and_the_hubs_cannot_be_forged() -> None:
    own = encode({Symbol("x-opt-mine"): Symbol("kept"), Symbol("x-opt-sequence-number"): 99})
    event = incoming(b"\x00\x53\x72" + own + b"\x00\x53\x75" + encode(b"body"))
    assert event.annotation_count == 2
    message = outgoing(event, 7, "123", 1_000)
    assert message.count(b"x-opt-sequence-number") == 1
    assert b"\xa3\x0ax-opt-mine\xa3\x04kept" in message
    assert read_content(message).body == b"body"


@given(st.lists(st.tuples(st.binary(max_size=50), st.none() | st.text(max_size=5)), max_size=5))
def test_a_batch_is_its_events(events: list[tuple[bytes, str | None]]) -> None:
    inner = [outgoing(compose(body, None, key), 0, "0", 0) for body, key in events]
    found = batched(b"".join(b"\x00\x53\x75" + encode(message) for message in inner))
    contents = [(read_content(outgoing(event, 0, "0", 0)).body, event.partition_key) for event in found]
    assert contents == events


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_message_or_a_codec_error(data: bytes) -> None:
    for read in (incoming, batched):
        try:
            found = read(data)
        except CodecError:
            continue
        assert isinstance(found, Incoming | list)


@pytest.mark.parametrize(
    "message",
    [
        b"\x00\x53\x75\xa0\x01x\x00\x53\x74\xc1\x01\x00",
        b"\x00\x53\x74\xc1\x01\x00\x00\x53\x74\xc1\x01\x00",
        b"\x00\x53\x6f\x40",
        b"\x40",
        b"\x00\x53\x72\x40",
        b"\x00\x53\x73\xc1\x01\x00",
        b"\x00\x53\x74\xc1\x03\x02\x3f\x3f",
        b"\x00\x53\x75\xa1\x01x",
    ],
)
def test_sections_out_of_order_or_unknown_are_refused(message: bytes) -> None:
    with pytest.raises(CodecError):
        incoming(message)


def test_long_annotations_are_read_too() -> None:
    own = encode({Symbol("x-opt-mine"): "v" * 1_000, Symbol("x-opt-partition-key"): "k"})
    assert own[0] == 0xD1
    event = incoming(b"\x00\x53\x72" + own)
    assert (event.partition_key, event.annotation_count) == ("k", 2)
    assert struct.pack(">I", 1_000) in event.annotations
