"""A pipeline gives every event to those whose filter lets it through, once, and to nobody else."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Dispatch, Effect
from consumer.core.filters import Filter, compiled
from consumer.core.flights import Delivery, ProcessorPlan
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import Snapshot, decode, encode, new_snapshot
from consumer.core.stimuli import Ended, Handled, Received
from consumer.events import NOTHING_DONE, Outcome, RawBatch, Reason

from .test_filters import FILTERS, events, naive

Wanted = tuple[Filter | None, Delivery]
WANTED = st.tuples(st.none() | FILTERS, st.sampled_from(Delivery))


def numbered(envelope: dict[str, Any], number: int) -> dict[str, Any]:
    """An event of its own, later than the one before."""
    return envelope | {"id": f"{envelope['id']}{number}", "time": f"2026-11-21T06:00:{number:02}Z"}


def start(wanted: list[Wanted], snapshot: Snapshot | None = None) -> Pipeline:
    plans = [
        ProcessorPlan(f"p{index}", delivery=delivery, matches=None if each is None else compiled(each))
        for index, (each, delivery) in enumerate(wanted)
    ]
    policy = PipelinePolicy(SequencerLimits(0))
    kept = snapshot or new_snapshot(NOTHING_DONE, "")
    return Pipeline(policy, plans, Admission(None, None), Catalogue(), kept)


def receive(pipeline: Pipeline, envelopes: list[dict[str, Any]], first: int) -> list[Effect]:
    count = len(envelopes)
    numbers = list(range(first, first + count))
    bodies = [json.dumps([each]).encode() for each in envelopes]
    texts, times, keys = [str(number) for number in numbers], [1_000] * count, ["k"] * count
    batch = RawBatch("0", bodies, numbers, texts, times, list(keys), lambda _: {})
    return [*pipeline.handle(Received(batch, 1_000)), *pipeline.handle(Ended())]


def handle(pipeline: Pipeline, effects: list[Effect], done: dict[int, list[str]], *by: int) -> None:
    for each in effects:
        if isinstance(each, Dispatch) and each.processor in by:
            done[each.processor] += [event.id for event in each.events]
            pipeline.handle(Handled(each.processor, each.tickets))


@given(st.lists(WANTED, min_size=1, max_size=3), st.lists(events(), min_size=1, max_size=6), st.data())
def test_everybody_gets_what_its_filter_lets_through_over_a_restart_too(
    wanted: list[Wanted], drawn: list[dict[str, Any]], data: st.DataObject
) -> None:
    envelopes = [numbered(each, number) for number, each in enumerate(drawn)]
    everybody = range(len(wanted))
    before = data.draw(st.sets(st.sampled_from(everybody)), label="who handled before the restart")
    done: dict[int, list[str]] = {index: [] for index in everybody}

    pipeline = start(wanted)
    handle(pipeline, receive(pipeline, envelopes, 0), done, *before)
    ignored = pipeline.counts.outcomes[Outcome.IGNORED, Reason.FILTER]
    again = start(wanted, decode(encode(pipeline.snapshot())))
    first = again.highest_received + 1
    handle(again, receive(again, envelopes[first:], first), done, *everybody)

    for index, (each, _) in enumerate(wanted):
        assert done[index] == [e["id"] for e in envelopes if each is None or naive(each, e)]
    unwanted = [e for e in envelopes if not any(f is None or naive(f, e) for f, _ in wanted)]
    assert ignored == len(unwanted)
    assert again.tracker.checkpoint.sequence_number == len(envelopes) - 1
    assert again.in_flight == 0
