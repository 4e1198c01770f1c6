"""One processor and one event until there is a verdict."""

from __future__ import annotations

import asyncio

import pytest

from consumer.core.catalogue import Catalogue
from consumer.core.decode import decode
from consumer.core.retry import RetryPolicy
from consumer.core.stimuli import Verdict
from consumer.errors import BadData
from consumer.events import Event, Reason
from consumer.processor import NotYet, Reject, Retry
from consumer.runtime.attempts import run_attempts

from .conftest import Recorder, batch, new_turn, running, versions


def events(count: int = 1) -> list[Event]:
    raw = batch(*versions(count))
    entries = [entry for row in range(count) for entry in decode(raw, row, Catalogue())]
    return [entry for entry in entries if isinstance(entry, Event)]


async def attempt(processor, count=1):
    ending = await run_attempts(processor, events(count), new_turn())
    return [ending]


async def test_returning_means_done():
    recorder = Recorder()

    (ending,) = await attempt(running(recorder))

    assert ending.verdict is Verdict.HANDLED
    assert recorder.attempts == [1]


async def test_a_fault_is_tried_again_and_counted():
    def fail_twice(_):
        if len(recorder.attempts) < 3:
            raise OSError("the wire is cut")

    recorder = Recorder(before=fail_twice)
    processor = running(recorder)

    (ending,) = await attempt(processor)

    assert ending.verdict is Verdict.HANDLED
    assert recorder.attempts == [1, 2, 3]
    assert processor.counts.attempts_failed == 2
    assert processor.counts.last_error == "OSError: the wire is cut"


async def test_an_attempt_is_repeated_with_the_same_idempotency_key():
    keys = []

    async def target(event, context):
        keys.append(context.idempotency_key)
        if len(keys) < 3:
            raise Retry

    await attempt(running(target))

    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_when_the_attempts_are_spent_it_is_a_dead_letter_with_the_last_error():
    def fail(_):
        raise OSError("the wire\nis cut")

    (ending,) = await attempt(running(Recorder(before=fail)))

    assert (ending.verdict, ending.reason) == (Verdict.FAILED, Reason.RETRIES_SPENT)
    assert ending.error == "OSError: the wire is cut"
    assert ending.attempts == 3


async def test_a_rejected_event_is_not_tried_again():
    def reject(_):
        raise Reject("no such model")

    recorder = Recorder(before=reject)

    (ending,) = await attempt(running(recorder))

    assert (ending.verdict, ending.reason, ending.error) == (Verdict.FAILED, Reason.REJECTED, "no such model")
    assert recorder.attempts == [1]


async def test_what_only_has_to_wait_spends_no_attempt_however_often():
    said: list[int] = []

    class Busy:
        async def __call__(self, event, context):
            said.append(context.attempt)
            if len(said) < 8:
                raise NotYet("the operation goes on", after_s=0.0)

    processor = running(Busy(), retry=RetryPolicy(attempts_max=1))

    (ending,) = await attempt(processor)

    assert ending.verdict is Verdict.HANDLED
    assert said == [1, 2, 3, 4, 5, 6, 7, 8]
    assert processor.counts.attempts_failed == 0


async def test_nothing_is_put_off_for_ever(monkeypatch):
    monkeypatch.setattr("consumer.runtime.attempts.PUT_OFF_MAX_S", 0.15)

    class Busy:
        async def __call__(self, event, context):
            raise NotYet("the operation goes on", after_s=3_600)

    processor = running(Busy(), retry=RetryPolicy(attempts_max=2, backoff_s=0, backoff_max_s=0))

    (ending,) = await attempt(processor)

    assert (ending.reason, ending.error) == (Reason.RETRIES_SPENT, "the operation goes on")


async def test_data_that_cannot_be_taken_is_not_asked_for_again_and_the_reason_is_its_own():
    def ask(_):
        raise BadData(Reason.DUPLICATE_KEY, "the key 'a' stands twice")

    recorder = Recorder(before=ask)

    (ending,) = await attempt(running(recorder, retry=RetryPolicy(3, 0, 0, block=True)))

    assert (ending.verdict, ending.reason) == (Verdict.FAILED, Reason.DUPLICATE_KEY)
    assert ending.error == "the key 'a' stands twice"
    assert recorder.attempts == [1]


async def test_blocking_processors_are_tried_until_they_succeed():
    def fail_often(_):
        if len(recorder.attempts) < 20:
            raise OSError

    recorder = Recorder(before=fail_often)

    (ending,) = await attempt(running(recorder, retry=RetryPolicy(3, 0, 0, block=True)))

    assert ending.verdict is Verdict.HANDLED
    assert len(recorder.attempts) == 20


async def test_a_deadline_ends_an_attempt_and_says_so():
    processor = running(Recorder(before=lambda _: asyncio.sleep(60)), deadline_s=0.01)

    (ending,) = await attempt(processor)

    assert ending.reason is Reason.RETRIES_SPENT
    assert ending.error == "no result within the deadline of 0.01 s"


async def test_a_time_out_of_the_processors_own_is_not_called_our_deadline():
    def time_out(_):
        raise TimeoutError("their server")

    (ending,) = await attempt(running(Recorder(before=time_out)))

    assert ending.error == "TimeoutError: their server"


@pytest.mark.parametrize("error", [SystemExit(3), RecursionError(), MemoryError(), asyncio.CancelledError()])
async def test_nothing_that_a_processor_raises_gets_out(error):
    def fail(_):
        raise error

    (ending,) = await attempt(running(Recorder(before=fail)))

    assert ending.verdict is Verdict.FAILED


async def test_being_cancelled_is_not_mistaken_for_a_fault():
    processor = running(Recorder(before=lambda _: asyncio.sleep(60)))

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(attempt(processor))
        while not processor.counts.running:  # noqa: ASYNC110 - a count says nothing when it rises
            await asyncio.sleep(0)
        task.cancel()

    assert task.cancelled()
    assert processor.counts.attempts_failed == 0
    assert processor.counts.running == 0


class Batches:
    def __init__(self, poison=()):
        self.calls = []
        self.poison = poison

    async def process_batch(self, events, context):
        self.calls.append([event.id for event in events])
        for event in events:
            if event.id in self.poison:
                raise Reject(f"{event.id} is poison")


async def test_a_chunk_that_cannot_be_done_together_is_to_be_tried_one_by_one():
    target = Batches(poison={"m-2"})

    endings = await attempt(running(target), 3)

    assert endings == [None]
    assert target.calls == [["m-1", "m-2", "m-3"]]


async def test_every_attempt_is_observed():
    observed = []
    processor = running(Recorder(), observe=lambda *what: observed.append(what))

    await attempt(processor)

    ((name, result, seconds, count),) = observed
    assert (name, result, count) == ("keep", "handled", 1)
    assert seconds >= 0
