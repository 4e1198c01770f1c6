"""Compare order tokens: what is earlier, what is later, and what cannot be compared."""

from __future__ import annotations

from consumer.events import OrderToken


def compare(left: OrderToken, right: OrderToken) -> int | None:
    """Negative, zero or positive as `left` is before, at or after `right`; None: incomparable.

    Tokens of different kinds are incomparable. So are texts of different length: a sequencer is opaque,
    and the only order that is documented for it is that of strings, which is meaningless across widths.
    """
    by, one = left
    other_by, other = right
    if by is not other_by:
        return None
    if one == other:
        return 0
    if isinstance(one, str):
        if not isinstance(other, str) or len(one) != len(other):
            return None
        return -1 if one < other else 1
    if isinstance(one, int):
        if not isinstance(other, int):
            return None
        return -1 if one < other else 1
    if not isinstance(other, tuple):
        return None
    return -1 if one < other else 1


def is_before(left: OrderToken, right: OrderToken) -> bool:
    """Whether the tokens are comparable and `left` is the smaller one."""
    result = compare(left, right)
    return result is not None and result < 0
