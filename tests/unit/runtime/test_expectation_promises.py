"""What does not come is told, over a change of the owner and on a partition to which nothing comes."""

from __future__ import annotations

import time

from consumer.core.expectation_keys import Sought, Template
from consumer.core.expectations import Rule
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.runtime.engine import Reader

from .conftest import Recorder, batch, body, running

REGISTERED = Sought(("Microsoft.MachineLearningServices.ModelRegistered",), Template("{data.modelName}"))
DEPLOYED = Sought(("Microsoft.MachineLearningServices.ModelDeployed",), Template("{data.modelName}"))


def now_ms():
    return time.time_ns() // 1_000_000


def policy(within_ms):
    return PipelinePolicy(
        SequencerLimits(0),
        idle_margin_ms=20,
        checkpoint_interval_ms=5,
        owner="t",
        rules=(Rule("deployed", REGISTERED, DEPLOYED, within_ms),),
    )


def listening(recorder):
    return running(recorder, "listener", types=(), internal_types=("Inturn.*",))


def reader(newest):
    """Of a hub that answers at once."""
    return Reader(newest=lambda _: newest, asked_ms=lambda _: now_ms())


async def test_a_silent_partition_misses_what_does_not_come(bench):
    listener = Recorder()
    deployed = body("a", 1, id="d", eventType="Microsoft.MachineLearningServices.ModelDeployed")

    async with bench([listening(listener)], policy=policy(50), reader=reader(2)) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(body("a", 1), body("b", 1), deployed, time_ms=now_ms()))
        await it.until(lambda: bool(listener.handled))
        (partition,) = it.engine.status().partitions

    assert [event.field("key") for event in listener.handled] == ["b"]
    assert partition.expectations == {"pending": 0, "met": 1, "missed": 1, "unwatched": 0}
    assert it.outcomes() == {"handled": 3}


async def test_the_next_owner_misses_it_although_nothing_more_comes(bench):
    listener = Recorder()
    async with bench([listening(Recorder())], policy=policy(300), reader=reader(0)) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(body("a", 1), time_ms=now_ms()))
        await it.until(lambda: it.engine.status().partitions[0].checkpoint == 0)

    async with bench([listening(listener)], policy=policy(300), reader=reader(0)) as it:
        assert (await it.source.intake.assigned("0")).sequence_number == 0
        await it.until(lambda: bool(listener.handled))

    assert [event.type for event in listener.handled] == ["Inturn.ExpectationMissed"]


async def test_a_partition_with_events_to_be_read_is_not_silent(bench):
    listener = Recorder()
    async with bench([listening(listener)], policy=policy(1), reader=reader(5)) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(body("a", 1), time_ms=now_ms()))
        for _ in range(3):
            turned_s = it.engine._runners["0"].turned_s
            await it.until(lambda turned_s=turned_s: it.engine._runners["0"].turned_s > turned_s)

        assert it.engine.status().partitions[0].expectations["pending"] == 1
        assert listener.handled == []
