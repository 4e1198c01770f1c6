"""A filter, written out for az or for Resource Manager and read back, is the same; and az agrees."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from consumer import filter_arm, filter_az
from consumer.core.filter_operators import MEANINGS, Operand, Operator
from consumer.core.filters import AdvancedFilter, Filter
from consumer.filter_settings import FilterSettings
from consumer.filter_translation import setting_of


def read(**written: Any) -> Filter:
    return FilterSettings.model_validate(written).canonical().filter()


NUMBERS = st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
KEYS = st.sampled_from(["subject", "data.a", "data.modelTags.my tag", "data.'x'.\"y\"", "ext"])


def conditions(texts: st.SearchStrategy[str]) -> st.SearchStrategy[AdvancedFilter]:
    ranges = st.tuples(NUMBERS, NUMBERS).map(lambda ends: (min(ends), max(ends)))
    values: dict[Operand, st.SearchStrategy[Any]] = {
        Operand.NOTHING: st.just(()),
        Operand.BOOL: st.tuples(st.booleans()),
        Operand.NUMBER: st.tuples(NUMBERS),
        Operand.NUMBERS: st.lists(NUMBERS, min_size=1, max_size=3).map(tuple),
        Operand.RANGES: st.lists(ranges, min_size=1, max_size=3).map(tuple),
        Operand.STRINGS: st.lists(texts, min_size=1, max_size=3).map(tuple),
    }
    return st.sampled_from(Operator).flatmap(
        lambda operator: st.builds(
            AdvancedFilter, KEYS, st.just(operator), values[MEANINGS[operator].operand]
        )
    )


def filters(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Filter]:
    return st.builds(
        Filter,
        st.none() | st.lists(st.sampled_from(["A.Made", "B.Lost"]), min_size=1, max_size=2).map(tuple),
        texts,
        texts,
        st.booleans(),
        st.booleans(),
        st.lists(conditions(texts), max_size=4).map(tuple),
    )


SAYABLE = TEXTS.filter(lambda text: text[:1] not in {"-", "@"})
"""What az takes for a value."""


def canonical(wanted: Filter) -> dict[str, Any]:
    """The settings that mean a filter."""
    written: dict[str, Any] = {
        name: getattr(wanted, name)
        for name in Filter.__match_args__  # a compiled class has no slots to ask for
        if name != "advanced_filters" and getattr(wanted, name) is not None
    }
    written["advanced_filters"] = [
        {"key": each.key, setting_of(each.operator): _written(each)} for each in wanted.advanced_filters
    ]
    return written


def _written(condition: AdvancedFilter) -> Any:
    match MEANINGS[condition.operator].operand:
        case Operand.NOTHING:
            return True
        case Operand.NUMBER | Operand.BOOL:
            return condition.values[0]
        case _:
            return [list(each) if isinstance(each, tuple) else each for each in condition.values]


def az_would_read(arguments: list[str]) -> Filter:
    """What az makes of arguments: its own parser's rules, over the real argparse."""
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--included-event-types", nargs="+")
    parser.add_argument("--subject-begins-with", default="")
    parser.add_argument("--subject-ends-with", default="")
    parser.add_argument("--subject-case-sensitive", nargs="?", const="true", default="false")
    parser.add_argument("--enable-advanced-filtering-on-arrays", nargs="?", const="true", default="false")
    parser.add_argument("--advanced-filter", nargs="+", action="append", default=[])
    got = parser.parse_args(arguments)
    assert not any(word.startswith("@") for word in arguments)  # az would look for a file
    return Filter(
        None if got.included_event_types is None else tuple(got.included_event_types),
        got.subject_begins_with,
        got.subject_ends_with,
        got.subject_case_sensitive == "true",
        got.enable_advanced_filtering_on_arrays == "true",
        tuple(_az_condition(*words) for words in got.advanced_filter),
    )


def _az_condition(key: str, name: str, *words: str) -> AdvancedFilter:
    operator = Operator(name)
    makers: dict[Operand, Any] = {
        Operand.NOTHING: str,
        Operand.BOOL: bool,  # indeed: bool("false") is True, so only the empty text is false
        Operand.NUMBER: float,
        Operand.NUMBERS: float,
        Operand.RANGES: lambda word: tuple(float(end) for end in word.split(",")),
        Operand.STRINGS: str,
    }
    return AdvancedFilter(key, operator, tuple(map(makers[MEANINGS[operator].operand], words)))


@given(filters(SAYABLE))
@example(Filter(advanced_filters=(AdvancedFilter("data.x", Operator.BOOL_EQUALS, (False,)),)))
@example(Filter(advanced_filters=(AdvancedFilter("data.x", Operator.NUMBER_IN_RANGE, ((-5, -1e-7),)),)))
@example(Filter(advanced_filters=(AdvancedFilter("data.x", Operator.NUMBER_IN, (-1e-7, -3, -0.5)),)))
@example(Filter(subject_ends_with="\\\n"))
def test_what_is_written_for_az_means_the_same_to_az_and_is_read_back(wanted: Filter) -> None:
    said = filter_az.flags(wanted)

    assert said.unsaid == []
    assert az_would_read(shlex.split(str(said))) == wanted
    assert not said.words or read(az=[str(said)]) == wanted


@given(filters(TEXTS))
def test_what_az_cannot_say_is_said_to_be_so_and_the_rest_still_is_right(wanted: Filter) -> None:
    said = filter_az.flags(wanted)

    texts = [text for text in (wanted.subject_begins_with, wanted.subject_ends_with) if text]
    given_ = [[text] for text in texts] + [
        [value for value in each.values if isinstance(value, str)] for each in wanted.advanced_filters
    ]
    lost = [
        words for words in given_ if any(word[:1] in {"@", "-"} and not _is_plain(word) for word in words)
    ]
    assert len(said.unsaid) == len(lost)
    az_would_read(shlex.split(str(said)))


def _is_plain(word: str) -> bool:
    """Whether argparse takes it for a value, as it does negative numbers and what has a blank in it."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", nargs="+")
    try:
        return word[:1] == "-" and parser.parse_known_args(["--value", word])[0].value == [word]
    except argparse.ArgumentError:
        return False


@given(filters(TEXTS))
def test_resource_managers_json_and_the_canonical_spelling_say_the_same(wanted: Filter) -> None:
    assert read(**canonical(wanted)) == wanted
    assert read(arm=json.loads(json.dumps(filter_arm.render(wanted)))) == wanted
