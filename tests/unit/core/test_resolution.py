"""What is remembered of failures is what is in the dead letters, and not what is on its way there."""

from __future__ import annotations

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Dispatch
from consumer.core.flights import ProcessorPlan
from consumer.core.parking import Answer
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import new_snapshot
from consumer.core.stimuli import (
    DeadLettered,
    Ended,
    LettersLookedFor,
    Received,
    Resolved,
    Result,
    Verdict,
)
from consumer.events import NOTHING_DONE, Outcome, Reason

from .conftest import as_batch, compact, grid_event

PARKS = ProcessorPlan("parks", parks=True, parked_max=2)
OTHER = ProcessorPlan("other")


def start(*plans: ProcessorPlan) -> Pipeline:
    policy = PipelinePolicy(SequencerLimits(0), checkpoint_interval_ms=0)
    return Pipeline(policy, plans, Admission(None, None), Catalogue(), new_snapshot(NOTHING_DONE, ""))


def receive(pipeline: Pipeline, count: int, subject: str = "s", first: int = 0) -> list:
    bodies = [compact([grid_event(id=f"{subject}{number}", subject=subject)]) for number in range(count)]
    effects = pipeline.handle(Received(as_batch(*bodies, first=first), 1_000)) + pipeline.handle(Ended())
    dispatched = [effect for effect in effects if isinstance(effect, Dispatch) and effect.processor == 0]
    return [ticket for effect in dispatched for ticket in effect.tickets]


def fail(pipeline: Pipeline, ticket, processor: int = 0, verdict: Verdict = Verdict.FAILED) -> None:
    reason = Reason.PARKED if verdict is Verdict.PARKED else Reason.REJECTED
    pipeline.handle(Resolved([Result(ticket, processor, verdict, reason, "no")]))


def ask(pipeline: Pipeline) -> list[Answer]:
    return [Answer(parked) for parked in pipeline.parked.all()]


def say_gone(pipeline: Pipeline, answers: list[Answer]) -> None:
    for answer in answers:
        answer.holds = False
    pipeline.handle(LettersLookedFor(answers))


def test_the_reason_that_is_stored_is_that_of_a_letter_that_is_stored() -> None:
    pipeline = start(PARKS, OTHER)
    first, second = receive(pipeline, 2)
    fail(pipeline, first)
    pipeline.handle(DeadLettered([(first, 0)]))
    fail(pipeline, second, processor=1)
    pipeline.handle(DeadLettered([(second, 1)]))

    fail(pipeline, second, verdict=Verdict.PARKED)

    stored = {ack.sequence_number: ack.dead for ack in pipeline.snapshot().acks}
    assert stored == {0: "rejected", 1: "rejected"}
    pipeline.handle(DeadLettered([(second, 0)]))
    assert pipeline.counts.outcomes == {(Outcome.DEAD_LETTERED, Reason.PARKED): 1}


def test_an_object_is_parked_once_the_letter_of_the_first_is_stored() -> None:
    pipeline = start(PARKS)
    (first,) = receive(pipeline, 1)
    fail(pipeline, first)
    assert pipeline.snapshot().parked == []

    pipeline.handle(DeadLettered([(first, 0)]))

    (parked,) = pipeline.snapshot().parked
    assert (parked.processor, parked.path, parked.spot) == ("parks", "s", (0, 0))


def test_an_answer_from_before_a_letter_that_was_sent_meanwhile_counts_for_nothing() -> None:
    pipeline = start(PARKS)
    first, second = receive(pipeline, 2)
    fail(pipeline, first)
    pipeline.handle(DeadLettered([(first, 0)]))
    early = ask(pipeline)

    fail(pipeline, second, verdict=Verdict.PARKED)
    on_the_way = ask(pipeline)
    say_gone(pipeline, on_the_way)
    pipeline.handle(DeadLettered([(second, 0)]))
    say_gone(pipeline, early)
    assert pipeline.parked.count(0) == 1

    say_gone(pipeline, ask(pipeline))
    assert pipeline.snapshot().parked == []


def test_an_answer_about_what_was_parked_anew_since_counts_for_nothing() -> None:
    pipeline = start(PARKS)
    first, second = receive(pipeline, 2)
    fail(pipeline, first)
    pipeline.handle(DeadLettered([(first, 0)]))
    early = ask(pipeline)
    say_gone(pipeline, ask(pipeline))
    fail(pipeline, second)
    pipeline.handle(DeadLettered([(second, 0)]))

    say_gone(pipeline, early)

    assert pipeline.parked.count(0) == 1


def test_there_is_no_room_for_more_than_so_many_objects_those_on_their_way_among_them() -> None:
    pipeline = start(PARKS)
    tickets = [receive(pipeline, 1, subject, first)[0] for first, subject in enumerate("ab")]
    fail(pipeline, tickets[0])
    assert pipeline.parked.has_room(0)
    fail(pipeline, tickets[1])
    assert not pipeline.parked.has_room(0)

    pipeline.handle(DeadLettered([(ticket, 0) for ticket in tickets]))

    assert not pipeline.parked.has_room(0)
    say_gone(pipeline, ask(pipeline))
    assert pipeline.parked.has_room(0)
    assert not pipeline.has_work
    assert pipeline.tracker.checkpoint.sequence_number == 1
