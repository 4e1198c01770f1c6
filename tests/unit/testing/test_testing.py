"""What authors of processors test with does what it says, and finds what it is for."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.processor import Reject
from consumer.testing import Faults, make_context, make_event, run_under_faults

REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"


def versions(count: int, models: int = 3):
    return [
        make_event(
            REGISTERED,
            f"models/m{number % models}:{number}",
            {"modelName": f"m{number % models}", "modelVersion": number},
        )
        for number in range(count)
    ]


def test_an_event_in_a_test_is_what_the_decoder_makes_of_its_bytes():
    event = make_event(REGISTERED, "models/churn:3", {"ModelName": "churn", "ModelVersion": "3"})

    assert event.field("modelname") == "churn"
    assert (event.object_path, event.order_token.value) == ("models/churn", 3)
    assert not event.stale
    assert make_event(REGISTERED, "models/churn:3", stale=True).stale


def test_what_the_decoder_refuses_is_no_event_in_a_test_either():
    with pytest.raises(ValueError, match="missing_field"):
        make_event("", "subject")


def test_the_key_of_an_event_is_the_same_in_every_context_of_a_processor():
    event = make_event(REGISTERED, "models/churn:3")

    first, again = make_context(event), make_context(event, attempt=2)
    assert first.idempotency_key == again.idempotency_key
    assert make_context(event, processor="other").idempotency_key != first.idempotency_key


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), takes_batches=st.booleans())
async def test_every_event_is_done_in_the_order_of_its_object_whatever_goes_wrong(seed, takes_batches):
    effects: dict[str, str] = {}

    class Note:
        async def __call__(self, event, context):
            await asyncio.sleep(0)
            effects.setdefault(context.key_of(event), event.subject)

    class NoteAll(Note):
        async def process_batch(self, events, context):
            for event in events:
                await self(event, context)

    report = await run_under_faults(NoteAll if takes_batches else Note, versions(30), seed=seed)

    assert len(effects) == 30
    assert report.dead_letters == []
    for model in range(3):
        own = [subject for subject in effects.values() if subject.startswith(f"models/m{model}:")]
        assert own == [f"models/m{model}:{number}" for number in range(model, 30, 3)]
    assert set(report.subjects()) == set(effects.values())


async def test_a_processor_that_ignores_the_key_is_shown_to_repeat_itself():
    effects: Counter[str] = Counter()

    async def note(event, _context):
        effects[event.subject] += 1

    faults = Faults(before=0.0, after=0.3, cut_off=0.0, crashes=2)
    report = await run_under_faults(lambda: note, versions(40), seed=1, faults=faults)

    assert max(effects.values()) > 1
    assert report.crashes == 2


async def test_an_attempt_is_cut_off_in_the_middle():
    begun, ended = Counter(), Counter()

    async def slow(event, _context):
        begun[event.subject] += 1
        await asyncio.sleep(0.03)
        ended[event.subject] += 1

    faults = Faults(before=0.0, after=0.0, cut_off=0.5, crashes=0)
    await run_under_faults(lambda: slow, versions(10), seed=3, faults=faults)

    assert sum(begun.values()) > sum(ended.values()) == 10


async def test_what_is_rejected_is_a_dead_letter_and_what_is_emitted_is_told():
    async def picky(event, context):
        if event.subject.endswith(":4"):
            raise Reject("not this one")
        context.emit("Inturn.Noted", event.subject, {})

    report = await run_under_faults(lambda: picky, versions(6), faults=Faults(0.0, 0.0, 0.0, 0))

    assert [(letter.subject, letter.error) for letter in report.dead_letters] == [
        ("models/m1:4", "not this one")
    ]
    assert len(report.emitted) == 5


async def test_a_processor_that_is_opened_is_closed_but_not_by_a_crash():
    log: list[str] = []

    class Kept:
        async def open(self):
            log.append("open")

        async def close(self):
            log.append("close")

        async def __call__(self, event, context):
            pass

    report = await run_under_faults(Kept, versions(30), faults=Faults(crashes=1))

    assert report.crashes == 1
    assert log == ["open", "open", "close"]
