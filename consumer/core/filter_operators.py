"""What the operators of Event Grid's advanced filters mean: a table of them, and a test for each.

Event Grid's documentation says:

* Text is compared without regard to case.
* Several values are alternatives: one that fits is enough. Under a negated operator one that fits is too
  many.
* Without the key an event is matched by `NumberNotIn` and `StringNotIn`, and by no other negated operator.
* What has another type than the operator's values is ignored: a number is neither in a list of texts, nor
  does it fail a `StringNotIn`.
* An array matches no operator that compares, negated ones included, unless filtering on arrays is enabled:
  then the operator looks at every element.

It is silent on `NumberNotInRange` without the key, which is treated as `NumberNotIn`, and on a key that is
there with null, which is treated as one that is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

Value = str | bool | float | tuple[float, float]
"""What a filter compares with. A range is its two ends, both included; integers are numbers as well."""


class Operator(StrEnum):
    """The operators, as Event Grid spells them."""

    __hash__ = str.__hash__  # an enumeration's own is slow, and is not that of the text it equals

    NUMBER_IN = "NumberIn"
    NUMBER_NOT_IN = "NumberNotIn"
    NUMBER_LESS_THAN = "NumberLessThan"
    NUMBER_LESS_THAN_OR_EQUALS = "NumberLessThanOrEquals"
    NUMBER_GREATER_THAN = "NumberGreaterThan"
    NUMBER_GREATER_THAN_OR_EQUALS = "NumberGreaterThanOrEquals"
    NUMBER_IN_RANGE = "NumberInRange"
    NUMBER_NOT_IN_RANGE = "NumberNotInRange"
    BOOL_EQUALS = "BoolEquals"
    STRING_CONTAINS = "StringContains"
    STRING_NOT_CONTAINS = "StringNotContains"
    STRING_BEGINS_WITH = "StringBeginsWith"
    STRING_NOT_BEGINS_WITH = "StringNotBeginsWith"
    STRING_ENDS_WITH = "StringEndsWith"
    STRING_NOT_ENDS_WITH = "StringNotEndsWith"
    STRING_IN = "StringIn"
    STRING_NOT_IN = "StringNotIn"
    IS_NULL_OR_UNDEFINED = "IsNullOrUndefined"
    IS_NOT_NULL = "IsNotNull"


class Operand(StrEnum):
    """What an operator compares with."""

    NUMBERS = "numbers"
    NUMBER = "number"
    RANGES = "ranges"
    BOOL = "bool"
    STRINGS = "strings"
    NOTHING = "nothing"


class Meaning(NamedTuple):
    """What there is to know of an operator besides its test."""

    operand: Operand
    is_negated: bool = False
    """Whether it matches unless its test is passed."""
    if_missing: bool = False
    """Whether it matches an event without the key, or with null there."""


_NUMBERS, _NUMBER, _RANGES = Operand.NUMBERS, Operand.NUMBER, Operand.RANGES
_STRINGS = Operand.STRINGS

MEANINGS: dict[Operator, Meaning] = {
    Operator.NUMBER_IN: Meaning(_NUMBERS),
    Operator.NUMBER_NOT_IN: Meaning(_NUMBERS, is_negated=True, if_missing=True),
    Operator.NUMBER_LESS_THAN: Meaning(_NUMBER),
    Operator.NUMBER_LESS_THAN_OR_EQUALS: Meaning(_NUMBER),
    Operator.NUMBER_GREATER_THAN: Meaning(_NUMBER),
    Operator.NUMBER_GREATER_THAN_OR_EQUALS: Meaning(_NUMBER),
    Operator.NUMBER_IN_RANGE: Meaning(_RANGES),
    Operator.NUMBER_NOT_IN_RANGE: Meaning(_RANGES, is_negated=True, if_missing=True),
    Operator.BOOL_EQUALS: Meaning(Operand.BOOL),
    Operator.STRING_CONTAINS: Meaning(_STRINGS),
    Operator.STRING_NOT_CONTAINS: Meaning(_STRINGS, is_negated=True),
    Operator.STRING_BEGINS_WITH: Meaning(_STRINGS),
    Operator.STRING_NOT_BEGINS_WITH: Meaning(_STRINGS, is_negated=True),
    Operator.STRING_ENDS_WITH: Meaning(_STRINGS),
    Operator.STRING_NOT_ENDS_WITH: Meaning(_STRINGS, is_negated=True),
    Operator.STRING_IN: Meaning(_STRINGS),
    Operator.STRING_NOT_IN: Meaning(_STRINGS, is_negated=True, if_missing=True),
    Operator.IS_NULL_OR_UNDEFINED: Meaning(Operand.NOTHING, if_missing=True),
    Operator.IS_NOT_NULL: Meaning(Operand.NOTHING, is_negated=True),
}

Test = Callable[[Any], bool]
"""Tells of a value that is there, and no array, whether it fits; negation is not its concern."""


def test_of(operator: Operator, values: tuple[Any, ...]) -> Test:
    """Make the test of an operator, or of the one that it negates."""
    match operator:
        case Operator.NUMBER_IN | Operator.NUMBER_NOT_IN:
            return _number_in(frozenset(values))
        case Operator.NUMBER_IN_RANGE | Operator.NUMBER_NOT_IN_RANGE:
            return _number_in_range(values)
        case Operator.BOOL_EQUALS:
            return _bool_equals(values[0])
        case Operator.STRING_IN | Operator.STRING_NOT_IN:
            return _string_in(_folded(values))
        case Operator.STRING_CONTAINS | Operator.STRING_NOT_CONTAINS:
            return _string_contains(_folded(values))
        case Operator.STRING_BEGINS_WITH | Operator.STRING_NOT_BEGINS_WITH:
            return _string_begins_with(_folded(values))
        case Operator.STRING_ENDS_WITH | Operator.STRING_NOT_ENDS_WITH:
            return _string_ends_with(_folded(values))
        case Operator.IS_NULL_OR_UNDEFINED | Operator.IS_NOT_NULL:
            return _is_null
        case _:
            return _compares(operator, values[0])


def _folded(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple([value.casefold() for value in values])


def _is_number(value: Any) -> bool:
    # By its very type, for true and false are integers to Python.
    return type(value) is int or type(value) is float


def _is_null(value: Any) -> bool:
    return value is None


def _number_in(wanted: frozenset[Any]) -> Test:
    def test(value: Any) -> bool:
        return _is_number(value) and value in wanted

    return test


def _number_in_range(ranges: tuple[Any, ...]) -> Test:
    def test(value: Any) -> bool:
        if not _is_number(value):
            return False
        for low, high in ranges:  # noqa: SIM110 - a generator for each event is what this is not to make
            if low <= value <= high:
                return True
        return False

    return test


def _compares(operator: Operator, limit: Any) -> Test:
    def less(value: Any) -> bool:
        return _is_number(value) and bool(value < limit)

    def at_most(value: Any) -> bool:
        return _is_number(value) and bool(value <= limit)

    def greater(value: Any) -> bool:
        return _is_number(value) and bool(value > limit)

    def at_least(value: Any) -> bool:
        return _is_number(value) and bool(value >= limit)

    tests = {
        Operator.NUMBER_LESS_THAN: less,
        Operator.NUMBER_LESS_THAN_OR_EQUALS: at_most,
        Operator.NUMBER_GREATER_THAN: greater,
        Operator.NUMBER_GREATER_THAN_OR_EQUALS: at_least,
    }
    return tests[operator]


def _bool_equals(wanted: Any) -> Test:
    def test(value: Any) -> bool:
        return value is wanted

    return test


def _string_in(wanted: tuple[str, ...]) -> Test:
    known = frozenset(wanted)

    def test(value: Any) -> bool:
        return isinstance(value, str) and value.casefold() in known

    return test


def _string_contains(parts: tuple[str, ...]) -> Test:
    def test(value: Any) -> bool:
        if not isinstance(value, str):
            return False
        folded = value.casefold()
        for part in parts:  # noqa: SIM110 - as above
            if part in folded:
                return True
        return False

    return test


def _string_begins_with(beginnings: tuple[str, ...]) -> Test:
    def test(value: Any) -> bool:
        return isinstance(value, str) and value.casefold().startswith(beginnings)

    return test


def _string_ends_with(ends: tuple[str, ...]) -> Test:
    def test(value: Any) -> bool:
        return isinstance(value, str) and value.casefold().endswith(ends)

    return test
