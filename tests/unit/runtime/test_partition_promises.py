"""What an engine promises for one partition, with real parts in memory."""

from __future__ import annotations

import asyncio

import pytest

from consumer.core.flights import Delivery
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.errors import FenceLost, StoreUnavailable
from consumer.events import NOTHING_DONE
from consumer.processor import Reject
from consumer.stores.memory import MemoryDeadLetters

from .conftest import Recorder, batch, body, partition_id, running, versions

ZERO = partition_id("0")


async def stored_number(store):
    state = await store.load(ZERO)
    return state.checkpoint.sequence_number if state.checkpoint else None


async def test_events_are_handled_and_the_checkpoint_follows(bench, store):
    recorder = Recorder()

    async with bench([running(recorder)]) as it:
        assert await it.source.intake.assigned("0") == NOTHING_DONE
        await it.source.intake.received(batch(*versions(10)))
        await it.until(lambda: it.outcomes().get("handled") == 10)

    assert recorder.ids == [f"m-{version}" for version in range(1, 11)]
    assert await stored_number(store) == 9


async def test_a_graceful_stop_repeats_nothing(bench):
    first, second = Recorder(), Recorder()
    bodies = versions(20)
    async with bench([running(first)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*bodies[:12]))
        await it.until(lambda: len(first.handled) >= 5)

    async with bench([running(second)]) as it:
        checkpoint = await it.source.intake.assigned("0")
        assert checkpoint.sequence_number <= 11
        await it.source.intake.received(batch(*bodies))
        await it.until(lambda: len(first.handled) + len(second.handled) >= 20)

    assert first.ids + second.ids == [f"m-{version}" for version in range(1, 21)]


async def test_what_was_held_when_it_stopped_comes_out_in_turn_afterwards(bench):
    """Held events are not in the snapshot: they are read again, and their order is still that of the log."""
    policy = PipelinePolicy(
        SequencerLimits(window_ms=60_000), idle_margin_ms=10**9, checkpoint_interval_ms=5, owner="t"
    )
    alert, first, second = Recorder(), Recorder(), Recorder()
    bodies = [body("m", 2), body("m", 1), body("m", 3)]
    alerting = running(alert, "alert", delivery=Delivery.ON_ARRIVAL)
    async with bench([running(first), alerting], policy=policy) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*bodies))
        await it.until(lambda: len(alert.handled) == 3)

    async with bench([running(second), alerting], policy=policy) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*bodies))
        await it.source.intake.ended("0")

    assert first.ids == []
    assert second.ids == ["m-1", "m-2", "m-3"]
    assert alert.ids == ["m-2", "m-1", "m-3"]  # its acknowledgements were kept: nothing twice


async def test_a_crash_repeats_with_the_same_key_and_loses_nothing(bench):
    first, second = Recorder(), Recorder()
    slow = PipelinePolicy(SequencerLimits(window_ms=0), idle_margin_ms=0, checkpoint_interval_ms=10**6)
    async with bench([running(first)], policy=slow, drain=False) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(5)))
        await it.until(lambda: len(first.handled) == 5)

    async with bench([running(second)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(5)))
        await it.until(lambda: len(second.handled) == 5)

    assert second.keys == first.keys


async def test_an_object_takes_one_event_at_a_time_while_others_go_on(bench):
    running_now: dict[str, int] = {}
    most = {"one object": 0, "all": 0}

    async def watch(event):
        name = event.data["modelName"]
        running_now[name] = running_now.get(name, 0) + 1
        most["one object"] = max(most["one object"], running_now[name])
        most["all"] = max(most["all"], sum(running_now.values()))
        await asyncio.sleep(0.001)
        running_now[name] -= 1

    recorder = Recorder(before=watch)
    bodies = [body(f"m{number % 20}", 1 + number // 20) for number in range(100)]
    async with bench([running(recorder, concurrency=8)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*bodies))
        await it.until(lambda: it.outcomes().get("handled") == 100)

    assert most["one object"] == 1
    assert most["all"] > 1
    for number in range(20):
        of_object = [event.data for event in recorder.handled if event.data["modelName"] == f"m{number}"]
        own = [data["modelVersion"] for data in of_object]

        assert own == [1, 2, 3, 4, 5]


async def test_a_full_processor_pauses_the_source_and_nothing_grows(bench):
    gate = asyncio.Event()
    recorder = Recorder(before=lambda _: gate.wait())
    async with bench([running(recorder, queue_max=10, deadline_s=60)]) as it:
        intake = it.source.intake
        await intake.assigned("0")
        await intake.received(batch(*versions(10)))
        await it.until(lambda: intake.is_paused("0"))
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(intake.received(batch(*versions(10, start=11), first=10)))
            await asyncio.sleep(0.02)
            assert not waiting.done()
            assert it.engine.status().partitions[0].in_flight == 10
            gate.set()
        await it.until(lambda: len(recorder.handled) == 20)

    assert recorder.ids == [f"m-{version}" for version in range(1, 21)]


async def test_a_batch_whose_reception_is_cancelled_is_not_taken_at_all(bench):
    gate = asyncio.Event()
    recorder = Recorder(before=lambda _: gate.wait())
    async with bench([running(recorder, queue_max=5, deadline_s=60)]) as it:
        intake = it.source.intake
        await intake.assigned("0")
        await intake.received(batch(*versions(5)))
        await it.until(lambda: intake.is_paused("0"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await intake.received(batch(*versions(5, start=6), first=5))
        gate.set()
        await it.until(lambda: len(recorder.handled) == 5)
        await intake.received(batch(*versions(5, start=6), first=5))
        await it.until(lambda: len(recorder.handled) == 10)

    assert recorder.ids == [f"m-{version}" for version in range(1, 11)]


async def test_a_failure_is_a_dead_letter_before_the_next_event_of_the_object_begins(bench, letters):
    order = []

    class Slow(MemoryDeadLetters):
        async def put(self, found):
            await asyncio.sleep(0.01)
            order.append("letter")
            await letters.put(found)

    def reject_first(event):
        order.append(event.id)
        if event.id == "m-1":
            raise Reject("not this one")

    recorder = Recorder(before=reject_first)
    async with bench([running(recorder)], dead_letters=Slow()) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(2)))
        await it.until(lambda: sum(it.outcomes().values()) == 2)

        assert it.outcomes() == {"dead_lettered:rejected": 1, "handled": 1}
    assert order == ["m-1", "letter", "m-2"]
    (letter,) = [letter async for letter in letters.letters()]
    assert (letter.processor, letter.error, letter.attempts) == ("keep", "not this one", 1)
    assert letter.original == versions(1)[0][1:-1]


async def test_a_dead_letter_store_that_is_away_holds_the_checkpoint_back_and_loses_nothing(
    bench, store, letters
):
    away = True

    class Away(MemoryDeadLetters):
        async def put(self, found):
            if away:
                raise StoreUnavailable("away")
            await letters.put(found)

    async with bench([running(Recorder())], dead_letters=Away()) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(b"not JSON", *versions(3)))
        await it.until(lambda: it.outcomes().get("handled") == 3)
        await asyncio.sleep(0.05)
        assert await stored_number(store) == -1
        away = False
        await it.until(lambda: it.outcomes().get("dead_lettered:invalid_json") == 1)

    assert await stored_number(store) == 3
    assert await letters.count() == 1


async def test_what_comes_for_a_partition_that_is_not_ours_is_dropped(bench):
    recorder = Recorder()
    async with bench([running(recorder)]) as it:
        await it.source.intake.received(batch(*versions(3)))
        await asyncio.sleep(0.01)

    assert recorder.ids == []


async def test_a_stopping_engine_takes_no_more_partitions(bench):
    async with bench([running(Recorder())]) as it:
        it.engine.drain()
        with pytest.raises(FenceLost):
            await it.source.intake.assigned("0")


async def test_a_hurried_stop_cuts_off_what_runs_and_keeps_what_is_done(bench, store):
    def block_third(event):
        return asyncio.sleep(60) if event.id == "m-3" else None

    recorder = Recorder(before=block_third)
    async with bench([running(recorder, deadline_s=120)], drain_timeout_s=60) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(4)))
        await it.until(lambda: len(recorder.attempts) == 3)
        it.engine.drain()
        await asyncio.sleep(0.01)
        it.engine.hurry()

    assert recorder.ids == ["m-1", "m-2"]
    assert await stored_number(store) == 1
    assert not it.engine.was_clean


async def test_the_latest_of_an_object_is_enough_for_who_wants_only_that(bench):
    gate = asyncio.Event()
    recorder = Recorder(before=lambda _: gate.wait())
    async with bench([running(recorder, delivery=Delivery.LATEST, deadline_s=60)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(1)))
        await it.until(lambda: len(recorder.attempts) == 1)
        await it.source.intake.received(batch(*versions(5, start=2), first=1))
        await it.until(lambda: it.engine.status().processors[0].queued == 5)
        gate.set()
        await it.until(lambda: sum(it.outcomes().values()) == 6)

        assert it.outcomes() == {"handled": 2, "stale": 4}
        assert it.engine.status().processors[0].stale_skipped == 4
    assert recorder.ids == ["m-1", "m-6"]


async def test_what_a_limit_lets_go_early_is_counted(bench):
    limits = SequencerLimits(window_ms=60_000, held_max=3)
    policy = PipelinePolicy(limits, idle_margin_ms=10**9, checkpoint_interval_ms=5)
    async with bench([running(Recorder())], policy=policy) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(10)))
        await it.until(lambda: it.outcomes().get("handled") == 6)

        (partition,) = it.engine.status().partitions
        assert (partition.held, partition.released_early) == (4, 6)


async def test_an_object_on_two_partitions_is_noticed(bench):
    async with bench([running(Recorder())]) as it:
        intake = it.source.intake
        await intake.assigned("0")
        await intake.assigned("1")
        await intake.received(batch(*versions(3)))
        await it.until(lambda: it.outcomes().get("handled") == 3)
        await intake.received(batch(*versions(3, start=4), partition="1"))
        await it.until(lambda: it.outcomes().get("handled") == 6)
        await intake.received(batch(*versions(1, start=7), first=3))
        await intake.received(batch(*versions(1, start=8), first=3, partition="1"))
        await it.until(lambda: it.engine.status().objects_spread == 1)


async def test_totals_outlive_a_partition_that_is_given_up(bench):
    async with bench([running(Recorder())]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(3)))
        await it.until(lambda: it.outcomes().get("handled") == 3)
        await it.source.intake.revoked("0", lost=False)

        assert it.engine.status().partitions == []
        assert it.outcomes() == {"handled": 3}
