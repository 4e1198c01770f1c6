"""Filters as Azure Resource Manager has them: the ``filter`` object of an event subscription.

Given may be the object itself, a whole subscription (as `az eventgrid event-subscription show` and the REST
API give it), or a template with exactly one subscription in it. Names are read in any case, as Resource
Manager does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from consumer.core.filter_operators import MEANINGS, Operand, Operator
from consumer.core.filters import AdvancedFilter, Filter
from consumer.filter_translation import Translation, Way, operator_named, setting_of
from consumer.setting_rules import Finding

_NAMES = {
    "includedEventTypes": "included_event_types",
    "subjectBeginsWith": "subject_begins_with",
    "subjectEndsWith": "subject_ends_with",
    "isSubjectCaseSensitive": "is_subject_case_sensitive",
    "enableAdvancedFilteringOnArrays": "enable_advanced_filtering_on_arrays",
    "advancedFilters": "advanced_filters",
}
_FOLDED = {name.casefold(): name for name in _NAMES}
_ALL = "all"
"""As the only event type: all that the topic has."""


class _NoFilter(Exception):
    """There is no filter in what was given; says why."""


def parse(given: Any, at: Way) -> Translation:
    """Read a filter that stands at a place."""
    read = Translation({}, {}, [])
    try:
        found, way = _find(given, at)
    except _NoFilter as error:
        read.flaws.append(Finding(at, str(error)))
        return read
    for key, value in found.items():
        _take(read, key, value, (*way, key))
    return read


def _find(given: Any, at: Way) -> tuple[Mapping[str, Any], Way]:
    """The filter object in what was given. Raises `_NoFilter`."""
    if not isinstance(given, Mapping):
        raise _NoFilter("should be an object")
    if not given or any(key.casefold() in _FOLDED for key in given):
        return given, at
    names = {key.casefold(): key for key in given}
    if "filter" in names:
        key = names["filter"]
        return (given[key], (*at, key)) if isinstance(given[key], Mapping) else _nothing(given[key], at)
    if "resources" in names:
        key = names["resources"]
        subscriptions = list(_subscriptions(given[key]))
        if len(subscriptions) != 1:
            raise _NoFilter(f"there are {len(subscriptions)} event subscriptions in it, and not one")
        index, one = subscriptions[0]
        found, way = _find(one, (*at, key, index))
        if _has_expressions(found):
            raise _NoFilter("the template's filter has expressions in it: give the deployed subscription")
        return found, way
    if "properties" in names:
        key = names["properties"]
        return _find(given[key], (*at, key))
    if "destination" in names:
        return {}, at
    raise _NoFilter("there is no filter in it")


def _nothing(value: Any, at: Way) -> tuple[Mapping[str, Any], Way]:
    if value is None:
        return {}, at
    raise _NoFilter("the filter should be an object")


def _subscriptions(resources: Any) -> Iterator[tuple[int, Any]]:
    for index, each in enumerate(resources if isinstance(resources, list) else ()):
        kind = each.get("type", "") if isinstance(each, Mapping) else ""
        if str(kind).casefold().endswith("eventsubscriptions"):
            yield index, each


def _has_expressions(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_expressions, value.values()))
    if isinstance(value, list):
        return any(map(_has_expressions, value))
    return isinstance(value, str) and value.startswith("[") and value.endswith("]")


def _take(read: Translation, key: str, value: Any, way: Way) -> None:
    """Note a member of the filter object."""
    known = _FOLDED.get(key.casefold())
    if known is None:
        near = get_close_matches(key.casefold(), _FOLDED, n=1)
        guess = f"; did you mean {_FOLDED[near[0]]}?" if near else ""
        read.flaws.append(Finding(way, f"no filter of Event Grid has this{guess}"))
        return
    name = _NAMES[known]
    if value is None or (name == "included_event_types" and _is_all(value)):
        return
    read.origins[name,] = way
    if name != "advanced_filters" or not isinstance(value, list):
        read.settings[name] = value
        return
    conditions = read.settings[name] = []
    for index, each in enumerate(value):
        made = _condition(each)
        if isinstance(made, str):
            read.flaws.append(Finding((*way, index), made))
            continue
        read.origins[name, len(conditions)] = (*way, index)
        conditions.append(made)


def _is_all(types: Any) -> bool:
    return isinstance(types, list) and [str(kind).casefold() for kind in types] in ([], [_ALL])


def _condition(given: Any) -> dict[str, Any] | str:
    """An advanced filter in the canonical spelling, or what is wrong with it."""
    if not isinstance(given, Mapping):
        return "should be an object"
    members = {key.casefold(): value for key, value in given.items() if value is not None}
    unknown = members.keys() - {"operatortype", "key", "value", "values"}
    if unknown:
        return f"no advanced filter has {min(unknown)}"
    name = members.get("operatortype")
    if not isinstance(name, str):
        return "operatorType is missing"
    operator = operator_named(name)
    if not isinstance(operator, Operator):
        return f"operatorType: {operator}"
    if "key" not in members:
        return "key is missing"
    operand = MEANINGS[operator].operand
    given_values = [members[key] for key in ("value", "values") if key in members]
    if operand is Operand.NOTHING:
        return f"{operator} takes no value" if given_values else _made(members, operator, value=True)
    if len(given_values) != 1:
        return f"{operator} needs one of value and values"
    value = given_values[0]
    # The documentation has `values` with a single number, too, where the service wants `value`.
    is_single = operand in {Operand.NUMBER, Operand.BOOL}
    if is_single and isinstance(value, list) and len(value) == 1:
        value = value[0]
    elif not is_single and not isinstance(value, list):
        value = [value]
    return _made(members, operator, value=value)


def _made(members: Mapping[str, Any], operator: Operator, *, value: Any) -> dict[str, Any]:
    return {"key": members["key"], setting_of(operator): value}


def render(wanted: Filter) -> dict[str, Any]:
    """Write a filter as the ``filter`` object of a subscription."""
    written: dict[str, Any] = {}
    for name, setting in _NAMES.items():
        value = getattr(wanted, setting)
        if setting == "advanced_filters":
            value = [_written(each) for each in value]
        if value:
            written[name] = list(value) if isinstance(value, tuple) else value
    return written


def _written(condition: AdvancedFilter) -> dict[str, Any]:
    written: dict[str, Any] = {"operatorType": str(condition.operator), "key": condition.key}
    operand = MEANINGS[condition.operator].operand
    if operand in {Operand.NUMBER, Operand.BOOL}:
        written["value"] = condition.values[0]
    elif operand is not Operand.NOTHING:
        written["values"] = [list(each) if isinstance(each, tuple) else each for each in condition.values]
    return written
