"""Filters with Event Grid's meaning: a model of one, and the plain function that it is compiled to.

A filter is what the ``filter`` of an event subscription is: event types, the beginning and the end of the
subject, and advanced filters, all of which have to match. `consumer.core.filter_operators` says what the
operators mean, `consumer.core.filter_keys` what a key finds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consumer.core.filter_keys import reader_of, reads_data
from consumer.core.filter_operators import MEANINGS, Operand, Operator, Value, test_of
from consumer.events import Event

Predicate = Callable[[Event], bool]
"""Whether an event is let through. Raises `BadData` where that depends on data that is unreadable."""


@dataclass(frozen=True, slots=True)
class AdvancedFilter:
    """One condition on one key."""

    key: str
    operator: Operator
    values: tuple[Value, ...] = ()
    """What to compare with: none for the operators that ask for null, one for a limit or a truth value."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What is let through; everything that is given has to match."""

    included_event_types: tuple[str, ...] | None = None
    """Event types, compared without regard to case; None: all."""
    subject_begins_with: str = ""
    subject_ends_with: str = ""
    is_subject_case_sensitive: bool = False
    """Whether case counts for the two above; it never does for advanced filters."""
    enable_advanced_filtering_on_arrays: bool = False
    """Whether operators look at the elements of an array; otherwise it matches none that compares."""
    advanced_filters: tuple[AdvancedFilter, ...] = ()


def compiled(wanted: Filter) -> Predicate:
    """Make the function that says whether an event is let through: once, for any number of events."""
    tests: list[Predicate] = []
    if wanted.included_event_types is not None:
        tests.append(_of_type(frozenset(kind.casefold() for kind in wanted.included_event_types)))
    if wanted.subject_begins_with or wanted.subject_ends_with:
        tests.append(_of_subject(wanted))
    # The envelope first: the data need not be decoded for what the envelope tells.
    in_order = sorted(wanted.advanced_filters, key=lambda each: reads_data(each.key))
    on_arrays = wanted.enable_advanced_filtering_on_arrays
    tests.extend([_condition(each, on_arrays=on_arrays) for each in in_order])
    return tests[0] if len(tests) == 1 else _all(tests)


def _all(tests: list[Predicate]) -> Predicate:
    def matches(event: Event) -> bool:
        for test in tests:  # noqa: SIM110 - no generator for each event
            if not test(event):
                return False
        return True

    return matches


def _of_type(types: frozenset[str]) -> Predicate:
    def matches(event: Event) -> bool:
        return event.type.casefold() in types

    return matches


def _of_subject(wanted: Filter) -> Predicate:
    begin, end, is_exact = wanted.subject_begins_with, wanted.subject_ends_with, True
    if not wanted.is_subject_case_sensitive:
        begin, end, is_exact = begin.casefold(), end.casefold(), False

    def matches(event: Event) -> bool:
        subject = event.subject if is_exact else event.subject.casefold()
        return subject.startswith(begin) and subject.endswith(end)

    return matches


def _condition(condition: AdvancedFilter, *, on_arrays: bool) -> Predicate:
    operator = condition.operator
    meaning = MEANINGS[operator]
    operand, is_negated, if_missing = meaning
    read = reader_of(condition.key, as_text=operand is Operand.STRINGS)
    test = test_of(operator, condition.values)
    compares = operand is not Operand.NOTHING

    def matches(event: Event) -> bool:
        value = read(event)
        if value is None:
            return if_missing
        if compares and type(value) is list:
            if not on_arrays:
                return False
            for element in value:
                if test(element):
                    return not is_negated
            return is_negated
        return test(value) is not is_negated

    return matches
