"""Say in plain words what pydantic found, and guess what was meant. No value of the file is ever quoted."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from consumer.setting_rules import FINDINGS

Way = tuple[str | int, ...]

_PLAIN = {
    "missing": "is missing",
    "union_tag_not_found": "is missing",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "finite_number": "should be a finite number",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping (key: value)",
    "model_type": "should be a mapping (key: value)",
    "model_attributes_type": "should be a mapping (key: value)",
    "path_type": "should be a path",
}
_WITH_CONTEXT = {
    "greater_than_equal": "should be at least {ge:g}",
    "greater_than": "should be more than {gt:g}",
    "less_than_equal": "should be at most {le:g}",
    "less_than": "should be less than {lt:g}",
    "string_too_long": "should be at most {max_length} characters long",
    "string_pattern_mismatch": "should look like {pattern}",
}


def findings_of(error: ValidationError, model: type[BaseModel], data: Any) -> Iterator[tuple[Way, str]]:
    """Each finding as the way to the setting and what is wrong with it.

    `data` is what was validated: a way names its keys, without the tags that pydantic mixes in.
    """
    details = error.errors(include_url=False, include_input=False)
    for detail in details:
        if detail["type"] == "default_factory_not_called" or _is_echo(detail, details):
            continue
        way = _way_in(data, detail["loc"], keep_last=detail["type"] in {"missing", "extra_forbidden"})
        if detail["type"] == FINDINGS:
            for at, message in detail["ctx"][FINDINGS]:
                yield (*way, *at), message
            continue
        if detail["type"].startswith("union_tag"):
            way = (*way, detail["ctx"]["discriminator"].strip("'"))
        yield way, _say(detail, way, model, data)


def _is_echo(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """Whether a list is only found too short because its items were found wrong."""
    loc = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in details
    )


def _way_in(data: Any, loc: Way, *, keep_last: bool) -> Way:
    way: list[str | int] = []
    for index, step in enumerate(loc):
        is_key = isinstance(data, Mapping) and step in data
        if is_key or (isinstance(data, list | tuple) and isinstance(step, int) and step < len(data)):
            data = data[step]
            way.append(step)
        elif keep_last and index == len(loc) - 1:
            way.append(step)
    return tuple(way)


def _value_at(data: Any, way: Way) -> Any:
    for step in way:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _say(detail: ErrorDetails, way: Way, model: type[BaseModel], data: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    given = _value_at(data, way)
    if kind == "extra_forbidden":
        names = [name for owner in _models_at(model, detail["loc"][:-1]) for name in _names(owner)]
        return f"there is no such setting{_guess(way[-1], names)}"
    if kind == "literal_error":
        return f"should be {context['expected']}{_guess(given, context['expected'].split(chr(39))[1::2])}"
    if kind == "union_tag_invalid":
        expected = context["expected_tags"]
        return f"should be one of {expected}{_guess(given, expected.split(chr(39))[1::2])}"
    if kind == "string_type":
        quoted = isinstance(given, int | float)
        return "should be text: put it in quotes" if quoted else "should be text"
    if kind in {"too_short", "string_too_short"} and context.get("min_length") == 1:
        return "should not be empty"
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in _WITH_CONTEXT:
        return _WITH_CONTEXT[kind].format(**context)
    return detail["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _guess(given: Any, names: Sequence[str]) -> str:
    near = get_close_matches(str(given).lower(), names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_at(model: type[BaseModel], loc: Way) -> list[type[BaseModel]]:
    """The models that may stand at a place, as far as the annotations tell."""
    models = [model]
    for step in loc:
        fields = [
            field
            for owner in models
            for name, field in owner.model_fields.items()
            if step in (field.alias or name, name)
        ]
        tagged = [owner for owner in models if _is_tag_of(step, owner)]
        if fields:
            models = [found for field in fields for found in _models_in(field.annotation)]
        elif tagged:
            models = tagged
    return models


def _is_tag_of(step: str | int, model: type[BaseModel]) -> bool:
    return any(
        get_origin(field.annotation) is Literal and step in get_args(field.annotation)
        for field in model.model_fields.values()
    )


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in {tuple, list, dict, Union, Annotated, types.UnionType}:
        for inner in get_args(annotation):
            yield from _models_in(inner)
