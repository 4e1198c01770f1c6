"""Breakers and rate limits, as operators see them."""

from __future__ import annotations

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from consumer.status import ProcessorStatus, WorkerStatus
from consumer.telemetry.health import hints, judge_ready
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.workers_book import WorkersBook, report_of


@pytest.fixture
def with_breaker(engine_status):
    """Makes the status of an engine whose processor has a breaker in a state."""

    def make(breaker: str, **fields):
        (processor,) = engine_status().processors
        return engine_status(processors=[msgspec.structs.replace(processor, breaker=breaker, **fields)])

    return make


def samples(status):
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(Metrics(lambda: status).render()[0].decode())
        for sample in family.samples
    }


@pytest.mark.parametrize("state", ["open", "half_open"])
def test_a_processor_whose_target_is_down_is_named_and_inturn_stays_ready(with_breaker, state):
    status = with_breaker(state)
    assert judge_ready(status, 0.0).ok
    assert hints(status) == ["Breakers open: log; their events wait until a try succeeds."]
    assert hints(with_breaker("closed")) == []


def test_the_state_and_what_it_cost_are_measured(with_breaker):
    found = samples(with_breaker("open", breaker_opened=3, breaker_waited_s=60.5, rate_waited_s=7.25))
    state = "inturn_processor_breaker_state"
    assert [found[state, "log", name] for name in ("closed", "half_open", "open")] == [0, 0, 1]
    assert found["inturn_processor_breaker_opened_total", "log"] == 3
    assert found["inturn_processor_breaker_waited_seconds_total", "log"] == 60.5
    assert found["inturn_processor_rate_waited_seconds_total", "log"] == 7.25


def test_a_processor_without_a_breaker_is_in_no_state(engine_status):
    assert not [name for name in samples(engine_status()) if name[0] == "inturn_processor_breaker_state"]


def test_several_workers_have_the_worst_of_their_breakers_and_the_sum_of_their_waits(with_breaker):
    book = WorkersBook()
    for worker, state in (("1", "closed"), ("2", "open"), ("3", "half_open")):
        status = with_breaker(state, breaker_opened=2, breaker_waited_s=1.5, rate_waited_s=0.5)
        book.report(worker, report_of(status, [], [], []))
    shown = _processor_of(book)
    assert (shown.breaker, shown.breaker_opened) == ("open", 6)
    assert (shown.breaker_waited_s, shown.rate_waited_s) == (4.5, 1.5)
    book.ended("2")
    assert _processor_of(book).breaker == "half_open"
    assert _processor_of(book).breaker_opened == 6


def _processor_of(book: WorkersBook) -> ProcessorStatus:
    known = {"state": "running", "pid": 1, "restarts": 0, "up_s": 5.0, "silent_s": 0.1, "last_end": ""}
    workers = [WorkerStatus(worker=name, **known) for name in "123"]
    (processor,) = book.status(workers, version="0", state="running", up_s=1.0).processors
    return processor
