"""The filter before all processors lets through whatever one of them wants."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.filter_operators import Operator
from consumer.core.filters import AdvancedFilter, Filter, compiled
from consumer.filter_union import union

from .test_filters import FILTERS, event_of, events


@given(st.lists(FILTERS, min_size=1, max_size=3), events())
def test_what_anybody_wants_passes(filters: list[Filter], envelope: dict[str, Any]) -> None:
    event = event_of(envelope)
    is_wanted = any(compiled(each)(event) for each in filters)

    assert compiled(union(filters))(event) or not is_wanted


@given(FILTERS, events())
def test_the_union_of_one_is_that_one(wanted: Filter, envelope: dict[str, Any]) -> None:
    event = event_of(envelope)

    assert compiled(union([wanted]))(event) is compiled(wanted)(event)


def stage(*values: str, operator: Operator = Operator.STRING_IN) -> AdvancedFilter:
    return AdvancedFilter("data.stage", operator, values)


def test_what_filters_share_is_kept_and_alternatives_are_joined() -> None:
    first = Filter(
        ("A.Made",),
        "models/Fraud",
        "x.jpg",
        advanced_filters=(stage("production"), AdvancedFilter("data.n", Operator.IS_NOT_NULL)),
    )
    second = Filter(("B.Made", "a.made"), "Models/f", "y.JPG", advanced_filters=(stage("staging"),))

    assert union([first, second]) == Filter(
        ("A.Made", "B.Made"), "models/F", ".jpg", advanced_filters=(stage("production", "staging"),)
    )


def test_conditions_that_exclude_are_kept_only_where_all_are_the_same() -> None:
    same, other = (stage(value, operator=Operator.STRING_NOT_IN) for value in ("a", "b"))

    assert union([Filter(advanced_filters=(same,)), Filter(advanced_filters=(same,))]).advanced_filters == (
        same,
    )
    assert union([Filter(advanced_filters=(same,)), Filter(advanced_filters=(other,))]).advanced_filters == ()


def test_somebody_who_wants_everything_leaves_nothing_to_filter() -> None:
    assert union([Filter(("A.Made",), "models/", advanced_filters=(stage("a"),)), Filter()]) == Filter()
