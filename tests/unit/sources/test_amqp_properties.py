"""Application properties as they come, decoded late."""

from __future__ import annotations

import uuid

import pytest

from consumer.hub.codec import Array, Described, Symbol, Timestamp, ULong, encode
from consumer.sources.amqp_properties import properties_in, properties_of
from consumer.sources.amqp_values import DEPTH_MAX, MalformedError, decode, elements, places, skip


def test_they_are_a_mapping_of_text_to_values():
    some = uuid.uuid4()
    values = {"aeg-event-type": "Notification", "n": 5, "at": Timestamp(7), "by": b"me", "id": some, "f": 0.5}
    found = properties_of(encode(values | {"kind": Symbol("s"), "list": [1, [True, None]], "map": {"a": 1}}))
    assert found["aeg-event-type"] == "Notification"
    assert dict(found) == values | {"by": "me", "kind": "s", "list": [1, [True, None]], "map": {"a": 1}}
    assert len(found) == 9
    assert found.get("aeg-event-type") == "Notification"
    assert found.get("nothing") is None


def test_a_long_key_is_found():
    assert properties_of(encode({"k" * 300: 1, "k" * 44: 2})).get("k" * 300) == 1
    assert properties_of(encode({"k" * 44: 2})).get("k" * 300) is None


def test_a_key_is_not_found_in_a_value():
    assert properties_of(encode({"a": "key"})).get("key") is None


def test_a_value_that_looks_like_a_key_is_none():
    disguised = (b"\xa1\x01k" + encode("mine")).decode("latin-1")
    for _ in range(2):
        assert properties_of(encode({"a": disguised.encode("latin-1")})).get("k") is None
        assert properties_of(encode({"k": "right", "a": disguised.encode("latin-1")})).get("k") == "right"
        assert properties_of(encode({"a": "x", "k": "right"})).get("k") == "right"


def test_a_column_gives_each_message_its_own():
    one, other = encode({"k": "one"}), encode({"k": "other", "n": 1})
    properties_at = properties_in([b"", one, one, other, b"", one])
    kinds = [properties_at(row).get("k", "none") for row in range(6)]
    assert kinds == ["none", "one", "one", "other", "none", "one"]
    assert [dict(properties_at(row)) for row in (3, 0, 1)] == [{"k": "other", "n": 1}, {}, {"k": "one"}]


def test_messages_in_a_row_with_the_same_bytes_share_what_was_found():
    properties_at = properties_in([encode({"k": 1, "n": 2})] * 2)
    assert properties_at(0) is properties_at(1)
    for row in (0, 1):
        assert properties_at(row).get("k") == 1
        assert properties_at(row).get("n", 5) == 2
        assert properties_at(row).get("nothing", row) == row


def test_instead_of_a_value_that_cannot_be_read_each_asker_gets_a_default_of_its_own():
    value: object = 1
    for _ in range(DEPTH_MAX + 2):
        value = [value]
    properties = properties_of(encode({"k": value}))
    assert [properties.get("k", default) for default in (1, 2)] == [1, 2]
    assert properties.get("k") is None


@pytest.mark.parametrize("encoded", [b"", encode({}), b"\xc1", encode([1]), b"\xc1\x02\x01\x40", b"\x00"])
def test_none_or_malformed_ones_are_empty(encoded):
    assert dict(properties_of(encoded)) == {}
    assert properties_of(encoded).get("a", 3) == 3


def test_a_described_value_is_its_value():
    encoded = encode(Described(ULong(3), "x"))
    assert decode(encoded, 0, len(encoded)) == ("x", len(encoded))


def test_an_array_is_stepped_over():
    encoded = encode(Array(["a", "b"]))
    assert skip(encoded, 0, len(encoded)) == len(encoded)


def test_values_nested_too_deep_are_refused():
    value: object = 1
    for _ in range(DEPTH_MAX + 2):
        value = [value]
    encoded = encode(value)
    with pytest.raises(MalformedError, match="nested"):
        decode(encoded, 0, len(encoded))


@pytest.mark.parametrize(
    "encoded",
    [b"", b"\x81\x00", b"\xa1\x05ab", b"\xb1\x00", b"\x10", b"\x00\x00\x53\x01\x40", b"\x00\x53", b"\x00"],
)
def test_what_is_cut_off_or_unknown_is_refused(encoded):
    with pytest.raises(MalformedError):
        skip(encoded, 0, len(encoded))


@pytest.mark.parametrize("encoded", [b"\xc0\x03\x02\x40\x40\x40", b"\xc0\x02\x09\x40", b"\x40"])
def test_a_list_that_is_not_as_it_says_is_refused(encoded):
    for read in (elements, places):
        with pytest.raises(MalformedError):
            read(encoded, 0, len(encoded))
