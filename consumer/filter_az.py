"""Filters as arguments of `az eventgrid event-subscription create`: read them, and write them.

A text is one ``--advanced-filter`` (``data.color StringIn blue red``), or any of az's flags for filters,
quoted as for a shell. What is written can be pasted behind az's command, and read back.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from consumer.core.filter_operators import MEANINGS, Operand, Operator
from consumer.core.filters import AdvancedFilter, Filter
from consumer.filter_translation import Translation, operator_named, setting_of
from consumer.setting_rules import Finding

_ADVANCED = "--advanced-filter"
_TYPES = "--included-event-types"
_TEXTS = {"--subject-begins-with": "subject_begins_with", "--subject-ends-with": "subject_ends_with"}
_FLAGS = {
    "--subject-case-sensitive": "is_subject_case_sensitive",
    "--enable-advanced-filtering-on-arrays": "enable_advanced_filtering_on_arrays",
    "--enable-af-arr": "enable_advanced_filtering_on_arrays",
}
_TRUTH = {"true": True, "false": False, "": False}
"""What az's own parser takes for false behind `BoolEquals` is only the empty text; see `flags`."""


_QUOTED_OR_ESCAPED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""", re.DOTALL)
_ESCAPED = re.compile(r"\\.", re.DOTALL)


class _Wrong(Exception):
    """An argument that cannot be read; says why."""


def parse(texts: Sequence[str]) -> Translation:
    """Read texts, each found at its index under ``az``."""
    read = Translation({}, {}, [])
    for index, text in enumerate(texts):
        try:
            words = shlex.split(_QUOTED_OR_ESCAPED.sub(_unfolded, text))
            for flag, values in _options(words):
                _take(read, flag, values, index)
        except (ValueError, _Wrong) as error:
            message = str(error) if isinstance(error, _Wrong) else "a quotation mark is not closed"
            read.flaws.append(Finding(("az", index), message))
    return read


def _unfolded(found: re.Match[str]) -> str:
    """Take out where a command was folded with backslashes, as a shell does: not within single quotes."""
    text = found[0]
    if text == "\\\n":
        return ""
    return _ESCAPED.sub(_unfolded, text) if text.startswith('"') else text


def _options(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    if not words or not words[0].startswith("--"):
        yield _ADVANCED, words
        return
    starts = [at for at, word in enumerate(words) if word.startswith("--")]
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        flag, sign, value = words[start].partition("=")
        yield flag, [value, *words[start + 1 : end]] if sign else words[start + 1 : end]


def _take(read: Translation, flag: str, values: list[str], index: int) -> None:
    """Note what an option says."""
    if flag == _ADVANCED:
        conditions = read.settings.setdefault("advanced_filters", [])
        read.origins["advanced_filters", len(conditions)] = ("az", index)
        conditions.append(_condition(values))
        return
    value: Any
    if flag == _TYPES:
        name, value = "included_event_types", [] if values in ([], ["All"]) else values
    elif flag in _TEXTS and len(values) == 1:
        name, value = _TEXTS[flag], values[0]
    elif flag in _FLAGS and len(values) <= 1:
        name, value = _FLAGS[flag], _truth(values[0] if values else "true")
    else:
        if flag in {**_TEXTS, **_FLAGS}:
            raise _Wrong(f"{flag} takes one value")
        expected = ", ".join([_ADVANCED, _TYPES, *_TEXTS, *_FLAGS])
        raise _Wrong(f"{flag} is none of az's flags for filters: {expected}")
    if name in read.settings:
        raise _Wrong(f"{flag} is given twice")
    read.origins[name,] = ("az", index)
    if value != []:
        read.settings[name] = value


def _condition(words: list[str]) -> dict[str, Any]:
    if len(words) < 2:
        raise _Wrong("should be KEY OPERATOR [VALUE...], such as data.color StringIn blue red")
    operator = operator_named(words[1])
    if not isinstance(operator, Operator):
        raise _Wrong(f"{words[1]}: {operator}")
    return {"key": words[0], setting_of(operator): _values(operator, words[2:])}


def _values(operator: Operator, words: list[str]) -> Any:
    operand = MEANINGS[operator].operand
    if operand is Operand.NOTHING:
        if words:
            raise _Wrong(f"{operator} takes no value")
        return True
    if operand in {Operand.NUMBER, Operand.BOOL}:
        if len(words) != 1:
            raise _Wrong(f"{operator} takes one value")
        return _truth(words[0]) if operand is Operand.BOOL else _number(words[0])
    if not words:
        raise _Wrong(f"{operator} takes at least one value")
    if operand is Operand.NUMBERS:
        return [_number(word) for word in words]
    if operand is Operand.RANGES:
        return [_range(word) for word in words]
    return words


def _truth(word: str) -> bool:
    if word.casefold() not in _TRUTH:
        raise _Wrong("should be true or false")
    return _TRUTH[word.casefold()]


def _number(word: str) -> int | float:
    try:
        return int(word)
    except ValueError:
        pass
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _Wrong(f"{word} should be a number")
    return number


def _range(word: str) -> list[int | float]:
    ends = word.split(",")
    if len(ends) != 2:
        raise _Wrong(f"{word} should be a range such as 5,10")
    return [_number(end) for end in ends]


class Flags(NamedTuple):
    """A filter as az's arguments."""

    words: list[str]
    unsaid: list[str]
    """What az's command line has no way to say, a sentence for each; left out of `words`."""

    def __str__(self) -> str:
        return shlex.join(self.words)


def flags(wanted: Filter) -> Flags:
    """Write a filter."""
    said = Flags([], [])
    if wanted.included_event_types is not None:
        said.words.extend([_TYPES, *wanted.included_event_types])
    for flag, name in _TEXTS.items():
        text = getattr(wanted, name)
        _say(said, [text] if text else [], flag)
    if wanted.is_subject_case_sensitive:
        said.words.extend(["--subject-case-sensitive", "true"])
    if wanted.enable_advanced_filtering_on_arrays:
        said.words.extend(["--enable-advanced-filtering-on-arrays", "true"])
    for each in wanted.advanced_filters:
        _say(said, [each.key, str(each.operator), *map(_word, _operands(each))], _ADVANCED)
    return said


def _say(said: Flags, words: list[str], flag: str) -> None:
    # az reads `@name` from a file, and takes for a flag whatever begins so, unless there is a blank in it.
    lost = [word for word in words if word[:1] == "@" or (word[:1] == "-" and not _fits(word))]
    if lost:
        said.unsaid.append(f"az would not take {shlex.quote(lost[0][:80])} for a value of {flag}")
    elif words:
        said.words.extend([flag, *words])


def _fits(word: str) -> bool:
    """Whether az takes a word for a value although it begins with a hyphen."""
    return " " in word or re.fullmatch(r"-\d+|-\d*\.\d+", word) is not None


def _operands(condition: AdvancedFilter) -> list[Any]:
    # Of any text behind `BoolEquals` az makes true, of `false` as well; of the empty text it makes false.
    return ["" if value is False else value for value in condition.values]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true"
    if isinstance(value, str):
        return value
    text = ",".join(map(repr, value)) if isinstance(value, tuple) else repr(value)
    # A blank before it keeps az from taking a negative range for a flag; a number is read without it.
    return text if text[0] != "-" or _fits(text) else f" {text}"
