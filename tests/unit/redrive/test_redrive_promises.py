"""What a redrive promises: order, no loss, the same keys, and nothing that was not asked for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import msgspec
import pytest
from harness.letter_hub import LetterHub
from harness.letters import Target, letter

from consumer.core.catalogue import Catalogue
from consumer.core.idempotency import idempotency_key
from consumer.errors import StoreUnavailable
from consumer.events import Event, Reason
from consumer.redrive.lettered import event_of
from consumer.redrive.right import AnotherRedrive, right_to
from consumer.runtime.clock import SystemClock
from consumer.stores import LetterFilter
from consumer.stores.memory import MemoryDeadLetters

# Order.


async def test_letters_of_an_object_run_in_the_order_in_which_they_were_put_aside(bench):
    await bench.put(*(letter("fraud", version) for version in (5, 3, 1, 4, 2)))

    report = await bench.run()

    assert bench.deploy.ids == [f"fraud-{version}" for version in (1, 2, 3, 4, 5)]
    assert await bench.keys() == []
    assert (report.of("deploy").redriven, report.has_findings) == (5, False)


async def test_behind_one_that_fails_the_others_of_its_object_stay_and_the_rest_goes_on(bench):
    await bench.put(*(letter(model, version) for model in ("fraud", "churn") for version in (1, 2, 3)))
    bench.deploy.broken = {"fraud-2"}

    report = await bench.run()

    assert sorted(bench.deploy.ids) == ["churn-1", "churn-2", "churn-3", "fraud-1"]
    assert await bench.keys() == ["fraud-2", "fraud-3"]
    tally = report.of("deploy")
    assert (tally.redriven, tally.failed, tally.held_back) == (4, 1, 1)
    assert report.has_findings


async def test_objects_run_side_by_side_and_one_object_never_does(bench):
    await bench.put(*(letter(f"model{number}", version) for number in range(4) for version in (1, 2, 3)))
    running: set[str] = set()

    async def alone(event: Event) -> None:
        assert event.object_path not in running
        running.add(event.object_path)
        await asyncio.sleep(0.001)
        running.discard(event.object_path)

    bench.deploy.before = alone
    await bench.run()

    assert bench.deploy.at_once_most == 4
    assert len(bench.deploy.ids) == 12


async def test_what_is_parked_while_the_last_one_runs_is_run_too(bench):
    await bench.put(letter("fraud", 1))
    now_ms = time.time_ns() // 1_000_000

    async def park(event: Event) -> None:
        if event.id in {"fraud-1", "fraud-2"}:  # as a live consumer would, before the letter is gone
            version = int(event.id[-1]) + 1
            await bench.put(letter("fraud", version, dead_lettered_at_ms=now_ms + version))

    bench.deploy.before = park
    report = await bench.run()

    assert bench.deploy.ids == ["fraud-1", "fraud-2", "fraud-3"]
    assert await bench.keys() == []
    assert report.of("deploy").redriven == 3


async def test_what_is_parked_just_after_the_last_one_is_gone_is_run_too(bench, monkeypatch):
    monkeypatch.setattr("consumer.redrive.running._SETTLE_EVERY_S", 0.01)
    monkeypatch.setattr("consumer.redrive.running._SETTLE_S", 0.05)
    await bench.put(letter("fraud", 1))
    bench.store = Late(bench.store, letter("fraud", 2, dead_lettered_at_ms=time.time_ns() // 1_000_000 + 1))

    await bench.run()

    assert bench.deploy.ids == ["fraud-1", "fraud-2"]
    assert await bench.keys() == []


class Late(MemoryDeadLetters):
    """A store in which a consumer parks once more when the line has been seen empty."""

    def __init__(self, before: MemoryDeadLetters, late: object) -> None:
        super().__init__()
        self._letters, self._lines = before._letters, before._lines
        self._late = [late]

    async def holds(self, *line) -> bool:
        answer = await super().holds(*line)
        if not answer and self._late:
            await self.put([self._late.pop()])
            return await super().holds(*line)
        return answer


# What is asked for.


async def test_only_what_is_asked_for_is_run(bench):
    bench.targets["mail"] = Target()
    await bench.put(letter("fraud", 1), letter("churn", 1), letter("fraud", 1, key="m", processor="mail"))

    await bench.run(LetterFilter(processors=("deploy",), object="models/fraud"))

    assert (bench.deploy.ids, bench.targets["mail"].ids) == (["fraud-1"], [])
    assert sorted(await bench.keys()) == ["churn-1", "m"]


async def test_what_is_parked_behind_a_letter_that_is_asked_for_follows_it(bench):
    await bench.put(letter("fraud", 1), letter("fraud", 2), letter("fraud", 3))

    await bench.run(LetterFilter(reasons=(Reason.RETRIES_SPENT,)))

    assert bench.deploy.ids == ["fraud-1", "fraud-2", "fraud-3"]


async def test_where_order_is_kept_nothing_overtakes_a_letter_that_is_not_asked_for(bench):
    await bench.put(letter("fraud", 1), letter("fraud", 2), letter("fraud", 3))

    report = await bench.run(LetterFilter(key="fraud-2"))

    assert bench.deploy.ids == []
    assert report.of("deploy").held_back == 3
    assert len(await bench.keys()) == 3


async def test_where_no_order_was_kept_a_letter_can_be_run_alone(bench):
    bench.plans["deploy"] = {"parks": False}
    spent = {"reason": Reason.RETRIES_SPENT}
    await bench.put(*(letter("fraud", version, **spent) for version in (1, 2, 3)))

    report = await bench.run(LetterFilter(key="fraud-2"))

    assert bench.deploy.ids == ["fraud-2"]
    assert not report.has_findings
    assert await bench.keys() == ["fraud-1", "fraud-3"]


async def test_a_letter_is_found_however_many_stand_before_it(bench):
    bench.plans["deploy"] = {"parks": False}
    spent = {"reason": Reason.RETRIES_SPENT}
    await bench.put(*(letter("fraud", version, **spent) for version in range(1, 1_203)))

    await bench.run(LetterFilter(key="fraud-120"))

    assert bench.deploy.ids == ["fraud-120", "fraud-1200", "fraud-1201", "fraud-1202"]


async def test_no_more_letters_are_run_than_the_limit_says(bench):
    await bench.put(*(letter("fraud", version) for version in range(1, 8)))

    await bench.run(letters_max=3)

    assert bench.deploy.ids == ["fraud-1", "fraud-2", "fraud-3"]
    assert len(await bench.keys()) == 4


async def test_letters_begin_no_faster_than_the_rate_says(bench):
    await bench.put(*(letter("fraud", version) for version in range(1, 5)))
    began = time.monotonic()

    await bench.run(rate_per_s=50)

    assert time.monotonic() - began >= 3 / 50  # never sooner; how much later is not promised
    assert len(bench.deploy.ids) == 4


async def test_letters_of_a_processor_that_is_gone_stay_and_are_told_of(bench):
    await bench.put(letter("fraud", 1, processor="gone"), letter("churn", 1))

    report = await bench.run()

    assert report.unknown == {"gone": 1}
    assert report.has_findings
    assert await bench.keys() == ["fraud-1"]


# Failing again.


async def test_a_letter_that_fails_again_says_why_and_how_often_it_was_tried(bench):
    await bench.put(letter("fraud", 1), letter("fraud", 2))
    bench.deploy.broken = {"fraud-1"}

    await bench.run()

    first, second = await bench.kept()
    assert (first.error, first.attempts, first.reason) == (
        "RuntimeError: still down",
        5 + 2,
        Reason.RETRIES_SPENT,
    )
    assert second == letter("fraud", 2)


async def test_a_parked_letter_that_fails_by_itself_is_parked_no_more(bench):
    await bench.put(letter("fraud", 2, attempts=0))
    bench.deploy.refused = {"fraud-2"}

    await bench.run()

    (kept,) = await bench.kept()
    assert (kept.reason, kept.error, kept.attempts) == (Reason.REJECTED, "no model of ours", 1)
    assert kept.dead_lettered_at_ms == letter("fraud", 2).dead_lettered_at_ms


async def test_a_processor_that_would_try_for_ever_is_given_up_in_a_redrive(bench):
    bench.retry = replace(bench.retry, block=True)
    await bench.put(letter("fraud", 1))
    bench.deploy.broken = {"fraud-1"}

    await bench.run()

    assert bench.deploy.attempts == 2


async def test_bytes_that_are_no_event_any_more_stay_with_the_reason_of_today(bench):
    await bench.put(letter("fraud", 1, original=b'{"eventType": "Mine.Made"}'))

    report = await bench.run()

    (kept,) = await bench.kept()
    assert kept.reason is Reason.MISSING_FIELD
    assert report.of("deploy").failed == 1


# Keys.


@pytest.mark.parametrize(
    ("group", "live_group", "replay"),
    [
        ("$Default", "$Default", ""),
        ("$Default~replay-20261121-063000-ab12", "$Default", "20261121-063000-ab12"),
    ],
)
async def test_the_idempotency_key_is_that_of_the_attempt_that_failed(bench, group, live_group, replay):
    of_replay = letter("fraud", 1, partition=letter("fraud", 1).partition._replace(group=group))
    await bench.put(of_replay)

    await bench.run()

    event = event_of(of_replay, Catalogue([]))
    assert isinstance(event, Event)
    assert bench.deploy.handled == [("fraud-1", idempotency_key(live_group, "deploy", event, replay))]


async def test_an_event_is_given_as_it_was(bench):
    given = letter("fraud", 1, partition_key="fraud", stale=True)
    given = msgspec.structs.replace(given, position=msgspec.structs.replace(given.position, index=3))
    await bench.put(given, letter("fraud", 2))

    await bench.run()

    first, second = bench.deploy.events
    assert (first.position, first.partition_key, first.stale) == (given.position, "fraud", True)
    assert (first.original, first.enqueued_time_ms) == (given.original, given.enqueued_time_ms)
    assert (first.is_latest, second.is_latest) == (False, True)


# Stopping.


async def test_what_is_stopped_loses_nothing_and_can_go_on(bench):
    await bench.put(*(letter("fraud", version) for version in range(1, 6)))

    async def stop(event: Event) -> None:
        if event.id == "fraud-2":
            bench.redrive.pace.stop()

    bench.deploy.before = stop
    await bench.run()
    assert bench.deploy.ids == ["fraud-1", "fraud-2"]
    assert await bench.keys() == ["fraud-3", "fraud-4", "fraud-5"]

    bench.deploy.before = None
    await bench.run()
    assert bench.deploy.ids == [f"fraud-{version}" for version in range(1, 6)]
    assert await bench.keys() == []


async def test_what_is_cut_off_in_the_middle_of_an_attempt_stays(bench):
    await bench.put(letter("fraud", 1), letter("fraud", 2))
    begun = asyncio.Event()

    async def hang(event: Event) -> None:
        begun.set()
        await asyncio.sleep(60)

    bench.deploy.before = hang
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.run())
        await begun.wait()
        running.cancel()

    assert await bench.kept() == [letter("fraud", 1), letter("fraud", 2)]


async def test_a_store_that_goes_away_ends_it_and_loses_nothing(bench):
    class Away(MemoryDeadLetters):
        async def remove(self, letters):
            raise StoreUnavailable("gone")

    bench.store = Away()
    await bench.put(letter("fraud", 1), letter("fraud", 2))

    with pytest.raises(ExceptionGroup) as caught:
        await bench.run()

    assert caught.value.subgroup(StoreUnavailable)
    assert await bench.keys() == ["fraud-1", "fraud-2"]


async def test_two_redrives_of_a_store_do_not_run_at_once(bench):
    async with right_to(bench.store, SystemClock()):
        with pytest.raises(AnotherRedrive, match="going on"):
            await bench.run()
    await bench.run()


async def test_letters_in_a_hub_are_redriven_in_order_and_gone(bench):
    hub = LetterHub()
    bench.store = hub.open()
    await bench.put(*(letter(model, version) for model in ("fraud", "churn") for version in (1, 2, 3)))
    bench.deploy.broken = {"churn-2"}

    await bench.run()

    assert sorted(bench.deploy.ids) == ["churn-1", "fraud-1", "fraud-2", "fraud-3"]
    await bench.store.close()
    another = hub.open()
    assert [(each.key, each.attempts) async for each in another.letters()] == [("churn-2", 7), ("churn-3", 5)]
    await another.close()
