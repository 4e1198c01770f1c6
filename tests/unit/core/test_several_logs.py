"""Where several logs were brought together, log time is that of the slowest, whatever the others are at."""

from __future__ import annotations

import msgspec

from consumer.core.effects import Dispatch, Effect
from consumer.core.pipeline import Pipeline
from consumer.core.stimuli import Received

from .conftest import as_batch, compact, grid_event
from .test_pipeline import start

WINDOW_MS = 100


def told(pipeline: Pipeline, *heard: tuple[str | None, int, int]) -> list[str]:
    """Receive events (sequencer, own time, log time), or marks that hold none; give what goes out."""
    effects: list[Effect] = []
    first = pipeline.highest_received + 1
    for number, (sequencer, time_ms, log_ms) in enumerate(heard, first):
        event = grid_event(id=str(sequencer), data={"sequencer": sequencer})
        body = b"[]" if sequencer is None else compact([event])
        batch = as_batch(body, first=number, time_ms=time_ms)
        batch = msgspec.structs.replace(batch, watermarks_ms=[log_ms])
        effects += pipeline.handle(Received(batch, 5_000))
    return [event.id for each in effects if isinstance(each, Dispatch) for event in each.events]


def test_an_event_waits_for_the_slowest_log_from_its_own_time_on():
    pipeline = start(window_ms=WINDOW_MS)
    assert told(pipeline, ("2", 1_000, 400)) == []
    # Two logs lag behind: that the slower one has moved a window on says nothing of the other.
    assert told(pipeline, (None, 0, 600)) == []
    assert told(pipeline, ("1", 950, 700)) == []
    assert told(pipeline, (None, 0, 1_100)) == ["1", "2"]


def test_a_fast_log_does_not_hurry_the_others_events():
    pipeline = start(window_ms=WINDOW_MS)
    assert told(pipeline, ("5", 9_000, 300), ("4", 8_500, 300), (None, 0, 9_050)) == []
    assert told(pipeline, (None, 0, 9_100)) == ["4", "5"]


def test_until_every_log_was_heard_of_nothing_goes_out():
    pipeline = start(window_ms=WINDOW_MS)
    assert told(pipeline, ("1", 1_000, 0), ("2", 2_000, 0), (None, 0, 0)) == []
