"""The codec keeps values, agrees with the Python client's own codec, and knows one error only."""

import math
import uuid
from contextlib import suppress
from typing import Any

import pytest
from azure.eventhub._pyamqp._decode import decode_payload
from azure.eventhub._pyamqp._encode import encode_payload
from azure.eventhub._pyamqp.message import Message
from hypothesis import given
from hypothesis import strategies as st

from consumer.hub import codec
from consumer.hub.codec import Array, CodecError, Described, Symbol, Timestamp, UByte, UInt, ULong, UShort

ascii_text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=300)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 2**8 - 1).map(UByte)
    | st.integers(0, 2**16 - 1).map(UShort)
    | st.integers(0, 2**32 - 1).map(UInt)
    | st.integers(0, 2**64 - 1).map(ULong)
    | st.integers(-(2**31), 2**31 - 1).map(codec.Int)
    | st.integers(-(2**63), 2**63 - 1).map(Timestamp)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | ascii_text.map(Symbol)
    | st.uuids()
)
arrays = st.lists(st.text(max_size=9), max_size=9).map(Array) | st.lists(
    ascii_text.map(Symbol), max_size=9
).map(Array)
values = st.recursive(
    scalars | arrays,
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(ascii_text.map(Symbol) | st.text(max_size=9) | st.uuids(), inner, max_size=9)
        | st.builds(Described, st.integers(0, 2**64 - 1).map(ULong) | ascii_text.map(Symbol), inner)
    ),
    max_leaves=20,
)


@given(values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    encoded = codec.encode(value)
    assert codec.decode(encoded) == (value, len(encoded))


@given(values, st.binary(max_size=20))
def test_skipping_a_value_ends_where_decoding_it_ends(value: Any, rest: bytes) -> None:
    if isinstance(value, Described) and isinstance(value.value, Described):
        return  # AMQP has no such value outside of this codec's nesting
    encoded = codec.encode(value)
    assert codec.skip(encoded + rest, 0) == len(encoded)


@given(st.binary(max_size=400) | st.lists(st.sampled_from(range(256)), max_size=60).map(bytes))
def test_arbitrary_bytes_raise_nothing_but_the_codecs_own_error(data: bytes) -> None:
    for read in (codec.decode, codec.skip):
        with suppress(CodecError):
            read(data, 0)


@given(values, st.data())
def test_a_cut_value_is_refused(value: Any, data: st.DataObject) -> None:
    encoded = codec.encode(value)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    with pytest.raises(CodecError):
        codec.decode(cut)


def test_deep_nesting_is_refused_before_the_stack_is() -> None:
    value: Any = []
    for _ in range(codec.DEPTH_MAX + 1):
        value = [value]
    with pytest.raises(CodecError, match="nested"):
        codec.decode(codec.encode(value))
    with pytest.raises(CodecError):
        codec.decode(b"\x00" * 100_000)


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"\xd0\x00\x00\x00\x04\xff\xff\xff\xff", id="a list of four thousand million nothings"),
        pytest.param(b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40", id="an array of as many nulls"),
        pytest.param(b"\xc1\x02\x01\x40", id="a map with half a pair"),
        pytest.param(b"\xc1\x04\x02\x45\x40", id="a map with a list for a key"),
        pytest.param(b"\xc0\x05\x01\x40\x40\x40\x40", id="a list longer than its elements"),
        pytest.param(b"\xa1\x02\xc3\x28", id="text that is not UTF-8"),
        pytest.param(b"\x56\x02", id="a third truth value"),
        pytest.param(b"\x73\x00\x11\x00\x00", id="a character outside Unicode"),
        pytest.param(b"\x3f", id="an unknown type"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_no_value_is_refused(encoded: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decode(encoded)


@pytest.mark.parametrize(
    "value", [UByte(256), UInt(-1), ULong(2**64), 2**63, object(), Symbol("ä"), {1: object()}]
)
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(CodecError):
        codec.encode(value)


def test_not_a_number_and_the_infinities_survive() -> None:
    assert math.isnan(codec.decode(codec.encode(math.nan))[0])
    assert codec.decode(codec.encode(-math.inf))[0] == -math.inf


client_scalars = (
    st.none()
    | st.booleans()
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.integers(-(2**31), 2**31 - 1)
)


@given(st.dictionaries(st.text(max_size=20), client_scalars | st.uuids(), max_size=5))
def test_the_hub_reads_what_the_python_client_writes(properties: dict[str, Any]) -> None:
    output = bytearray()
    encode_payload(output, Message(application_properties=properties))
    section, _ = codec.decode(bytes(output)) if output else (Described(0x74, {}), 0)
    assert section == Described(0x74, properties)


@given(
    st.dictionaries(
        st.text(max_size=20), st.uuids() | client_scalars | st.floats(allow_nan=False), max_size=5
    )
)
def test_the_python_client_reads_what_the_hub_writes(properties: dict[str, Any]) -> None:
    message = decode_payload(memoryview(codec.encode(Described(ULong(0x74), properties))))
    raw = {
        key.encode(): value.encode() if isinstance(value, str) else value for key, value in properties.items()
    }
    assert message.application_properties == raw


def test_a_uuid_is_a_uuid() -> None:
    value = uuid.UUID(int=7)
    assert codec.decode(b"\x98" + value.bytes) == (value, 17)
