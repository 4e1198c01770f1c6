"""When a pipeline wants to be woken: not before time alone changes anything."""

from __future__ import annotations

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Dispatch, Effect, WakeAt
from consumer.core.flights import ProcessorPlan
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import new_snapshot
from consumer.core.stimuli import Received, Ticked
from consumer.events import NOTHING_DONE

from .conftest import as_batch, compact, grid_event

MARGIN_MS = 100


def start(window_ms: int) -> Pipeline:
    policy = PipelinePolicy(SequencerLimits(window_ms), idle_margin_ms=MARGIN_MS)
    snapshot = new_snapshot(NOTHING_DONE, "")
    return Pipeline(policy, [ProcessorPlan("all")], Admission(None, None), Catalogue(), snapshot)


def receive(pipeline: Pipeline, number: int, time_ms: int, now_ms: int) -> list[Effect]:
    batch = as_batch(compact([grid_event(id=str(number))]), first=number, time_ms=time_ms)
    return pipeline.handle(Received(batch, now_ms))


def wakes(effects: list[Effect]) -> list[int]:
    return [effect.time_ms for effect in effects if isinstance(effect, WakeAt)]


def given(effects: list[Effect]) -> list[str]:
    return [event.id for effect in effects if isinstance(effect, Dispatch) for event in effect.events]


def test_in_a_backlog_nobody_is_woken_for_what_silence_alone_would_release() -> None:
    pipeline = start(window_ms=1_000)
    now_ms = 50_000_000

    for number in range(3):
        now_ms += 7
        effects = receive(pipeline, number, 1_000 + number, now_ms)
        assert wakes(effects) == [now_ms + MARGIN_MS], "by the clock its turn was long ago"

    assert given(pipeline.handle(Ticked(now_ms + MARGIN_MS - 1))) == []
    assert given(pipeline.handle(Ticked(now_ms + MARGIN_MS))) == ["0", "1", "2"]


def test_where_the_log_is_read_as_it_grows_the_window_decides() -> None:
    pipeline = start(window_ms=1_000)

    assert wakes(receive(pipeline, 0, 50_000, 50_010)) == [51_000 + MARGIN_MS]
    assert given(pipeline.handle(Ticked(51_000 + MARGIN_MS - 1))) == []
    assert given(pipeline.handle(Ticked(51_000 + MARGIN_MS))) == ["0"]
