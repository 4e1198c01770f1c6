"""Comparing tokens: a total order within what can be compared, silence about the rest."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.order import compare, is_before
from consumer.events import OrderedBy, OrderToken

values = st.one_of(
    st.text("01af", max_size=3), st.integers(-3, 3), st.tuples(st.integers(0, 1), st.integers(0, 3))
)
tokens = st.builds(OrderToken, st.sampled_from([OrderedBy.SEQUENCER, OrderedBy.VERSION]), values)


@pytest.mark.parametrize(
    ("left", "right", "result"),
    [
        ("0a", "0b", -1),
        ("0b", "0a", 1),
        ("0a", "0a", 0),
        ("0a", "00b", None),
        (9, 10, -1),
        (10, 9, 1),
        ((0, 9), (1, 1), -1),
        ((1, 1), (1, 1), 0),
        ("9", 9, None),
        (9, "9", None),
        ((1, 1), 1, None),
        (1, (1, 1), None),
        ((1, 1), "1", None),
    ],
)
def test_tokens_compare_as_they_were_documented_to(left, right, result) -> None:
    for by in OrderedBy:
        assert compare(OrderToken(by, left), OrderToken(by, right)) == result


def test_tokens_of_different_kinds_cannot_be_compared() -> None:
    for one, other in itertools.permutations(OrderedBy, 2):
        assert compare(OrderToken(one, 1), OrderToken(other, 1)) is None


@given(tokens, tokens)
def test_what_is_before_is_not_after(left: OrderToken, right: OrderToken) -> None:
    there, back = compare(left, right), compare(right, left)

    assert (there is None) is (back is None)
    assert there is None or back is None or there == -back
    assert is_before(left, right) is (there == -1)
    assert (there == 0) is (left == right)


@given(tokens, tokens, tokens)
def test_comparable_tokens_are_in_a_total_order(a: OrderToken, b: OrderToken, c: OrderToken) -> None:
    ab, bc, ac = compare(a, b), compare(b, c), compare(a, c)

    if ab is not None and bc is not None:
        assert ac is not None
        assert not (ab <= 0 and bc <= 0) or ac <= 0
