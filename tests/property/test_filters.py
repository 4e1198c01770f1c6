"""Compiled filters against one that is read off the documentation, word for word and slowly."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.filter_operators import Operator
from consumer.core.filters import AdvancedFilter, Filter, compiled
from consumer.events import Event, OrderedBy, Schema

NAMES = st.sampled_from(["a", "A", "b", "Bb", "bB", "ß", "SS", "i", "İ"])
WORDS = st.text(st.sampled_from("aAbBßs5 ."), max_size=4)
NUMBERS = st.integers(-3, 6) | st.sampled_from([0.5, 2.0, 5.0, -1.5, 1e300])
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS
VALUES = SCALARS | st.lists(SCALARS | st.lists(WORDS, max_size=1), max_size=3)
DATA = st.recursive(VALUES, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=6)
KEYS = st.sampled_from(["subject", "Id", "type", "source", "ext", "EXT", "missing"]) | st.lists(
    NAMES, max_size=3
).map(lambda names: ".".join(["data", *names]))


def operands(operator: Operator) -> st.SearchStrategy[tuple[Any, ...]]:
    name = str(operator)
    if name.startswith("Is"):
        return st.just(())
    if name == "BoolEquals":
        return st.tuples(st.booleans())
    if "Range" in name:
        ranges = st.tuples(NUMBERS, NUMBERS).map(lambda ends: (min(ends), max(ends)))
        return st.lists(ranges, min_size=1, max_size=2).map(tuple)
    if "Than" in name:
        return st.tuples(NUMBERS)
    return st.lists(WORDS if name.startswith("String") else NUMBERS, min_size=1, max_size=3).map(tuple)


CONDITIONS = st.sampled_from(Operator).flatmap(
    lambda operator: st.builds(AdvancedFilter, KEYS, st.just(operator), operands(operator))
)
FILTERS = st.builds(
    Filter,
    st.none() | st.lists(st.sampled_from(["t.One", "T.oNE", "t.Two"]), min_size=1).map(tuple),
    WORDS,
    WORDS,
    st.booleans(),
    st.booleans(),
    st.lists(CONDITIONS, max_size=3).map(tuple),
)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": draw(WORDS) or "1",
        "source": "/t",
        "type": draw(st.sampled_from(["t.one", "T.Two"])),
        "subject": draw(WORDS) or "s",
        "ext": draw(SCALARS),
        "data": draw(DATA),
    }


def event_of(envelope: dict[str, Any]) -> Event:
    return Event(
        id=envelope["id"], type=envelope["type"], topic=envelope["source"], subject=envelope["subject"],
        schema=Schema.CLOUD_EVENTS, ticks=None, enqueued_time_ms=0, partition="0", sequence_number=0, index=0,
        object_key=b"", object_topic="/t", object_path="", ordered_by=OrderedBy.ARRIVAL, order_value=0,
        body=json.dumps(envelope).encode(), is_wrapped=False, content=envelope["data"],
    )  # fmt: skip


def looked_up(envelope: Any, key: str) -> Any:
    """The value of a key, step by step; None where there is none."""
    names = {"eventid": "id", "eventtype": "type", "topic": "source"}
    first, *rest = key.split(".")
    value = envelope
    for step in [names.get(first.casefold(), first), *rest]:
        if not isinstance(value, dict):
            return None
        exact = [each for each in value if each == step]
        alike = [each for each in value if each.casefold() == step.casefold()]
        value = value[(exact or alike)[0]] if alike else None
    return value


def fits(name: str, values: tuple[Any, ...], value: Any) -> bool:
    """Whether one value fits a positive operator."""
    if name.startswith("String"):
        if not isinstance(value, str):
            return False
        pairs = [(value.casefold(), wanted.casefold()) for wanted in values]
        how = {
            "StringIn": lambda has, wanted: has == wanted,
            "StringContains": lambda has, wanted: wanted in has,
            "StringBeginsWith": lambda has, wanted: has[: len(wanted)] == wanted,
            "StringEndsWith": lambda has, wanted: (
                has[len(has) - len(wanted) :] == wanted if len(wanted) <= len(has) else False
            ),
        }[name]
        return any(how(has, wanted) for has, wanted in pairs)
    if name == "BoolEquals":
        return isinstance(value, bool) and value == values[0]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if name == "NumberIn":
        return any(value == wanted for wanted in values)
    if name == "NumberInRange":
        return any(low <= value <= high for low, high in values)
    (limit,) = values
    less, same = value < limit, value == limit
    return {
        "NumberLessThan": less,
        "NumberLessThanOrEquals": less or same,
        "NumberGreaterThan": not less and not same,
        "NumberGreaterThanOrEquals": not less,
    }[name]


def matches(condition: AdvancedFilter, envelope: dict[str, Any], *, on_arrays: bool) -> bool:
    name = str(condition.operator)
    value = looked_up(envelope, condition.key)
    if condition.key.casefold() == "ext" and name.startswith("String"):  # as CloudEvents writes it
        if isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, int):
            value = str(value)
    if name == "IsNullOrUndefined":
        return value is None
    if name == "IsNotNull":
        return value is not None
    if value is None:
        return name in {"NumberNotIn", "StringNotIn", "NumberNotInRange"}
    if isinstance(value, list) and not on_arrays:
        return False
    found = [
        fits(name.replace("Not", ""), condition.values, each)
        for each in (value if isinstance(value, list) else [value])
    ]
    return not any(found) if "Not" in name else any(found)


def naive(wanted: Filter, envelope: dict[str, Any]) -> bool:
    types, subject = wanted.included_event_types, envelope["subject"]
    begin, end = wanted.subject_begins_with, wanted.subject_ends_with
    if not wanted.is_subject_case_sensitive:
        subject, begin, end = subject.casefold(), begin.casefold(), end.casefold()
    return (
        (types is None or envelope["type"].casefold() in [kind.casefold() for kind in types])
        and subject.startswith(begin)
        and subject.endswith(end)
        and all(
            matches(each, envelope, on_arrays=wanted.enable_advanced_filtering_on_arrays)
            for each in wanted.advanced_filters
        )
    )


@given(FILTERS, events())
def test_a_compiled_filter_says_what_the_documentation_says(wanted: Filter, envelope: dict[str, Any]) -> None:
    assert compiled(wanted)(event_of(envelope)) is naive(wanted, envelope)


@given(CONDITIONS, st.booleans(), events())
def test_a_single_condition_says_so_too(
    condition: AdvancedFilter, on_arrays: bool, envelope: dict[str, Any]
) -> None:
    wanted = Filter(enable_advanced_filtering_on_arrays=on_arrays, advanced_filters=(condition,))

    assert compiled(wanted)(event_of(envelope)) is matches(condition, envelope, on_arrays=on_arrays)
