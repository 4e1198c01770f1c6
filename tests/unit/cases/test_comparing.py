"""A case is as expected if everything that it names came; the rest is left open."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.cases.comparing import Told, difference
from consumer.cases.model import Case
from consumer.events import Outcome

MAIL = {
    "type": "Mine.Made",
    "subject": "a",
    "id": "1",
    "topic": "/t",
    "stale": False,
    "data": {"n": 1, "tags": ["x", "y"]},
    "effect": {"to": ["ops@contoso.com"], "subject": "Run r1 failed"},
}


def case(**fields: Any) -> Case:
    return Case.model_validate({"name": "it", "events": [{"type": "Mine.Made"}], **fields})


def came(*given_: dict[str, Any], letters: tuple[dict[str, Any], ...] = (), **outcomes: int) -> Told:
    return Told({"mail": list(given_)}, letters, outcomes)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"subject": "a"},
        {"data": {"n": 1}},
        {"data": {"tags": ["x", "y"]}},
        {"effect": {"subject": "~failed$"}},
        {"effect": {"to": ["~contoso"]}, "stale": False},
    ],
)
def test_what_an_expectation_does_not_name_is_left_open(entry):
    assert difference(case(expect={"mail": [entry]}), came(MAIL)) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"subject": "b"},
        {"data": {"n": 2}},
        {"data": {"missing": None}},
        {"data": {"tags": ["x"]}},
        {"data": {"tags": ["x", "y", "z"]}},
        {"subject": []},
        {"effect": {"subject": "~^failed"}},
        {"effect": None},
        {"stale": True},
    ],
)
def test_what_it_names_has_to_be_so(entry):
    assert difference(case(expect={"mail": [entry]}), came(MAIL))


def test_one_event_too_many_is_told_with_what_it_would_have_done():
    diff = difference(case(expect={"mail": [{"subject": "a"}]}), came(MAIL, {**MAIL, "subject": "b"}))

    assert any(line.startswith("+") and "subject: b" in line for line in diff)
    assert any(line.startswith("+") and "Run r1 failed" in line for line in diff)


def test_one_event_too_few_is_told():
    diff = difference(case(expect={"mail": [{"subject": "a"}, {"subject": "b"}]}), came(MAIL))

    assert any(line.startswith("-") and "subject: b" in line for line in diff)


def test_a_processor_that_is_expected_to_be_given_nothing_must_be_given_nothing():
    assert difference(case(expect={"mail": []}), came()) == []
    assert difference(case(expect={"mail": []}), came(MAIL))


def test_outcomes_that_are_not_named_must_not_be():
    expected = case(outcomes={"handled": 1, "stale": 0})

    assert expected.outcomes == {Outcome.HANDLED: 1, Outcome.STALE: 0}
    assert difference(expected, came(handled=1)) == []
    assert difference(expected, came(handled=1, duplicate=1))


def test_dead_letters_are_looked_at_only_if_the_case_speaks_of_them():
    letter = {"reason": "spoofed_type", "processor": None, "error": "…", "id": "1"}

    assert difference(case(), came(letters=(letter,))) == []
    assert difference(case(dead_letters=[]), came(letters=(letter,)))
    assert difference(case(dead_letters=[{"reason": "spoofed_type"}]), came(letters=(letter,))) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("kl", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@example(expected={"": []}, actual={"": ""})
@given(expected=JSON, actual=JSON)
def test_an_expectation_agrees_with_what_came_exactly_as_a_naive_reading_of_the_rule_says(expected, actual):
    told = came({**MAIL, "data": actual})

    assert (not difference(case(expect={"mail": [{"data": expected}]}), told)) is agrees(expected, actual)


def agrees(expected: Any, actual: Any) -> bool:
    if isinstance(expected, dict) and isinstance(actual, dict):
        return all(name in actual and agrees(value, actual[name]) for name, value in expected.items())
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(agrees, expected, actual))
    if isinstance(expected, str) and isinstance(actual, str) and expected.startswith("~"):
        return expected[1:] in actual or expected == actual  # no character of these means anything
    return expected == actual
