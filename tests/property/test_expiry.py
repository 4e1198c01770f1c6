"""What is remembered, and how long, is a function of the log: not of ticks, batches or slow processors."""

from __future__ import annotations

import random
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Dispatch, Effect, PutDeadLetters, StoreCheckpoint
from consumer.core.flights import ProcessorPlan
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import new_snapshot
from consumer.core.stimuli import (
    DeadLettered,
    Ended,
    Received,
    Resolved,
    Result,
    Stimulus,
    Stored,
    Ticked,
    Verdict,
)
from consumer.events import NOTHING_DONE, Position, RawBatch

from .test_pipeline_against_oracle import STEPS


class Answer(NamedTuple):
    outcomes: dict[tuple[str, str | None], int]
    released: list[Position]


class Life:
    """A pipeline that remembers for a short while, and whose processor takes its time."""

    def __init__(self, window_ms: int, memory_ms: int, rng: random.Random) -> None:
        self.rng = rng
        self.working: list[Result] = []
        self.released: list[Position] = []
        self.pipeline = Pipeline(
            PipelinePolicy(SequencerLimits(window_ms), dedupe_window_ms=memory_ms),
            [ProcessorPlan("only", delivers_stale=True)],
            Admission(None, None),
            Catalogue(),
            new_snapshot(NOTHING_DONE, "test"),
        )

    def run(self, steps: list[tuple[int, bytes]], *, ticks: bool) -> Answer:
        number = now_ms = 0
        while number < len(steps):
            part = steps[number : number + self.rng.randint(1, 5)]
            times = []
            for after_ms, _ in part:
                now_ms += after_ms
                times.append(now_ms)
            numbers = list(range(number, number + len(part)))
            bodies, keys = [body for _, body in part], ["key"] * len(part)
            offsets = [str(each) for each in numbers]
            self.handle(Received(RawBatch("0", bodies, numbers, offsets, times, keys, lambda _: {}), now_ms))
            number += len(part)
            if ticks:
                for _ in range(self.rng.randint(0, 2)):
                    self.handle(Ticked(now_ms + self.rng.randint(0, 10**6), is_caught_up=False))
            self.finish(self.rng.choice((0, 1, 300)))
        self.handle(Ended())
        self.finish(len(self.working))
        return Answer(dict(self.pipeline.counts.outcomes), self.released)

    def handle(self, stimulus: Stimulus) -> None:
        effects: list[Effect] = self.pipeline.handle(stimulus)
        for effect in effects:
            match effect:
                case Dispatch():
                    for event, ticket in zip(effect.events, effect.tickets, strict=True):
                        self.released.append(event.position)
                        self.working.append(Result(ticket, 0, Verdict.HANDLED))
                case PutDeadLetters():
                    self.handle(DeadLettered([(each.ticket, each.processor) for each in effect.letters]))
                case StoreCheckpoint():
                    self.handle(Stored(ok=True, now_ms=0, took_ms=1))

    def finish(self, count: int) -> None:
        self.rng.shuffle(self.working)
        done, self.working = self.working[:count], self.working[count:]
        if done:
            self.handle(Resolved(done))


@given(
    STEPS,
    st.sampled_from([0, 5, 40]),
    st.sampled_from([0, 5, 30, 100]),
    st.randoms(use_true_random=False),
    st.randoms(use_true_random=False),
)
def test_a_run_with_ticks_at_any_moment_ends_as_one_without(
    steps: list[tuple[int, bytes]], window_ms: int, memory_ms: int, rng: random.Random, other: random.Random
) -> None:
    with_ticks = Life(window_ms, memory_ms, rng).run(steps, ticks=True)
    without = Life(window_ms, memory_ms, other).run(steps, ticks=False)

    assert with_ticks == without
