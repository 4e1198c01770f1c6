"""Internal events: made with the outcome of their cause, and kept until everybody is done with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Dispatch, Effect, Pause, PutDeadLetters, Resume, StoreCheckpoint
from consumer.core.flights import Delivery, Flight, ProcessorPlan
from consumer.core.idempotency import idempotency_key
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import Snapshot, decode, encode, new_snapshot
from consumer.core.stimuli import (
    DeadLettered,
    Emitted,
    Ended,
    Handled,
    Received,
    Resolved,
    Result,
    Stored,
    Ticked,
    Verdict,
)
from consumer.events import NOTHING_DONE, Event, Outcome, Reason

from .conftest import STORAGE, as_batch, compact, decoded, grid_event

DEPLOY = ProcessorPlan("deploy")
MAIL = ProcessorPlan("mail", types=(), internal_types=("Inturn.*",))
PAGER = ProcessorPlan("pager", types=(), internal_types=("Inturn.Failed",), delivery=Delivery.ON_ARRIVAL)
EVERYTHING = ProcessorPlan("everything")
PLANS = (DEPLOY, MAIL, PAGER, EVERYTHING)


def start(
    snapshot: Snapshot | None = None, plans: tuple[ProcessorPlan, ...] = PLANS, **policy: Any
) -> Pipeline:
    known = {"idle_margin_ms": 0, "checkpoint_interval_ms": 0} | policy
    return Pipeline(
        PipelinePolicy(SequencerLimits(0), **known),
        plans,
        Admission(None, None),
        Catalogue(),
        snapshot or new_snapshot(NOTHING_DONE, ""),
    )


def restarted(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(decode(encode(snapshot)), epoch=snapshot.epoch + 1)


def given(effects: list[Effect]) -> dict[int, list[tuple[Event, Flight]]]:
    return {
        effect.processor: list(zip(effect.events, effect.tickets, strict=True))
        for effect in effects
        if isinstance(effect, Dispatch)
    }


def cause(pipeline: Pipeline, number: int = 0, **changes: Any) -> Flight:
    """Let an event be dispatched, and be done with by all but the first processor."""
    body = compact([grid_event(**({"id": f"e{number}", "subject": "models/m"} | changes))])
    effects = pipeline.handle(Received(as_batch(body, first=number), 1_000))
    effects += pipeline.handle(Ended())
    dispatched = given(effects)
    for processor, ((_, ticket),) in dispatched.items():
        if processor:
            pipeline.handle(Handled(processor, [ticket]))
    ((_, ticket),) = dispatched[0]
    return ticket


def emit(pipeline: Pipeline, ticket: Flight, *types: str, data: Any = None) -> list[Effect]:
    written = orjson.dumps({"why": "because"} if data is None else data)
    wanted = [Emitted(ticket, type_, "models/m", written) for type_ in types]
    return pipeline.handle(Handled(0, [ticket], wanted))


def test_whoever_names_the_type_gets_it_at_once_and_a_star_does_not() -> None:
    pipeline = start()

    effects = emit(pipeline, cause(pipeline), "Inturn.Failed", "Inturn.Deployed")

    types = {processor: [event.type for event, _ in pairs] for processor, pairs in given(effects).items()}
    assert types == {1: ["Inturn.Failed", "Inturn.Deployed"], 2: ["Inturn.Failed"]}
    assert pipeline.internal.counts == {"emitted": 2}


def test_it_is_a_cloud_event_with_the_place_and_the_time_of_its_cause() -> None:
    pipeline = start()

    effects = emit(pipeline, cause(pipeline, 7), "Inturn.Failed", data={"model": "m"})

    ((event, _),) = given(effects)[2]
    written = json.loads(event.original)
    assert written.pop("id") == event.id
    assert written == {
        "specversion": "1.0",
        "source": STORAGE,
        "subject": "models/m",
        "type": "Inturn.Failed",
        "time": "2026-11-21T06:00:00.1234567Z",
        "data": {"model": "m"},
    }
    assert (event.partition, event.sequence_number, event.index) == ("0", 7, 0)
    assert event.object_id == (STORAGE.casefold(), "models/m")


def test_one_of_a_cause_without_a_time_has_none() -> None:
    pipeline = start()
    body = compact([{"specversion": "1.0", "id": "1", "source": "s", "subject": "x", "type": "T"}])
    ((_, ticket),) = given([*pipeline.handle(Received(as_batch(body), 1_000)), *pipeline.handle(Ended())])[0]

    ((event, _),) = given(emit(pipeline, ticket, "Inturn.Failed"))[2]

    assert event.event_time is None
    assert b'"time"' not in event.original


def test_several_of_one_cause_have_ids_and_keys_of_their_own_which_the_next_owner_finds_again() -> None:
    def ids() -> list[tuple[str, str]]:
        pipeline = start()
        effects = emit(pipeline, cause(pipeline), "Inturn.Failed", "Inturn.Failed")
        return [(event.id, idempotency_key("g", "pager", event)) for event, _ in given(effects)[2]]

    first = ids()
    assert len(set(first)) == 2
    assert ids() == first


def test_what_was_put_aside_gives_the_same_event_and_key_when_it_is_redriven() -> None:
    pipeline = start()
    ((event, ticket),) = given(emit(pipeline, cause(pipeline), "Inturn.Failed"))[2]

    (put,) = (
        effect
        for effect in pipeline.handle(Resolved([Result(ticket, 2, Verdict.FAILED, Reason.REJECTED, "no")]))
        if isinstance(effect, PutDeadLetters)
    )

    assert put.letters[0].subject is event
    (again,) = decoded(event.original)
    assert isinstance(again, Event)
    assert idempotency_key("g", "pager", again) == idempotency_key("g", "pager", event)


def test_it_is_kept_until_everybody_is_done_and_counts_as_in_flight() -> None:
    pipeline = start()
    effects = emit(pipeline, cause(pipeline), "Inturn.Failed")
    tickets = {processor: pairs[0][1] for processor, pairs in given(effects).items()}
    assert pipeline.tracker.checkpoint.sequence_number == 0
    assert (pipeline.in_flight, len(pipeline.snapshot().internal)) == (1, 1)

    pipeline.handle(Handled(1, [tickets[1]]))
    assert [kept.progress.done for kept in pipeline.snapshot().internal] == [["mail"]]
    pipeline.handle(Handled(2, [tickets[2]]))

    assert (pipeline.in_flight, pipeline.snapshot().internal) == (0, [])
    assert not pipeline.has_work
    assert pipeline.internal.counts == {"emitted": 1, "handled": 1}
    assert pipeline.counts.outcomes[Outcome.HANDLED, None] == 1


def test_what_is_stored_has_the_outcome_and_what_was_emitted_with_it_or_neither() -> None:
    pipeline = start()
    ticket = cause(pipeline)
    before = pipeline.snapshot()
    effects = emit(pipeline, ticket, "Inturn.Failed")

    stored = [effect.snapshot for effect in effects if isinstance(effect, StoreCheckpoint)]
    for snapshot in (before, pipeline.snapshot(), *stored):
        assert (snapshot.checkpoint.sequence_number == 0) is bool(snapshot.internal)


def test_after_a_restart_only_those_who_were_not_done_get_it_again_and_it_is_the_same() -> None:
    first = start()
    effects = emit(first, cause(first), "Inturn.Failed")
    ((event, ticket),) = given(effects)[1]
    first.handle(Handled(1, [ticket]))

    second = start(restarted(first.snapshot()))
    ((processor, [(again, ticket)]),) = given(second.handle(Ticked(2_000))).items()

    assert (processor, again) == (2, event)
    second.handle(Handled(2, [ticket]))
    assert second.snapshot().internal == []


def test_a_failure_that_was_put_aside_is_remembered_over_a_restart() -> None:
    first = start()
    effects = emit(first, cause(first), "Inturn.Failed")
    ((_, ticket),) = given(effects)[1]
    while not first.is_settled:
        first.handle(Stored(ok=True, now_ms=1_000, took_ms=0))
    first.handle(Resolved([Result(ticket, 1, Verdict.FAILED, Reason.REJECTED, "no")]))
    effects = first.handle(DeadLettered([(ticket, 1)]))
    (store,) = (effect for effect in effects if isinstance(effect, StoreCheckpoint))
    assert store.settles == [(ticket, 1)]

    second = start(restarted(store.snapshot))
    ((_, ticket),) = given(second.handle(Ticked(2_000)))[2]
    second.handle(Handled(2, [ticket]))

    assert second.internal.counts == {"dead_lettered": 1}


def test_one_that_nobody_names_any_more_is_forgotten() -> None:
    first = start()
    emit(first, cause(first), "Inturn.Failed", "Inturn.Other")

    second = start(restarted(first.snapshot()), plans=(DEPLOY, PAGER))

    ((processor, [(event, _)]),) = given(second.handle(Ticked(2_000))).items()
    assert (processor, event.type) == (1, "Inturn.Failed")
    assert second.internal.counts == {"unwanted": 1}


def test_who_was_done_stays_done_while_another_configuration_does_not_ask_it() -> None:
    first = start()
    ((_, ticket),) = given(emit(first, cause(first), "Inturn.Failed"))[1]
    first.handle(Handled(1, [ticket]))

    second = start(restarted(first.snapshot()), plans=(DEPLOY, PAGER))
    third = start(restarted(second.snapshot()))

    assert list(given(third.handle(Ticked(2_000)))) == [2]


@pytest.mark.parametrize("kept", [0, 1])
def test_a_filter_is_asked_too(kept: int) -> None:
    matches: Callable[[Event], bool] = lambda event: event.field("kept") == 1  # noqa: E731 - a filter is a function
    picky = ProcessorPlan("picky", types=(), internal_types=("Inturn.*",), matches=matches)
    pipeline = start(plans=(DEPLOY, picky))

    effects = emit(pipeline, cause(pipeline), "Inturn.Failed", data={"kept": kept})

    assert list(given(effects)) == [1] * kept
    assert len(pipeline.internal) == kept


def test_too_many_of_them_pause_the_source_until_half_of_them_are_done() -> None:
    pipeline = start(plans=(DEPLOY, MAIL), internal_max=4)
    effects = emit(pipeline, cause(pipeline), *["Inturn.Failed"] * 4)
    assert any(isinstance(effect, Pause) for effect in effects)
    tickets = [ticket for _, ticket in given(effects)[1]]

    assert not any(isinstance(effect, Resume) for effect in pipeline.handle(Handled(1, tickets[:2])))
    assert any(isinstance(effect, Resume) for effect in pipeline.handle(Handled(1, tickets[2:3])))


@pytest.mark.parametrize("forged", ["Inturn.Failed", "inturn.failed", "INTURN.X"])
def test_one_that_comes_from_a_hub_is_nobodys(forged: str) -> None:
    pipeline = start()

    effects = pipeline.handle(Received(as_batch(compact([grid_event(eventType=forged)])), 1_000))

    (put,) = (effect for effect in effects if isinstance(effect, PutDeadLetters))
    assert put.letters[0].reason is Reason.SPOOFED_TYPE
    assert given(effects) == {}
