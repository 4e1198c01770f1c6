"""What is worked out the short way, from what events have in common, is what the long way gives."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.catalogue import BUILT_IN, bare_etag
from consumer.core.digests import digests_named
from consumer.core.order_rules import OrderRule, by_number, by_sequencer, usable_sequencer
from consumer.core.packed_token import pack, pack_value
from consumer.events import OrderedBy, OrderToken

names = st.one_of(st.text("a\0:1\u00e9", max_size=4), st.text(max_size=3))


@given(st.sampled_from(["xxh3", "blake2b"]), names, names, names, names, st.sampled_from(["id", "etag"]))
def test_digests_of_one_topic_and_type_are_those_of_any(
    name: str, topic: str, type_: str, path: str, mark: str, kind: str
) -> None:
    digests = digests_named(name)
    of_topic = digests.of(topic, type_)

    for _ in range(2):
        assert of_topic.object_key(path) == digests.object_key(topic, path)
        assert of_topic.identity(kind, path, mark) == digests.identity((kind, topic, path, type_, mark))


rules = st.sampled_from(
    [
        by_sequencer("sequencer"),
        by_number(OrderedBy.SEQUENCE_NUMBER, "n"),
        *(rule for family in BUILT_IN for rule in family.order),
    ]
)
values: st.SearchStrategy[Any] = st.one_of(
    st.text("0aFg 9", max_size=50),
    st.sampled_from(
        ["00FF" * 12, "zAJw6V16=MDox;sn=42", "Completed", "2026-11-21T06:00:00.1234567Z", "\u0130"]
    ),
    st.integers(),
    st.booleans() | st.none() | st.floats(allow_nan=False),
)
few_types = st.sampled_from(["microsoft.machinelearningservices.runcompleted", "contoso.sold"])


@given(rules, values, st.none() | st.integers(-(2**70), 2**70), few_types)
def test_what_a_rule_finds_is_packed_as_its_token_is(
    rule: OrderRule, read: Any, ticks: int | None, type_: str
) -> None:
    value = rule.value(read, ticks, type_)

    if value is not None:
        assert pack_value(rule.code, value) == pack(OrderToken(rule.by, value))


@given(st.text('0aF"W/', max_size=6))
def test_zeros_alone_are_no_sequencer_and_an_etag_has_neither_quotes_nor_the_sign_of_a_weak_one(
    text: str,
) -> None:
    assert usable_sequencer(text) == (text.casefold() if text.strip("0") else None)
    assert bare_etag(text) == (text.removeprefix("W/").strip('"') or None)
