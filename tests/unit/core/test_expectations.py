"""Rules about what does not come: against a naive model, over restarts, and at their limits."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Dispatch, Effect, StoreCheckpoint, WakeAt
from consumer.core.expectation_keys import Listed, Sought, Template
from consumer.core.expectations import MISSED, NAMES_MAX, Rule
from consumer.core.flights import ProcessorPlan
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import Snapshot, decode, encode, new_snapshot
from consumer.core.stimuli import Handled, Received, Stored, Ticked
from consumer.events import NOTHING_DONE, Event, Outcome, RawBatch, Reason

from .conftest import ML, compact, grid_event, one

WINDOW_MS = 20
WITHIN_MS = 100
REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
DEPLOYED = "Microsoft.MachineLearningServices.ModelDeployed"
MAIL = ProcessorPlan("mail", types=(), internal_types=("Inturn.ExpectationMissed",))


def rule(**changes: Any) -> Rule:
    key = Template("{data.modelName}:{data.modelVersion}")
    known = {
        "name": "deployed",
        "after": Sought((REGISTERED,), key),
        "fulfilment": Sought((DEPLOYED,), Listed("data.modelIds")),
        "within_ms": WITHIN_MS,
    }
    return Rule(**(known | changes))


class Said(NamedTuple):
    """One event of the log: a model that is registered (its number is `key`), or models that are deployed."""

    time_ms: int
    key: int | None
    deployed: tuple[int, ...] = ()

    def body(self, number: int) -> bytes:
        if self.key is not None:
            kind, data = REGISTERED, {"ModelName": "m", "modelVersion": self.key}
        else:
            kind, data = DEPLOYED, {"modelIds": ",".join(f"m:{key}" for key in self.deployed)}
        event = grid_event(topic=ML, id=f"e{number}", eventType=kind, subject=f"s{number}", data=data)
        return compact([event])


logs = st.lists(
    st.one_of(
        st.builds(Said, st.integers(0, 40), st.integers(0, 2), st.just(())),
        st.builds(Said, st.integers(0, 40), st.none(), st.lists(st.integers(0, 2), max_size=2).map(tuple)),
    ),
    max_size=30,
)
"""The times are those since the event before."""


def in_log_time(log: list[Said]) -> list[Said]:
    now_ms = 1_000
    timed = []
    for said in log:
        now_ms += said.time_ms
        timed.append(said._replace(time_ms=now_ms))
    return timed


def naively_missed(log: list[Said]) -> list[int]:
    """The places of the triggers that nothing fulfils."""

    def fulfils(place: int, other: int) -> bool:
        if log[place].key not in log[other].deployed:
            return False
        apart_ms = log[other].time_ms - log[place].time_ms
        return apart_ms <= WITHIN_MS if other > place else -apart_ms <= WINDOW_MS

    return [
        place
        for place, said in enumerate(log)
        if said.key is not None and not any(fulfils(place, other) for other in range(len(log)))
    ]


def start(snapshot: Snapshot | None = None, *plans: ProcessorPlan, **changes: Any) -> Pipeline:
    known = {"idle_margin_ms": 10, "checkpoint_interval_ms": 0, "rules": (rule(),)} | changes
    return Pipeline(
        PipelinePolicy(SequencerLimits(WINDOW_MS), **known),
        plans or [MAIL],
        Admission(None, (REGISTERED, DEPLOYED)),
        Catalogue(),
        snapshot or new_snapshot(NOTHING_DONE, ""),
    )


def receive(pipeline: Pipeline, log: list[Said], first: int = 0) -> list[Effect]:
    numbers = list(range(first, first + len(log)))
    bodies = [said.body(number) for number, said in zip(numbers, log, strict=True)]
    times = [said.time_ms for said in log]
    batch = RawBatch("0", bodies, numbers, [""] * len(log), times, ["k"] * len(log), lambda _: {})
    return pipeline.handle(Received(batch, 0))


def missed(effects: list[Effect]) -> list[Event]:
    dispatched = [event for effect in effects if isinstance(effect, Dispatch) for event in effect.events]
    return [event for event in dispatched if event.type == MISSED]


def wait_out(pipeline: Pipeline, until_ms: int) -> list[Effect]:
    """Let the hub be silent until log time has come so far."""
    return pipeline.handle(Ticked(until_ms + 10))


def restarted(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(decode(encode(snapshot)), epoch=snapshot.epoch + 1)


@given(logs)
def test_exactly_those_are_missed_that_nothing_fulfils(log: list[Said]) -> None:
    timed = in_log_time(log)
    pipeline = start()

    effects = receive(pipeline, timed)
    if timed:
        effects += wait_out(pipeline, timed[-1].time_ms + WITHIN_MS + 1)

    assert sorted(event.sequence_number for event in missed(effects)) == naively_missed(timed)
    assert pipeline.expectations is not None
    counts = pipeline.expectations.counts()["deployed"]
    triggers = sum(said.key is not None for said in timed)
    assert (counts.missed, counts.met) == (len(naively_missed(timed)), triggers - counts.missed)
    assert pipeline.expectations.pending == 0


@given(logs, st.lists(st.integers(0, 30), max_size=4), st.booleans(), st.data())
def test_a_restart_anywhere_misses_the_same_and_nothing_twice(
    log: list[Said], restarts: list[int], is_slow: bool, data: st.DataObject
) -> None:
    """What is read again is not folded again: a slow processor leaves the rules ahead of the checkpoint."""
    timed = in_log_time(log)
    plans = (ProcessorPlan("slow"), MAIL) if is_slow else (MAIL,)
    told: dict[str, int] = {}

    def note(effects: list[Effect]) -> None:
        told.update({event.id: event.sequence_number for event in missed(effects)})

    pipeline, reached = start(None, *plans), 0
    for stop in sorted({min(stop, len(timed)) for stop in restarts} | {len(timed)}):
        while reached < stop:
            count = data.draw(st.integers(1, stop - reached))
            note(receive(pipeline, timed[reached : reached + count], reached))
            reached += count
        snapshot = restarted(pipeline.snapshot())
        pipeline, reached = start(snapshot, *plans), snapshot.checkpoint.sequence_number + 1
        kept = missed(pipeline.handle(Ticked(0)))
        assert {event.id for event in kept} == told.keys()
    note(receive(pipeline, timed[reached:], reached))
    if timed:
        note(wait_out(pipeline, timed[-1].time_ms + WITHIN_MS + 1))

    assert sorted(told.values()) == naively_missed(timed)


def test_while_a_processor_holds_the_checkpoint_back_the_rules_stay_ahead_of_it() -> None:
    log = [Said(1_000, 0), Said(1_010, None, (0,)), Said(1_020, 1)]
    slow = ProcessorPlan("slow")
    first = start(None, slow, MAIL)
    receive(first, log)
    snapshot = first.snapshot()
    assert (snapshot.checkpoint.sequence_number, snapshot.folded_to) == (-1, 2)

    second = start(restarted(snapshot), slow, MAIL)
    effects = [*receive(second, log), *wait_out(second, 1_121)]

    assert [event.sequence_number for event in missed(effects)] == [2]
    assert second.expectations is not None
    assert second.expectations.counts()["deployed"].met == 0


def test_what_is_emitted_says_what_was_expected_after_what_and_until_when() -> None:
    pipeline = start()
    receive(pipeline, [Said(1_000, 7)])

    (event,) = missed(wait_out(pipeline, 1_101))

    assert (event.type, event.subject, event.topic) == ("Inturn.ExpectationMissed", "s0", ML)
    assert event.data == {
        "rule": "deployed",
        "key": "m:7",
        "trigger": {
            "id": "e0",
            "type": REGISTERED,
            "subject": "s0",
            "time": "2026-11-21T06:00:00.1234567Z",
            "enqueuedTime": "1970-01-01T00:00:01.0000000Z",
        },
        "deadline": "1970-01-01T00:00:01.1000000Z",
        "withinMinutes": WITHIN_MS / 60_000,
    }
    assert event.event_time is not None
    assert event.event_time.isoformat() == "1970-01-01T00:00:01.100000+00:00"


def test_a_deadline_is_part_of_the_time_and_the_pipeline_is_woken_just_after_it() -> None:
    pipeline = start()
    effects = receive(pipeline, [Said(1_000, 0)])
    while not pipeline.is_settled:
        effects += pipeline.handle(Stored(ok=True, now_ms=0, took_ms=0))

    assert [effect.time_ms for effect in effects if isinstance(effect, WakeAt)][-1] == 1_101 + 10
    assert missed(pipeline.handle(Ticked(1_100 + 10))) == []
    assert len(missed(pipeline.handle(Ticked(1_101 + 10)))) == 1


def test_what_only_a_rule_wants_is_handled_and_its_duplicate_is_known() -> None:
    pipeline = start()
    said = Said(1_000, 0)

    receive(pipeline, [said])
    body = said.body(0)
    again = RawBatch("0", [body], [1], [""], [1_001], ["k"], lambda _: {})
    pipeline.handle(Received(again, 0))

    assert pipeline.counts.outcomes == {(Outcome.HANDLED, None): 1, (Outcome.DUPLICATE, None): 1}
    assert pipeline.expectations is not None
    assert pipeline.expectations.pending == 1
    assert pipeline.tracker.checkpoint.sequence_number == 1


def test_what_neither_a_rule_nor_a_processor_wants_is_ignored() -> None:
    pipeline = start(rules=(rule(after=Sought(("Other",), Template("{id}"))),))

    receive(pipeline, [Said(1_000, 0)])

    assert pipeline.counts.outcomes == {(Outcome.IGNORED, Reason.TYPE): 1}


def test_at_the_limit_a_further_trigger_is_not_watched_and_counted() -> None:
    pipeline = start(rules=(rule(pending_max=2),))

    effects = receive(pipeline, [Said(1_000, key) for key in range(4)])
    effects += wait_out(pipeline, 1_101)

    assert [event.sequence_number for event in missed(effects)] == [0, 1]
    assert pipeline.expectations is not None
    assert pipeline.expectations.counts()["deployed"].unwatched == 2


def test_a_filter_decides_which_events_are_meant() -> None:
    after = Sought(
        (REGISTERED,), Template("{data.modelVersion}"), lambda event: event.field("modelVersion") == 1
    )
    pipeline = start(rules=(rule(after=after),))

    effects = receive(pipeline, [Said(1_000, key) for key in range(3)])
    effects += wait_out(pipeline, 1_101)

    assert [event.data["key"] for event in missed(effects)] == ["1"]


def test_an_event_does_not_fulfil_what_it_triggers_itself() -> None:
    both = rule(after=Sought((DEPLOYED,), Template("{data.modelIds}")))
    pipeline = start(rules=(both,))

    effects = receive(pipeline, [Said(1_000, None, (1,)), Said(1_050, None, (1,))])
    effects += wait_out(pipeline, 1_200)

    assert [event.sequence_number for event in missed(effects)] == [1]


def test_what_a_rule_waited_for_that_is_gone_is_forgotten_and_a_new_one_begins_empty() -> None:
    first = start()
    receive(first, [Said(1_000, 0)])

    second = start(restarted(first.snapshot()), rules=(rule(name="other"),))

    assert second.expectations is not None
    assert second.expectations.pending == 0
    assert missed(wait_out(second, 2_000)) == []


def test_a_miss_is_stored_together_with_its_end_or_not_at_all() -> None:
    pipeline = start()
    receive(pipeline, [Said(1_000, 0)])
    while not pipeline.is_settled:
        pipeline.handle(Stored(ok=True, now_ms=0, took_ms=0))
    before = pipeline.snapshot()

    effects = wait_out(pipeline, 1_101)

    (store,) = (effect for effect in effects if isinstance(effect, StoreCheckpoint))
    assert ([len(kept.pending) for kept in before.rules], before.internal) == ([1], [])
    assert ([len(kept.pending) for kept in store.snapshot.rules], len(store.snapshot.internal)) == ([0], 1)
    ticket = next(effect.tickets[0] for effect in effects if isinstance(effect, Dispatch))
    pipeline.handle(Handled(0, [ticket]))
    assert pipeline.snapshot().internal == []


@pytest.mark.parametrize(
    ("template", "keys"),
    [
        ("{data.modelName}:{data.modelVersion}", ["fraud:3"]),
        ("{DATA.MODELNAME}", ["fraud"]),
        ("model {data.modelName} of {subject}", ["model fraud of models/fraud"]),
        ("{type}", [REGISTERED]),
        ("{data.nothing}", []),
        ("{data.tags}", []),
        ("{data.isGood}", []),
        ("{data.empty}", []),
        ("{data.long}", []),
    ],
)
def test_a_template_is_filled_in_or_there_is_no_key(template: str, keys: list[str]) -> None:
    data = {
        "ModelName": "fraud",
        "modelVersion": 3,
        "tags": {},
        "isGood": True,
        "empty": "",
        "long": "x" * 2_000,
    }
    event = one(compact([grid_event(topic=ML, eventType=REGISTERED, subject="models/fraud", data=data)]))

    assert Template(template).keys(event) == keys


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ("a:1, b:2,a:1,,", ["a:1", "b:2"]),
        (["a:1", 7, None, ["x"], "a:1"], ["a:1", "7"]),
        ({"a": 1}, []),
        (None, []),
        (5, []),
        (",".join(map(str, range(2_000))), [str(number) for number in range(1_000)]),
    ],
)
def test_a_list_of_keys_is_an_array_or_a_text_with_commas(value: Any, keys: list[str]) -> None:
    event = one(compact([grid_event(topic=ML, eventType=DEPLOYED, data={"modelIds": value})]))

    assert Listed("data.modelIds").keys(event) == keys


def test_data_that_cannot_be_read_has_no_keys() -> None:
    # The key stands twice: that shows only when the data is asked for.
    body = compact([grid_event(topic=ML, eventType=DEPLOYED, data={"x": "HERE"})])
    pipeline = start()
    broken = body.replace(b'{"x":"HERE"}', b'{"modelIds":"m:1","a":{"b":1,"b":2}}')
    batch = RawBatch("0", [broken], [0], [""], [1_000], ["k"], lambda _: {})

    pipeline.handle(Received(batch, 0))

    assert sum(pipeline.counts.outcomes.values()) == 1


@pytest.mark.parametrize(
    ("letter", "length", "watched"),
    [("\N{OWL}", NAMES_MAX, 1), ("s", NAMES_MAX + 1, 0), ("s", 600_000, 0)],
)
def test_a_trigger_with_too_long_names_is_not_watched_and_counted(
    letter: str, length: int, watched: int
) -> None:
    pipeline = start()
    subject = letter * (length - len(ML) - len(REGISTERED) - 1)
    data = {"modelName": "m", "modelVersion": 1}
    event = grid_event(topic=ML, eventType=REGISTERED, subject=subject, id="1", data=data)
    batch = RawBatch("0", [compact([event])], [0], [""], [1_000], ["k"], lambda _: {})
    pipeline.handle(Received(batch, 0))

    assert len(missed(wait_out(pipeline, 1_101))) == watched
    assert pipeline.expectations is not None
    assert pipeline.expectations.counts()["deployed"].unwatched == 1 - watched


@pytest.mark.parametrize("within_ms", [10, 1_000])
def test_another_time_of_a_rule_counts_for_what_it_waits_for_already(within_ms: int) -> None:
    first = start()
    receive(first, [Said(1_000, 0)])

    second = start(restarted(first.snapshot()), rules=(rule(within_ms=within_ms),))
    receive(second, [Said(1_005, 1)], first=1)
    third = start(restarted(second.snapshot()), rules=(rule(within_ms=within_ms),))

    third.watermark.known_empty(0)

    assert third.due_ms == 1_000 + within_ms + 1
    assert [event.data["key"] for event in missed(wait_out(third, 1_001 + within_ms))] == ["m:0"]
    assert [event.data["key"] for event in missed(wait_out(third, 1_006 + within_ms))] == ["m:1"]
