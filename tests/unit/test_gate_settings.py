"""What can be said of a processor's breaker and rate, and what becomes of it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from consumer.composition import gate_of
from consumer.processor_settings import ProcessorSettings
from consumer.runtime.clock import SystemClock


def processor(**told):
    return ProcessorSettings.model_validate({"name": "mail", "type": "console"} | told)


def test_a_processor_has_a_breaker_and_no_rate_unless_told_otherwise():
    gate = gate_of(processor(), SystemClock())
    assert gate.breaker is not None
    assert gate.breaker.policy.failures == 5
    assert gate.is_calm


def test_a_breaker_can_be_done_without():
    assert gate_of(processor(breaker={"enabled": False}), SystemClock()).breaker is None


def test_a_probe_is_given_up_only_after_the_deadline_has_cut_it_off():
    gate = gate_of(processor(deadline_s=600), SystemClock())
    assert gate.breaker is not None
    assert gate.breaker.policy.probe_max_s > 600


@pytest.mark.parametrize(("told", "burst"), [({}, 10), ({"burst": 3}, 3)])
def test_a_burst_is_as_large_as_the_rate_unless_told_otherwise(told, burst):
    gate = gate_of(processor(rate={"events": 10, "per_s": 60} | told), SystemClock())
    assert not gate.is_calm
    assert gate.chunk_of(100) == burst


@pytest.mark.parametrize(
    ("told", "at"),
    [
        ({"breaker": {"open_s": 90}}, ("breaker", "open_s")),
        ({"breaker": {"open_max_s": 1}}, ("breaker", "open_max_s")),
        ({"rate": {}}, ("rate", "events")),
        ({"rate": {"events": 0}}, ("rate", "events")),
        ({"rate": {"events": 1, "per_s": 0}}, ("rate", "per_s")),
        ({"rate": {"events": 1, "brust": 2}}, ("rate", "brust")),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(told, at):
    with pytest.raises(ValidationError) as caught:
        processor(**told)
    (error,) = caught.value.errors()
    where = error.get("ctx", {}).get("findings", ())
    assert (*error["loc"], *(where[0].at if where else ())) == at
