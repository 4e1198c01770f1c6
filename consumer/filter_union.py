"""One filter for what several processors want, for the event subscription before all of them.

Event Grid joins conditions by *and* only, so in general none lets exactly that through. The one that is made
here lets through all of it, and as little else as can be told from what the processors' filters share.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.core.filter_operators import MEANINGS, Operand
from consumer.core.filters import AdvancedFilter, Filter

_ALTERNATIVES = {Operand.NUMBERS, Operand.RANGES, Operand.STRINGS}


def union(filters: Sequence[Filter]) -> Filter:
    """A filter that lets through whatever any of them does; of at least one."""
    is_exact = all(each.is_subject_case_sensitive for each in filters)
    on_arrays = {each.enable_advanced_filtering_on_arrays for each in filters}
    # Where only some look into arrays, the same condition does not mean the same.
    conditions = [_shared(each, filters) for each in filters[0].advanced_filters if len(on_arrays) == 1]
    shared = tuple(dict.fromkeys(each for each in conditions if each is not None))
    begin = _beginning([each.subject_begins_with for each in filters], is_exact=is_exact)
    end = _beginning([each.subject_ends_with[::-1] for each in filters], is_exact=is_exact)[::-1]
    return Filter(
        included_event_types=_types(filters),
        subject_begins_with=begin,
        subject_ends_with=end,
        is_subject_case_sensitive=is_exact and bool(begin or end),
        enable_advanced_filtering_on_arrays=bool(shared) and True in on_arrays,
        advanced_filters=shared,
    )


def _types(filters: Sequence[Filter]) -> tuple[str, ...] | None:
    found: dict[str, str] = {}
    for each in filters:
        if each.included_event_types is None:
            return None
        for kind in each.included_event_types:
            found.setdefault(kind.casefold(), kind)
    return tuple(found.values())


def _beginning(texts: list[str], *, is_exact: bool) -> str:
    """What all texts begin with. Without regard to case it is spelt as in the first, as far as that goes."""
    spelt = texts[0]
    if not is_exact:
        texts = [text.casefold() for text in texts]
    length = 0
    for letters in zip(*texts, strict=False):
        if len(set(letters)) > 1:
            break
        length += 1
    # Folding some letters beyond ASCII makes two of them.
    return spelt[:length] if spelt.isascii() else texts[0][:length]


def _shared(condition: AdvancedFilter, filters: Sequence[Filter]) -> AdvancedFilter | None:
    """A condition that lets through what all filters do, made of those like it; None if a filter has none."""
    operand, is_negated, _ = MEANINGS[condition.operator]
    values = dict.fromkeys(condition.values)
    for each in filters:
        alike = [
            other.values
            for other in each.advanced_filters
            if (other.key.casefold(), other.operator) == (condition.key.casefold(), condition.operator)
        ]
        if not alike:
            return None
        if condition.values in alike:
            continue
        if operand not in _ALTERNATIVES or is_negated:
            return None
        values.update(dict.fromkeys(alike[0]))
    return AdvancedFilter(condition.key, condition.operator, tuple(values))
