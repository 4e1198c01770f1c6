"""What is stored of a partition in which one processor hangs."""

from __future__ import annotations

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Dispatch, Effect
from consumer.core.flights import ProcessorPlan
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import Snapshot, decode, encode, new_snapshot
from consumer.core.stimuli import Ended, Handled, Received
from consumer.events import NOTHING_DONE, Checkpoint

from .conftest import as_batch, compact, grid_event

CREATED, DELETED = "Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobDeleted"
PLANS = [ProcessorPlan("hangs", types=(DELETED,)), ProcessorPlan("works", types=(CREATED,))]


def start(snapshot: Snapshot) -> Pipeline:
    return Pipeline(PipelinePolicy(SequencerLimits(0)), PLANS, Admission(None, None), Catalogue(), snapshot)


def given(pipeline: Pipeline, bodies: list[bytes]) -> list[Dispatch]:
    """What the two are given of all that is in the hub."""
    effects: list[Effect] = pipeline.handle(Received(as_batch(*bodies), 1_000))
    effects += pipeline.handle(Ended())
    return [effect for effect in effects if isinstance(effect, Dispatch)]


def blob(name: str, event_type: str) -> bytes:
    return compact([grid_event(subject=name, id=name, eventType=event_type)])


def test_it_does_not_grow_with_what_the_others_do_meanwhile_and_says_all_that_they_did() -> None:
    bodies = [blob("gone", DELETED), *[blob(f"kept-{number}", CREATED) for number in range(300)]]
    pipeline = start(new_snapshot(NOTHING_DONE, ""))
    for dispatch in given(pipeline, bodies):
        if dispatch.processor == 1:
            pipeline.handle(Handled(1, dispatch.tickets))

    snapshot = pipeline.snapshot()
    assert (snapshot.checkpoint, snapshot.done_above) == (NOTHING_DONE, {})
    assert snapshot.done_rows == [(1, 300)]

    again = start(decode(encode(snapshot)))
    (waiting,) = given(again, bodies)
    assert [event.id for event in waiting.events] == ["gone"]
    again.handle(Handled(0, waiting.tickets))
    assert again.tracker.checkpoint == Checkpoint(300, as_batch(*bodies).offsets[300])
