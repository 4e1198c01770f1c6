"""The pipeline by examples: each promise that once was broken, and those that random logs hardly reach."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Dispatch, Effect, Pause, PutDeadLetters, Resume, StoreCheckpoint
from consumer.core.flights import Delivery, ProcessorPlan
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import Snapshot, decode, encode, new_snapshot
from consumer.core.stimuli import (
    DeadLettered,
    Ended,
    Received,
    Resolved,
    Result,
    Revoked,
    Stored,
    Ticked,
    Verdict,
)
from consumer.events import NOTHING_DONE, Outcome, Reason

from .conftest import as_batch, compact, grid_event

HANDLED, SKIPPED, FAILED = Verdict.HANDLED, Verdict.SKIPPED, Verdict.FAILED
IN_TURN = ProcessorPlan("in-turn")
ALERT = ProcessorPlan("alert", delivery=Delivery.ON_ARRIVAL)


def blob(sequencer: str | None, subject: str = "s", **changes: Any) -> bytes:
    data = {} if sequencer is None else {"sequencer": sequencer}
    return compact([grid_event(subject=subject, id=f"{subject}-{sequencer}", data=data) | changes])


def start(
    *plans: ProcessorPlan, window_ms: int = 0, snapshot: Snapshot | None = None, **policy: Any
) -> Pipeline:
    span_max = policy.pop("span_max", 50_000)
    known = {"idle_margin_ms": 100, "checkpoint_interval_ms": 1_000} | policy
    return Pipeline(
        PipelinePolicy(SequencerLimits(window_ms, span_max=span_max), **known),
        plans or [IN_TURN],
        Admission(None, None),
        Catalogue(),
        snapshot or new_snapshot(NOTHING_DONE, ""),
    )


def receive(pipeline: Pipeline, *bodies: bytes, first: int = 0, time_ms: int = 1_000) -> list[Effect]:
    return pipeline.handle(Received(as_batch(*bodies, first=first, time_ms=time_ms), time_ms))


def receive_all(pipeline: Pipeline, *bodies: bytes) -> list[Effect]:
    """Receive, and let what is held go out since nothing more will come."""
    return [*receive(pipeline, *bodies), *pipeline.handle(Ended())]


def given(effects: list[Effect], processor: int = 0) -> list[str]:
    dispatches = [one for one in effects if isinstance(one, Dispatch) and one.processor == processor]
    return [event.id.partition("-")[2] for one in dispatches for event in one.events]


def tickets(effects: list[Effect], processor: int = 0) -> list[int]:
    return [
        ticket
        for one in effects
        if isinstance(one, Dispatch) and one.processor == processor
        for ticket in one.tickets
    ]


def stores(effects: list[Effect]) -> list[StoreCheckpoint]:
    return [one for one in effects if isinstance(one, StoreCheckpoint)]


def restarted(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(decode(encode(snapshot)), epoch=snapshot.epoch + 1)


def resolve(pipeline: Pipeline, ticket: int, verdict: Verdict, processor: int = 0) -> list[Effect]:
    reason = Reason.RETRIES_SPENT if verdict is FAILED else None
    return pipeline.handle(Resolved([Result(ticket, processor, verdict, reason)]))


def test_a_restart_takes_log_time_from_the_checkpoint_and_not_from_what_came_after() -> None:
    """Or what was held before would wait longer than it did, and let others go before it."""
    first = start(window_ms=60)
    receive(first, blob("05"), first=0, time_ms=50)
    receive(first, blob("01", "other"), first=1, time_ms=100)
    second = start(window_ms=60, snapshot=restarted(first.snapshot()))

    for pipeline in (first, second):
        if pipeline is second:
            receive(pipeline, blob("05"), first=0, time_ms=50)
            receive(pipeline, blob("01", "other"), first=1, time_ms=100)
        assert given(receive(pipeline, blob("03"), first=2, time_ms=115)) == ["05"]
        assert pipeline.counts.outcomes[Outcome.STALE, None] == 1


def test_a_failure_is_stored_at_once_and_names_what_may_go_on() -> None:
    pipeline = start()
    effects = receive_all(pipeline, blob("01"), blob("02"))
    assert stores(effects)
    pipeline.handle(Stored(ok=True, now_ms=1_000, took_ms=0))
    (first, _) = tickets(effects)

    (letters,) = resolve(pipeline, first, FAILED)
    assert isinstance(letters, PutDeadLetters)
    (store,) = stores(pipeline.handle(DeadLettered([(first, 0)])))

    assert store.settles == [(first, 0)]
    assert store.snapshot.checkpoint.sequence_number == 0


@pytest.mark.parametrize("ok", [True, False])
def test_a_failure_during_a_write_is_in_the_next_write(ok: bool) -> None:
    pipeline = start()
    effects = receive_all(pipeline, blob("01"), blob("02"))
    (early,) = stores(effects)
    assert early.settles == []
    (first, _) = tickets(effects)
    resolve(pipeline, first, FAILED)
    assert stores(pipeline.handle(DeadLettered([(first, 0)]))) == []

    effects = pipeline.handle(Stored(ok=ok, now_ms=1_000, took_ms=0))
    if not ok:
        assert stores(effects) == []  # a store that is down is not asked again at once
        effects = pipeline.handle(Ticked(2_000))
    (store,) = stores(effects)
    assert store.settles == [(first, 0)]


def test_a_failure_whose_write_failed_is_settled_by_the_one_after() -> None:
    pipeline = start()
    effects = receive_all(pipeline, blob("01"))
    pipeline.handle(Stored(ok=True, now_ms=1_000, took_ms=0))
    (first,) = tickets(effects)
    resolve(pipeline, first, FAILED)
    pipeline.handle(DeadLettered([(first, 0)]))

    pipeline.handle(Stored(ok=False, now_ms=1_000, took_ms=0))
    (store,) = stores(pipeline.handle(Ticked(2_000)))

    assert store.settles == [(first, 0)]


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        (FAILED, HANDLED, (Outcome.DEAD_LETTERED, Reason.RETRIES_SPENT)),
        (HANDLED, SKIPPED, (Outcome.HANDLED, None)),
        (SKIPPED, SKIPPED, (Outcome.STALE, None)),
        (SKIPPED, HANDLED, (Outcome.HANDLED, None)),
    ],
)
def test_the_outcome_over_a_restart_is_that_without_one(before: Verdict, after: Verdict, outcome) -> None:
    plans = [ProcessorPlan(name, delivery=Delivery.LATEST) for name in ("a", "b")]
    first = start(*plans)
    (ticket,) = tickets(receive_all(first, blob("01")))
    resolve(first, ticket, before, 0)
    if before is FAILED:
        first.handle(DeadLettered([(ticket, 0)]))

    second = start(*plans, snapshot=restarted(first.snapshot()))
    effects = receive_all(second, blob("01"))
    assert tickets(effects, 0) == []
    resolve(second, tickets(effects, 1)[0], after, 1)

    assert second.counts.outcomes == {outcome: 1}


def test_a_failure_whose_letter_is_not_stored_is_not_remembered() -> None:
    first = start(IN_TURN, ALERT)
    effects = receive_all(first, blob("01"))
    resolve(first, tickets(effects, 1)[0], HANDLED, 1)
    resolve(first, tickets(effects, 0)[0], FAILED, 0)

    second = start(IN_TURN, ALERT, snapshot=restarted(first.snapshot()))
    resolve(second, tickets(receive_all(second, blob("01")))[0], HANDLED)

    assert second.counts.outcomes == {(Outcome.HANDLED, None): 1}


def test_what_was_stale_before_a_restart_is_stale_after_it_though_it_could_not_be_compared_any_more() -> None:
    late = ProcessorPlan("late", delivers_stale=True)
    first = start(late)
    receive(first, blob("05"), first=0)
    receive(first, blob("03"), first=1)
    receive(first, blob(None), first=2)
    first.handle(Ended())

    second = start(late, snapshot=restarted(first.snapshot()))
    effects = receive(second, blob("05"), blob("03"), blob(None))

    marked = [(event.id, event.stale) for one in effects if isinstance(one, Dispatch) for event in one.events]
    assert ("s-03", True) in marked


def test_the_silence_before_the_first_event_is_not_idleness() -> None:
    first = start(window_ms=50)
    receive(first, blob("05"), time_ms=1_000)
    snapshot = msgspec.structs.replace(restarted(first.snapshot()), watermark_ms=1_000)

    second = start(window_ms=50, snapshot=snapshot)
    second.handle(Ticked(900_000))

    assert second.watermark.time_ms == 1_000


def test_the_silence_of_a_pause_is_not_idleness() -> None:
    pipeline = start(IN_TURN, window_ms=10, in_flight_max=1)
    receive(pipeline, blob("01"), first=0, time_ms=1_000)
    effects = receive(pipeline, blob("05", "held"), first=1, time_ms=1_010)
    assert any(isinstance(one, Pause) for one in effects)
    pipeline.handle(Ticked(50_000))

    effects = resolve(pipeline, tickets(effects)[0], HANDLED)
    assert any(isinstance(one, Resume) for one in effects)
    effects = pipeline.handle(Ticked(50_001))

    assert pipeline.watermark.time_ms == 1_010
    assert given(effects) == []
    assert given(pipeline.handle(Ticked(50_200))) == ["05"]


def test_after_the_revocation_the_last_checkpoint_does_not_wait_for_its_interval() -> None:
    pipeline = start()
    effects = receive_all(pipeline, blob("01"))
    assert stores(effects)
    resolve(pipeline, tickets(effects)[0], HANDLED)
    pipeline.handle(Revoked())

    (store,) = stores(pipeline.handle(Stored(ok=True, now_ms=1_000, took_ms=5_000)))
    assert store.snapshot.checkpoint.sequence_number == 0
    pipeline.handle(Stored(ok=True, now_ms=1_000, took_ms=5_000))
    assert pipeline.is_settled


def test_what_only_reading_on_can_resolve_does_not_pause_the_reading() -> None:
    """A released event whose predecessor lies further on than all limits of the new configuration reach."""
    waiting = msgspec.structs.replace(
        new_snapshot(NOTHING_DONE, ""),
        released=[(0, "s", [(9, 0), (0, 0)])],
        topics=[grid_event()["topic"].casefold()],
    )
    pipeline = start(snapshot=waiting, span_max=1, in_flight_max=2, window_ms=10**6)
    for number in range(9):
        receive(pipeline, blob(f"{number:02}"), first=number)
        assert not pipeline.is_paused

    effects = receive(pipeline, blob("09"), first=9)
    assert given(effects)[:2] == ["09", "00"]


def test_a_duplicate_of_one_in_flight_waits_for_it() -> None:
    pipeline = start()
    effects = receive_all(pipeline, blob("01"), blob("01"))
    assert given(effects) == ["01"]
    assert pipeline.tracker.checkpoint == NOTHING_DONE

    resolve(pipeline, tickets(effects)[0], HANDLED)

    assert pipeline.counts.outcomes == {(Outcome.HANDLED, None): 1, (Outcome.DUPLICATE, None): 1}
    assert pipeline.tracker.checkpoint.sequence_number == 1


def test_what_was_seen_and_not_resolved_is_no_duplicate_after_a_restart() -> None:
    first = start()
    receive(first, blob("01"))
    first.handle(Ended())

    second = start(snapshot=restarted(first.snapshot()))

    assert given(receive(second, blob("01"))) == ["01"]


def test_an_event_with_a_number_of_20_digits_does_not_keep_the_state_from_being_stored() -> None:
    pipeline = start()
    registered = grid_event(
        topic=grid_event()["topic"].replace("Storage/", "MachineLearningServices/"),
        eventType="Microsoft.MachineLearningServices.ModelRegistered",
        data={"modelName": "m", "modelVersion": "9" * 20},
    )
    receive(pipeline, compact([registered]))
    pipeline.handle(Ended())

    assert decode(encode(pipeline.snapshot())) == pipeline.snapshot()


def test_messages_that_come_again_are_counted_and_dropped() -> None:
    pipeline = start()
    receive(pipeline, blob("01"), blob("02"), first=3)
    effects = receive(pipeline, blob("01"), blob("02"), blob("03"), first=3)

    assert pipeline.counts.redelivered == 2
    assert pipeline.highest_received == 5
    assert given(effects) == ["02"]


def test_gaps_and_events_without_a_key_are_counted() -> None:
    pipeline = start()
    receive(pipeline, blob("01"), first=3)
    pipeline.handle(Received(as_batch(blob("02"), first=9, key=None), 1_000))

    assert (pipeline.counts.gaps, pipeline.counts.unkeyed) == (5, 1)


def test_what_was_done_above_the_checkpoint_is_not_looked_at_again_over_any_number_of_restarts() -> None:
    first = start()
    effects = receive_all(first, blob("01", "a"), blob("01", "b"))
    resolve(first, tickets(effects)[1], HANDLED)
    assert first.tracker.checkpoint == NOTHING_DONE

    second = start(snapshot=restarted(first.snapshot()))
    third = start(snapshot=restarted(second.snapshot()))
    effects = receive_all(third, blob("01", "a"), blob("01", "b"))
    (ticket,) = tickets(effects)
    resolve(third, ticket, HANDLED)

    assert third.counts.outcomes == {(Outcome.HANDLED, None): 1}
    assert third.tracker.checkpoint.sequence_number == 1


def test_what_was_handled_is_remembered_over_a_restart() -> None:
    first = start()
    resolve(first, tickets(receive_all(first, blob("05")))[0], HANDLED)

    second = start(snapshot=restarted(first.snapshot()))
    effects = receive(second, blob("05"), blob("04"), first=1)
    effects += second.handle(Ended())

    assert given(effects) == []
    assert second.counts.outcomes == {(Outcome.DUPLICATE, None): 1, (Outcome.STALE, None): 1}


def test_a_paused_source_goes_on_when_half_is_free_again() -> None:
    pipeline = start(ProcessorPlan("slow", queue_max=4))
    effects = receive_all(pipeline, *(blob(f"{number:02}") for number in range(4)))
    assert any(isinstance(one, Pause) for one in effects)

    resumed = [
        any(isinstance(one, Resume) for one in resolve(pipeline, ticket, HANDLED))
        for ticket in tickets(effects)
    ]

    assert resumed == [False, False, True, False]


def test_a_bad_event_is_resolved_only_when_its_dead_letter_is_stored() -> None:
    pipeline = start()
    effects = receive(pipeline, b"junk", blob("01"))
    (letters,) = [one for one in effects if isinstance(one, PutDeadLetters)]
    assert pipeline.tracker.checkpoint == NOTHING_DONE

    pipeline.handle(DeadLettered([(letter.ticket, letter.processor) for letter in letters.letters]))

    assert pipeline.tracker.checkpoint.sequence_number == 0
    assert pipeline.counts.outcomes == {(Outcome.DEAD_LETTERED, Reason.INVALID_JSON): 1}


def test_a_conflict_is_counted_and_both_events_are_handled() -> None:
    pipeline = start()
    effects = receive_all(pipeline, blob(None, data={"a": 1}), blob(None, data={"a": 2}))

    assert len(tickets(effects)) == 2
    assert pipeline.counts.identity_conflicts == 1


def test_an_alert_does_not_wait_and_knows_what_is_late() -> None:
    pipeline = start(IN_TURN, ALERT, window_ms=1_000)
    effects = receive(pipeline, blob("05"), blob("03"))
    alerts = [one for one in effects if isinstance(one, Dispatch)]

    assert given(effects, 0) == []
    assert given(effects, 1) == ["05", "03"]
    assert [event.is_latest for one in alerts for event in one.events] == [True, False]


def test_a_write_during_which_the_process_was_frozen_puts_the_next_one_off_by_little() -> None:
    pipeline = start()
    effects = receive_all(pipeline, blob("01"))
    (first,) = tickets(effects)
    resolve(pipeline, first, HANDLED)

    assert stores(pipeline.handle(Stored(ok=True, now_ms=20_000, took_ms=15_000))) == []

    assert stores(pipeline.handle(Ticked(39_999))) == []
    assert stores(pipeline.handle(Ticked(40_000)))
