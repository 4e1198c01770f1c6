"""A plan holds what it promises, and every message becomes what it is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from consumer.events import Outcome, Position, Reason
from consumer.samples.messages import Intent, Mix, Trace
from consumer.samples.poison import BODIES
from consumer.samples.trace import EVENTS_MIN, PAUSE_WINDOWS, plan
from consumer.samples.truth import End, Rules, reckon

WINDOW_MS = 2_000


@pytest.fixture(scope="module")
def trace() -> Trace:
    return plan(11, 4_000)


def test_the_same_seed_gives_the_same_bytes(trace: Trace) -> None:
    assert plan(11, 4_000) == trace


def test_another_seed_is_about_other_objects(trace: Trace) -> None:
    other = plan(12, 4_000)

    keys = {message.partition_key for message in other.messages if message.intent is Intent.FRESH}
    assert keys.isdisjoint({message.partition_key for message in trace.messages})


@pytest.mark.parametrize("events", [EVENTS_MIN, 101, 777, 2_500])
def test_a_trace_leads_to_exactly_as_many_outcomes_as_were_asked_for(
    events: int, as_log: Callable[..., Any]
) -> None:
    trace = plan(3, events)

    truth = reckon(Rules(trace.topics, trace.types, WINDOW_MS), as_log(trace).partitions)

    assert trace.events == events
    assert sum(truth.outcomes.values()) == events


def test_too_few_events_are_refused() -> None:
    with pytest.raises(ValueError, match="100 events at least"):
        plan(1, EVENTS_MIN - 1)


def test_a_fifth_comes_twice_and_a_fifth_out_of_order(trace: Trace) -> None:
    intents = Counter(message.intent for message in trace.messages)

    assert intents[Intent.OVERTAKEN] == 800
    assert intents[Intent.REDELIVERED] + intents[Intent.REPUBLISHED] == pytest.approx(800, abs=2)
    assert intents[Intent.LATE] == 80
    assert all(intents[intent] for intent in Intent)


def test_a_mix_can_be_without_trouble() -> None:
    mix = Mix(
        repeated=0, overtaken=0, late=0, poison=0, foreign=0, unwanted=0, several=0, controls=0, empties=0
    )

    intents = {message.intent for message in plan(5, 1_000, mix).messages}

    assert intents <= {Intent.FRESH, Intent.CONFLICTING}


def expected(message: Any, index: int) -> End:
    match message.intent:
        case Intent.LATE:
            return End(Outcome.STALE)
        case Intent.REDELIVERED | Intent.REPUBLISHED:
            return End(Outcome.DUPLICATE)
        case Intent.POISON:
            return End(Outcome.DEAD_LETTERED, message.reason)
        case Intent.SEVERAL if index == 1:
            return End(Outcome.DEAD_LETTERED, message.reason)
        case Intent.FOREIGN_TOPIC:
            return End(Outcome.IGNORED, Reason.TOPIC)
        case Intent.UNWANTED_TYPE:
            return End(Outcome.IGNORED, Reason.TYPE)
        case Intent.CONTROL:
            return End(Outcome.IGNORED, Reason.CONTROL)
        case _:
            return End(Outcome.HANDLED)


@pytest.mark.parametrize("seed", range(4))
def test_every_message_becomes_what_it_is_for(seed: int, as_log: Callable[..., Any]) -> None:
    trace = plan(seed, 2_000)
    log = as_log(trace, window_ms=WINDOW_MS)

    truth = reckon(Rules(trace.topics, trace.types, WINDOW_MS), log.partitions)

    for partition, number, message in log.messages:
        for index in range(message.elements):
            assert truth.ends[Position(partition, number, index)] == expected(message, index), message
    conflicting = [message for message in trace.messages if message.intent is Intent.CONFLICTING]
    assert len(truth.conflicts) == len(conflicting)


def test_what_is_overtaken_would_be_stale_without_a_window(trace: Trace, as_log: Callable[..., Any]) -> None:
    log = as_log(trace, window_ms=0)

    truth = reckon(Rules(trace.topics, trace.types, 0), log.partitions)

    for partition, number, message in log.messages:
        if message.intent is Intent.OVERTAKEN:
            assert truth.ends[Position(partition, number, 0)] == End(Outcome.STALE)


def test_late_events_come_last_after_a_pause_that_no_window_outlasts(trace: Trace) -> None:
    *before, last = trace.phases

    assert last.pause_before_s(10.0) == 10.0 * PAUSE_WINDOWS
    assert PAUSE_WINDOWS > 1
    assert not any(message.intent is Intent.LATE for phase in before for message in phase.messages)


def test_redeliveries_count_up_and_keep_the_body_or_change_only_the_schema(trace: Trace) -> None:
    bodies = {message.body for message in trace.messages if message.intent is not Intent.REDELIVERED}
    again = [message for message in trace.messages if message.intent is Intent.REDELIVERED]

    exact = [message for message in again if message.body in bodies]

    assert len(exact) > len(again) * 0.8
    assert all(int(message.properties["aeg-delivery-count"]) > 0 for message in exact)


def test_every_kind_of_poison_is_in_a_trace_of_the_usual_size() -> None:
    poison = {(m.note, m.reason) for m in plan(2).messages if m.intent is Intent.POISON}

    assert poison == {(note, reason) for note, reason, _ in BODIES}


def test_messages_are_about_a_kilobyte(trace: Trace) -> None:
    sizes = [len(message.body) for message in trace.messages if message.intent is Intent.FRESH]

    assert 700 < sum(sizes) / len(sizes) < 1_300
    assert max(sizes) < 4_000
