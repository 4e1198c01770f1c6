"""The object table remembers what an ordered dictionary of tokens would, in a fraction of the room."""

from __future__ import annotations

import pytest
from harness.places import object_key, place_of
from hypothesis import given
from hypothesis import strategies as st

from consumer.core import object_table
from consumer.core.digests import digests_named
from consumer.core.object_table import INCOMPARABLE, TWIN, UNKNOWN, Last, ObjectTable
from consumer.core.order import compare
from consumer.core.packed_token import BESIDE, PACKED_BYTES, code_of, pack, pack_value, unpack
from consumer.events import ObjectId, OrderedBy, OrderToken

near_64_bits = st.sampled_from([-(2**63) - 1, -(2**63), -1, 0, 1, 2**63 - 1, 2**63, 10**40])
values = st.one_of(
    st.text("0123456789abcdef", max_size=50),
    st.text("0aA \n", max_size=4),
    st.integers(),
    near_64_bits,
    st.tuples(near_64_bits, near_64_bits),
)
tokens = st.builds(OrderToken, st.sampled_from(OrderedBy), values)
few_tokens = st.builds(
    OrderToken,
    st.sampled_from([OrderedBy.SEQUENCER, OrderedBy.VERSION]),
    st.sampled_from(["0a", "0b", "0g", "0A", "0aa", 1, 2, 2**70, (0, 1), (1, 0), (1, 2**70)]),
)


@given(tokens)
def test_a_packed_token_comes_out_as_it_was_or_says_that_it_does_not_fit(token: OrderToken) -> None:
    packed = pack(token)

    assert len(packed) == PACKED_BYTES
    assert unpack(packed) == (None if packed[1] == BESIDE else token)


@given(tokens)
def test_the_value_of_a_token_without_capitals_is_packed_as_the_token_is(token: OrderToken) -> None:
    value = token.value.casefold() if isinstance(token.value, str) else token.value

    assert pack_value(code_of(token.by), value) == pack(OrderToken(token.by, value))


@pytest.mark.parametrize(
    "value", ["", "0", "0f", "0" * 48, 0, -(2**63), 2**63 - 1, (1, 17_952_624_000_000_000)]
)
def test_what_azure_sends_is_packed(value) -> None:
    assert unpack(pack(OrderToken(OrderedBy.SEQUENCER, value))) == (OrderedBy.SEQUENCER, value)


@pytest.mark.parametrize("value", ["0" * 49, "0F", "0 ", " 0f ", "0g", 2**63, -(2**63) - 1, (0, 2**63)])
def test_what_would_not_come_out_as_it_was_is_not_packed(value) -> None:
    assert pack(OrderToken(OrderedBy.SEQUENCER, value))[1] == BESIDE


@pytest.mark.parametrize("packed", [b"\x08\x01", b"\x00\x03", b"\x00\x41"])
def test_a_kind_or_shape_that_is_not_known_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="a token of kind"):
        unpack(packed.ljust(PACKED_BYTES, b"\0"))


def test_a_key_is_the_same_in_every_version() -> None:
    """It is in every stored state."""
    object_id = ObjectId("/subscriptions/s", "models/fraud")
    old = digests_named("blake2b")
    assert object_key(object_id).hex() == "0cfd91a16f9a1aa50b9e7035a3fd4b2f"
    assert old.object_key(*object_id).hex() == "c60af6a66ea7a50b8d9f99cbd16f7a88"
    assert object_key(ObjectId("a", "b:c")) != object_key(ObjectId("a1:", "b:c"))
    assert object_key(ObjectId("ab", "c")) != object_key(ObjectId("a", "bc"))
    assert object_key(ObjectId("a\0b", "c")) != object_key(ObjectId("a", "b\0c"))


def expected(token: OrderToken, event_type: str, last: Last) -> int:
    result = compare(token, last.token)
    if result is None:
        return INCOMPARABLE
    return TWIN if result == 0 and event_type == last.event_type else result


steps = st.one_of(
    st.tuples(
        st.just("put"), st.integers(0, 12), few_tokens, st.sampled_from(["t", "u", "long" * 60, "v", "w"])
    ),
    st.tuples(st.just("forget")),
    st.tuples(st.just("expire"), st.integers(0, 9)),
    st.tuples(st.just("reload")),
)


@given(st.lists(steps, max_size=60))
def test_it_answers_as_a_list_of_what_was_last(script) -> None:
    table, model, now = ObjectTable(), dict[bytes, Last](), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_table, "_IN_BUCKET", 2)
        patch.setattr(object_table, "TYPES_MAX", 3)
        for kind, *arguments in script:
            now += 1
            match kind:
                case "put":
                    number, token, event_type = arguments
                    key = object_key(ObjectId("t", str(number)))
                    last = model.pop(key, None)
                    assert table.standing(place_of(key, token, event_type)) == (
                        UNKNOWN if last is None else expected(token, event_type, last)
                    )
                    table.put(place_of(key, token, event_type), now)
                    model[key] = Last(token, event_type, now)
                case "forget" if model:
                    table.forget_oldest()
                    del model[next(iter(model))]
                case "expire":
                    before = now - arguments[0]
                    table.expire(before)
                    model = {key: last for key, last in model.items() if last.time_ms >= before}
                case "reload":
                    table = ObjectTable(table.image())
            assert table.entries() == list(model.items())
            assert len(table) == len(model) == len(table.image())
            assert set(table.image().beside) <= set(model)
