"""The pipeline and the naive oracle, which share no code, say the same of every log.

However a log is cut into batches, and whenever processors are done. Log time does not fall here: an event
that the service stamped too early is all that the oracle has a simpler rule for.
"""

from __future__ import annotations

import json
import random
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
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
from consumer.core.stimuli import DeadLettered, Ended, Received, Resolved, Result, Stimulus, Stored, Verdict
from consumer.events import NOTHING_DONE, Position, RawBatch
from consumer.samples.trace import plan
from consumer.samples.truth import End, Rules, Spot, reckon

ML = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
STORAGE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a"


class Entry(NamedTuple):
    sequence_number: int
    enqueued_time_ms: int
    body: bytes
    application_properties: Mapping[str, str] = {}


class Driver:
    """Runs a pipeline as a shell would, with processors that are done at random times and in any order."""

    def __init__(self, rules: Rules, partition: str, rng: random.Random) -> None:
        self.partition = partition
        self.rng = rng
        self.order: dict[Spot, list[Position]] = defaultdict(list)
        self.waiting: list[Result] = []
        self.pipeline = Pipeline(
            PipelinePolicy(SequencerLimits(rules.window_ms)),
            [ProcessorPlan("only")],
            Admission(rules.topics, rules.types),
            Catalogue(),
            new_snapshot(NOTHING_DONE, "test"),
        )

    def run(self, entries: Sequence[Entry], batch_max: int) -> None:
        begin = 0
        while begin < len(entries):
            part = entries[begin : begin + self.rng.randint(1, batch_max)]
            begin += len(part)
            self.handle(Received(self.batch(part), 0))
            self.finish(self.rng.choice((0, 1, 300)))
            self.finish(max(0, len(self.waiting) - 500))
        self.handle(Ended())
        while self.waiting:
            self.finish(50)

    def batch(self, part: Sequence[Entry]) -> RawBatch:
        return RawBatch(
            self.partition,
            [entry.body for entry in part],
            [entry.sequence_number for entry in part],
            [str(entry.sequence_number) for entry in part],
            [entry.enqueued_time_ms for entry in part],
            ["key"] * len(part),
            lambda row: part[row].application_properties,
        )

    def handle(self, stimulus: Stimulus) -> None:
        effects: list[Effect] = self.pipeline.handle(stimulus)
        for effect in effects:
            match effect:
                case Dispatch():
                    for event, ticket in zip(effect.events, effect.tickets, strict=True):
                        self.order[Spot(self.partition, *event.object_id)].append(event.position)
                        self.waiting.append(Result(ticket, effect.processor, Verdict.HANDLED))
                case PutDeadLetters():
                    self.handle(
                        DeadLettered([(letter.ticket, letter.processor) for letter in effect.letters])
                    )
                case StoreCheckpoint():
                    self.handle(Stored(ok=True, now_ms=0, took_ms=1))

    def finish(self, count: int) -> None:
        self.rng.shuffle(self.waiting)
        done, self.waiting = self.waiting[:count], self.waiting[count:]
        if done:
            self.handle(Resolved(done))


def assert_agreement(
    rules: Rules, log: Mapping[str, Sequence[Entry]], rng: random.Random, batch_max: int
) -> None:
    truth = reckon(rules, log)
    outcomes: dict[str, int] = defaultdict(int)
    order: dict[Spot, list[Position]] = {}
    conflicts = 0
    for partition, entries in log.items():
        driver = Driver(rules, partition, rng)
        driver.run(entries, batch_max)
        for (outcome, reason), count in driver.pipeline.counts.outcomes.items():
            outcomes[str(End(outcome, reason))] += count
        order |= driver.order
        conflicts += driver.pipeline.counts.identity_conflicts
    assert outcomes == truth.outcomes
    assert order == truth.handled
    assert conflicts == len(truth.conflicts)


@pytest.mark.parametrize("batch_max", [1, 300])
@pytest.mark.parametrize("window_ms", [5, 200, 2_000])
def test_of_a_trace_they_say_the_same(window_ms: int, batch_max: int) -> None:
    trace = plan(window_ms, 1_500)
    log: dict[str, list[Entry]] = {"0": [], "1": []}
    now_ms = 0
    for phase in trace.phases:
        now_ms += int(phase.pause_before_windows * window_ms)
        for message in phase.messages:
            now_ms += 1
            entries = log[str(zlib.crc32(str(message.partition_key).encode()) % 2)]
            entries.append(Entry(len(entries), now_ms, message.body, message.properties))

    assert_agreement(Rules(trace.topics, trace.types, window_ms), log, random.Random(1), batch_max)


def element(kind: str, name: str, number: int, variant: str) -> dict[str, Any]:
    """The event with a number in the order of an object, or one that is like it in some way.

    A ``conflict`` has its identity but other data and a later token; a ``twin`` has its token only.
    """
    tick = number * 2 + (variant == "conflict")
    data: dict[str, Any] = {"note": variant}
    is_twin = variant == "twin"
    type_, topic, id_ = f"Microsoft.MachineLearningServices.{kind}", ML, f"{name}{number}{is_twin}"
    match kind:
        case "ModelRegistered":
            data |= {"ModelName": name, "modelVersion": str(tick)}
        case "RunStatusChanged":
            data |= {"runId": name, "RunStatus": "Running" if number < 4 else "failed"}
        case "BlobCreated" | "BlobDeleted":
            type_, topic = f"Microsoft.Storage.{kind}", STORAGE
            width = 48 if number % 3 else 32
            data |= {"sequencer": f"{tick + 1:0{width}X}"}
            if kind == "BlobCreated":
                data |= {"eTag": f'"0x{number}{is_twin}"'}
    return {
        "eventType": type_,
        "topic": topic,
        "subject": name,
        "id": id_,
        "eventTime": f"2026-03-02T08:00:00.{tick:07d}Z",
        "data": data,
    }


KINDS = st.sampled_from(
    ["ModelRegistered", "ModelDeployed", "RunStatusChanged", "BlobCreated", "BlobDeleted"]
)
ELEMENTS = st.builds(
    element, KINDS, st.sampled_from("aaab"), st.integers(0, 5), st.sampled_from(["", "", "conflict", "twin"])
)
BODIES = st.lists(ELEMENTS | st.sampled_from([7, {"id": "x"}]), max_size=3).map(
    lambda body: json.dumps(body).encode()
)
STEPS = st.integers(0, 40).flatmap(  # long logs as often as short ones: events must meet
    lambda size: st.lists(
        st.tuples(st.sampled_from([0, 1, 5, 30, 100]), BODIES), min_size=size, max_size=size
    )
)


@given(
    STEPS,
    st.sampled_from([1, 20, 100, 1_000]),
    st.randoms(use_true_random=False),
    st.sampled_from([1, 5, 40]),
)
def test_of_any_log_they_say_the_same(
    steps: list[tuple[int, bytes]], window_ms: int, rng: random.Random, batch_max: int
) -> None:
    now_ms, entries = 0, []
    for number, (step_ms, body) in enumerate(steps):
        now_ms += step_ms
        entries.append(Entry(number, now_ms, body))

    assert_agreement(Rules(None, None, window_ms), {"0": entries}, rng, batch_max)
