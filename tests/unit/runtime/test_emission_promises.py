"""What a processor emits reaches those who name its type, once its attempt has succeeded."""

from __future__ import annotations

import msgspec
import pytest

from consumer.core.catalogue import Catalogue
from consumer.core.decode import decode
from consumer.core.policy import PipelinePolicy
from consumer.core.retry import RetryPolicy
from consumer.core.sequencer import SequencerLimits
from consumer.processor import EMITTED_BYTES_MAX, EMITTED_MAX, Context, Reject

from .conftest import Recorder, batch, body, running, versions


class Emitter(Recorder):
    """Emits before it does anything else, as nobody should rely on."""

    async def __call__(self, event, context):
        context.emit("Inturn.Seen", event.subject, {"attempt": context.attempt, "of": event.id})
        await super().__call__(event, context)


class BatchEmitter(Recorder):
    async def process_batch(self, events, context):
        for event in events:
            context.emit("Inturn.Seen", event.subject, {"of": event.id}, cause=event)
            await self(event, context)


def listening(recorder, **changes):
    return running(recorder, "listener", types=(), internal_types=("Inturn.*",), **changes)


def of(recorder):
    return [event.field("of") for event in recorder.handled]


@pytest.mark.parametrize("kind", [Emitter, BatchEmitter])
async def test_each_event_of_an_object_is_followed_by_its_own_in_order(bench, kind):
    listener = Recorder()
    # One object, as the subjects of what is emitted are the same as well.
    bodies = [body("m", version, subject="models/m") for version in range(1, 6)]

    async with bench([running(kind()), listening(listener)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*bodies))
        await it.until(lambda: len(listener.handled) == 5)

    assert of(listener) == [f"m-{version}" for version in range(1, 6)]
    assert len(set(listener.keys)) == 5
    assert it.outcomes() == {"handled": 5}


async def test_an_attempt_that_fails_emits_nothing(bench):
    failures = iter([True, True, False])

    def fail_twice(event):
        if event.id == "m-2":
            raise Reject("never")
        if next(failures):
            raise ConnectionError("away")

    listener = Recorder()
    async with bench([running(Emitter(before=fail_twice)), listening(listener)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(2)))
        await it.until(lambda: sum(it.outcomes().values()) == 2 and bool(listener.handled))

    assert [event.field("attempt") for event in listener.handled] == [3]


@pytest.mark.parametrize("drain", [True, False])
async def test_what_was_not_done_when_the_owner_went_is_done_by_the_next_one(bench, store, drain):
    emitter, broken, listener = Emitter(), Recorder(), Recorder()
    policy = PipelinePolicy(
        SequencerLimits(0), idle_margin_ms=0, checkpoint_interval_ms=5, owner="t", internal_max=100
    )

    def never(_event):
        raise ConnectionError("away")

    broken.before = never
    waits = {"backoff_s": 3_600, "backoff_max_s": 3_600}
    async with bench(
        [running(emitter), listening(broken, retry=RetryPolicy(attempts_max=9, **waits))],
        drain=drain,
        policy=policy,
        drain_timeout_s=0.1,
    ) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(3)))
        await it.until(lambda: it.engine.status().partitions[0].checkpoint == 2)
        await it.until(lambda: it.engine.status().partitions[0].internal == 3)

        def is_stored():
            return it.engine._runners["0"].pipeline.is_settled

        await it.until(is_stored)

    async with bench([running(emitter), listening(listener)]) as it:
        assert (await it.source.intake.assigned("0")).sequence_number == 2
        await it.until(lambda: len(listener.handled) == 3)

    assert sorted(of(listener)) == ["m-1", "m-2", "m-3"]
    assert emitter.ids == ["m-1", "m-2", "m-3"]


async def test_one_that_fails_becomes_a_dead_letter_with_its_own_bytes(bench, letters):
    def refuse(_event):
        raise Reject("no")

    async with bench([running(Emitter()), listening(Recorder(before=refuse))]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(2)))
        await it.until(lambda: it.engine.status().processors[1].dead_lettered == 2)
        await it.until(lambda: it.engine.status().partitions[0].internal == 0)

    kept = [letter async for letter in letters.letters()]
    assert {(letter.event_type, letter.processor) for letter in kept} == {("Inturn.Seen", "listener")}
    assert all(b'"Inturn.Seen"' in letter.original for letter in kept)
    assert it.outcomes() == {"handled": 2}


def context_of(*events):
    return Context("p", 1, events, lambda event: event.id)


def some_event():
    (event,) = decode(batch(body("m", 1)), 0, Catalogue())
    return event


@pytest.mark.parametrize(
    ("subject", "data", "why"),
    [
        ("s", {"x": {1, 2}}, "is JSON"),
        ("s", {1: 2}, "is JSON"),
        ("s", {"x": "\ud800"}, "is JSON"),
        ("\ud800", {}, "is JSON"),
        ("s", {"x": "y" * EMITTED_BYTES_MAX}, "at most 65536 bytes"),
        ("s", [1], "is an object"),
        ("", {}, "has a subject"),
    ],
)
def test_what_could_not_be_read_again_is_refused_where_it_is_emitted(subject, data, why):
    with pytest.raises(ValueError, match=why):
        context_of(some_event()).emit("Inturn.X", subject, data)


def test_where_it_comes_from_counts_as_well():
    cause = msgspec.structs.replace(some_event(), topic="t" * EMITTED_BYTES_MAX)
    with pytest.raises(ValueError, match="at most 65536 bytes"):
        context_of(cause).emit("Inturn.X", "s", {})


def test_depth_is_limited_as_everywhere():
    deep = {}
    for _ in range(31):
        deep = {"x": deep}
    with pytest.raises(ValueError, match="nested deeper"):
        context_of(some_event()).emit("Inturn.X", "s", deep)


def test_an_attempt_emits_no_more_than_so_many_and_for_its_own_events_only():
    context = context_of(some_event())
    other = msgspec.structs.replace(some_event(), sequence_number=9)

    with pytest.raises(ValueError, match="none of the events"):
        context.emit("Inturn.X", "s", {}, cause=other)
    for number in range(EMITTED_MAX):
        context.emit("Inturn.X", "s", {"n": number})
    with pytest.raises(ValueError, match="More than 1000"):
        context.emit("Inturn.X", "s", {})


def test_what_is_emitted_is_what_the_data_was_then():
    context = context_of(some_event())
    data = {"n": 0}
    for number in range(3):
        data["n"] = number
        context.emit("Inturn.X", "s", data)
    data["n"] = {1, 2}

    assert [dict(each.data) for each in context.emitted] == [{"n": 0}, {"n": 1}, {"n": 2}]
