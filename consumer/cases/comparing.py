"""Compare what came of a case with what was expected, and show the difference as a person would write it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import unified_diff
from typing import Any, NamedTuple

import yaml

from consumer.cases.model import Case

_CONTEXT_LINES = 3


class Told(NamedTuple):
    """What came of a case; values as JSON has them."""

    given: Mapping[str, Sequence[Mapping[str, Any]]]
    """By processor: the events in order, each with the keys of `consumer.cases.model.GIVEN`."""
    dead_letters: Sequence[Mapping[str, Any]]
    outcomes: Mapping[str, int]


def difference(case: Case, told: Told) -> list[str]:
    """The lines of a diff from what was expected to what came; none if all is as expected."""
    expected: dict[str, Any] = {}
    actual: dict[str, Any] = {}
    if case.expect:
        expected["expect"] = {name: _plain(entries) for name, entries in case.expect.items()}
        actual["expect"] = {
            name: _as_far_as(entries, told.given.get(name, ())) for name, entries in case.expect.items()
        }
    if case.dead_letters is not None:
        expected["dead_letters"] = _plain(case.dead_letters)
        actual["dead_letters"] = _as_far_as(case.dead_letters, told.dead_letters)
    if case.outcomes is not None:
        expected["outcomes"] = {outcome.value: count for outcome, count in case.outcomes.items() if count}
        actual["outcomes"] = dict(told.outcomes)
    if expected == actual:
        return []
    lines = written(expected).splitlines(), written(actual).splitlines()
    diff = unified_diff(*lines, "expected", "came", lineterm="", n=_CONTEXT_LINES)
    return [line for line in diff if not line.startswith("@@")]


def written(value: Any) -> str:
    """A value in YAML; keys sorted, so that equal values have equal lines."""
    return yaml.safe_dump(_plain(value), allow_unicode=True, sort_keys=True, width=1_000)


def _as_far_as(
    entries: Sequence[Mapping[str, Any]], came: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What came, each with as much as the expectation in its place names; what has none is told whole."""
    told: list[dict[str, Any]] = []
    for index, actual in enumerate(came):
        if index < len(entries):
            told.append(_narrowed(entries[index], actual))
        else:
            brief = {name: value for name, value in actual.items() if name not in {"data", "topic"}}
            told.append(_plain(brief))
    return told


def _narrowed(expected: Any, actual: Any) -> Any:
    """The actual value without what the expectation leaves open; equal to it if it is as expected."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return {name: _narrowed(expected[name], actual[name]) for name in expected if name in actual}
    if isinstance(expected, list | tuple) and isinstance(actual, list | tuple):
        shared = [_narrowed(mine, theirs) for mine, theirs in zip(expected, actual, strict=False)]
        return [*shared, *_plain(actual[len(shared) :])]
    if isinstance(expected, str) and expected.startswith("~") and isinstance(actual, str):
        return expected if re.search(expected[1:], actual) else actual
    return _plain(actual)


def _plain(value: Any) -> Any:
    """The value in dicts, lists and plain scalars."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, str) else value
