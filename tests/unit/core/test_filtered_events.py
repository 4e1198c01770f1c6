"""Events that filters keep from processors, through a pipeline and over a restart."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Dispatch, Effect, PutDeadLetters
from consumer.core.filter_operators import Operator
from consumer.core.filters import AdvancedFilter, Filter, compiled
from consumer.core.flights import Delivery, ProcessorPlan
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import Snapshot, decode, encode, new_snapshot
from consumer.core.stimuli import DeadLettered, Ended, Handled, Received
from consumer.events import NOTHING_DONE, Event, Outcome, Reason

from .conftest import as_batch, compact, grid_event

PRODUCTION = Filter(advanced_filters=(AdvancedFilter("data.stage", Operator.STRING_IN, ("production",)),))
DEPLOY = ProcessorPlan("deploy", matches=compiled(PRODUCTION))
ALERT = ProcessorPlan("alert", delivery=Delivery.ON_ARRIVAL, matches=compiled(PRODUCTION))
ARCHIVE = ProcessorPlan("archive")


def staged(id_: str, stage: str, **changes: Any) -> bytes:
    return compact([grid_event(id=id_, subject=id_, data={"stage": stage}) | changes])


TWICE = compact([grid_event(id="twice")]).replace(
    b'{"api":"PutBlob"}', b'{"stage":"production","stage":"test"}'
)


def start(*plans: ProcessorPlan, snapshot: Snapshot | None = None) -> Pipeline:
    policy = PipelinePolicy(SequencerLimits(0, span_max=1_000), checkpoint_interval_ms=1_000)
    kept = snapshot or new_snapshot(NOTHING_DONE, "")
    return Pipeline(policy, plans, Admission(None, None), Catalogue(), kept)


def receive(pipeline: Pipeline, *bodies: bytes) -> list[Effect]:
    """Receive, and let what is held go out."""
    received = pipeline.handle(Received(as_batch(*bodies), 1_000))
    return [*received, *pipeline.handle(Ended())]


def given(effects: list[Effect], processor: int) -> list[str]:
    mine = [each for each in effects if isinstance(each, Dispatch) and each.processor == processor]
    return [event.id for each in mine for event in each.events]


def finish(pipeline: Pipeline, effects: list[Effect], *processors: int) -> list[Effect]:
    """Have processors handle what they were given."""
    done = [each for each in effects if isinstance(each, Dispatch) and each.processor in processors]
    return [effect for each in done for effect in pipeline.handle(Handled(each.processor, each.tickets))]


def restarted(pipeline: Pipeline, *plans: ProcessorPlan) -> Pipeline:
    return start(*plans, snapshot=decode(encode(pipeline.snapshot())))


def test_a_filter_keeps_an_event_from_its_own_processor_and_from_no_other() -> None:
    pipeline = start(DEPLOY, ARCHIVE)

    effects = receive(pipeline, staged("a", "production"), staged("b", "test"))

    assert given(effects, 0) == ["a"]
    assert given(effects, 1) == ["a", "b"]
    assert pipeline.sieve.refused == [1, 0]


def test_an_event_that_everybody_refuses_is_ignored_and_the_checkpoint_passes_it() -> None:
    pipeline = start(DEPLOY, ALERT)

    effects = receive(pipeline, staged("b", "test"))

    assert not [each for each in effects if isinstance(each, Dispatch)]
    assert pipeline.counts.outcomes == {(Outcome.IGNORED, Reason.FILTER): 1}
    assert pipeline.tracker.checkpoint.sequence_number == 0
    assert pipeline.in_flight == 0


def test_an_event_whose_type_nobody_wants_is_ignored_for_its_type() -> None:
    pipeline = start(ProcessorPlan("deploy", types=("Other",), matches=compiled(PRODUCTION)))

    receive(pipeline, staged("a", "production"))

    assert pipeline.counts.outcomes == {(Outcome.IGNORED, Reason.TYPE): 1}


def test_a_filter_is_not_asked_about_a_type_that_its_processor_does_not_want() -> None:
    def never(event: Event) -> bool:
        raise AssertionError(event)

    pipeline = start(ProcessorPlan("deploy", types=("Other",), matches=never), ARCHIVE)

    assert given(receive(pipeline, staged("a", "production")), 1) == ["a"]


def test_a_filter_is_asked_once_about_an_event_however_often_it_comes() -> None:
    asked: list[str] = []

    def matches(event: Event) -> bool:
        asked.append(event.id)
        return True

    pipeline = start(ProcessorPlan("deploy", matches=matches))
    effects = receive(pipeline, staged("a", "x"), staged("a", "x"))
    finish(pipeline, effects, 0)
    pipeline.handle(Received(as_batch(staged("a", "x"), first=2), 1_000))

    assert asked == ["a"]
    assert pipeline.counts.duplicates == 2


def test_an_alert_is_filtered_as_what_waits_its_turn_is() -> None:
    effects = receive(start(ALERT, ARCHIVE), staged("a", "production"), staged("b", "test"))

    assert given(effects, 0) == ["a"]


def test_an_event_whose_data_no_filter_can_read_is_a_dead_letter_with_the_reason() -> None:
    pipeline = start(DEPLOY, ARCHIVE)

    effects = receive(pipeline, TWICE)

    (put,) = [each for each in effects if isinstance(each, PutDeadLetters)]
    (letter,) = put.letters
    assert (letter.reason, letter.processor) == (Reason.DUPLICATE_KEY, -1)
    assert "stage" in letter.error
    assert isinstance(letter.subject, Event)
    assert letter.subject.original == TWICE[1:-1]
    assert given(effects, 1) == []
    assert pipeline.tracker.checkpoint.sequence_number == -1  # not before it is stored

    pipeline.handle(DeadLettered([(letter.ticket, -1)]))
    assert pipeline.counts.outcomes == {(Outcome.DEAD_LETTERED, Reason.DUPLICATE_KEY): 1}
    assert pipeline.tracker.checkpoint.sequence_number == 0


def test_data_that_no_filter_asks_for_keeps_nothing_from_anybody() -> None:
    by_subject = compiled(Filter(subject_begins_with="/blobServices"))
    pipeline = start(ProcessorPlan("deploy", matches=by_subject))

    assert given(receive(pipeline, TWICE), 0) == ["twice"]


@pytest.mark.parametrize("done_before", [0, 1])
def test_a_restart_gives_an_event_to_whom_it_is_still_due_and_to_nobody_who_refuses_it(
    done_before: int,
) -> None:
    plans = ProcessorPlan("first"), ProcessorPlan("second"), DEPLOY
    pipeline = start(*plans)
    effects = receive(pipeline, staged("b", "test"))
    assert given(effects, 2) == []
    finish(pipeline, effects, done_before)

    again = restarted(pipeline, *plans)
    effects = receive(again, staged("b", "test"))

    assert [given(effects, index) for index in range(3)] == [
        [] if index in {done_before, 2} else ["b"] for index in range(3)
    ]
    finish(again, effects, 1 - done_before)
    assert again.counts.outcomes == {(Outcome.HANDLED, None): 1}


def test_a_filter_that_is_gone_after_a_restart_lets_through_what_is_not_done() -> None:
    pipeline = start(ARCHIVE, DEPLOY)
    receive(pipeline, staged("b", "test"))

    again = restarted(pipeline, ARCHIVE, ProcessorPlan("deploy"))

    assert given(receive(again, staged("b", "test")), 1) == ["b"]


def test_what_was_handled_before_a_restart_is_handled_even_if_a_new_filter_refuses_the_rest() -> None:
    pipeline = start(ARCHIVE, ProcessorPlan("deploy"))
    finish(pipeline, receive(pipeline, staged("b", "test")), 0)

    again = restarted(pipeline, ARCHIVE, DEPLOY)
    effects = receive(again, staged("b", "test"))

    assert not [each for each in effects if isinstance(each, Dispatch)]
    assert again.counts.outcomes == {(Outcome.HANDLED, None): 1}


def test_what_waited_behind_an_event_goes_on_when_a_new_filter_takes_that_away() -> None:
    bodies = staged("a", "test", subject="same"), staged("b", "production", subject="same")
    pipeline = start(ProcessorPlan("deploy"))
    assert given(receive(pipeline, *bodies), 0) == ["a", "b"]

    again = restarted(pipeline, DEPLOY)

    assert given(receive(again, *bodies), 0) == ["b"]


@pytest.mark.parametrize(
    "meanwhile", [(ARCHIVE,), (ARCHIVE, ProcessorPlan("deploy", matches=lambda _: False))]
)
def test_who_was_done_stays_done_while_another_configuration_does_not_ask_it(
    meanwhile: tuple[ProcessorPlan, ...],
) -> None:
    first = start(ARCHIVE, DEPLOY)
    finish(first, receive(first, staged("a", "production")), 1)
    second = restarted(first, *meanwhile)
    receive(second, staged("a", "production"))

    third = restarted(second, ARCHIVE, DEPLOY)
    effects = receive(third, staged("a", "production"))

    assert (given(effects, 0), given(effects, 1)) == (["a"], [])
