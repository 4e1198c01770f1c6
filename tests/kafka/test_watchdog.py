"""A source that stands still ends, to be started again; one that waits for others does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from harness.kafka_places import Counting, by_one_key, until
from harness.kafka_worlds import event

from consumer.cli.exit_codes import ExitCode, exit_code_of
from consumer.errors import SourceUnavailable
from consumer.sources import faust
from consumer.sources.faust import FaustSource
from consumer.sources.faust_app import Inlet
from consumer.sources.faust_settings import FaustSettings

COUNT = 20
STALL_AFTER_S = 1.5


@pytest.fixture(params=["keyed", "spread"])
async def settings(
    request: pytest.FixtureRequest, kafka_bootstrap, kafka_topic, monkeypatch
) -> FaustSettings:
    monkeypatch.setattr(faust, "_WATCH_EVERY_S", 0.1)
    topic = kafka_topic(partitions=1)
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        for number in range(COUNT):
            await producer.send_and_wait(topic, event(number, 5))
    rekey_topic = kafka_topic("by-object", 1) if request.param == "spread" else None
    return FaustSettings(
        kafka_bootstrap, topic, topic, rekey_topic, stall_after_s=STALL_AFTER_S, session_timeout_s=6
    )


async def end_of(
    source: FaustSource, intake: Counting, meanwhile: Callable[[], Any]
) -> SourceUnavailable | None:
    """Why a source ends, while or after something else is done."""
    failure = None

    async def run() -> None:
        nonlocal failure
        try:
            await source.run(intake)
        except SourceUnavailable as error:
            failure = error

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run())
        await meanwhile()
        await source.close()
    return failure


async def until_told(source: FaustSource, text: str) -> None:
    await until(lambda: source.trouble and text in source.trouble)


async def test_a_partition_that_goes_on_of_which_nothing_comes_ends_the_source(settings, monkeypatch):
    async def nothing(self: Inlet, active: object, timeout: float) -> dict[object, object]:
        await asyncio.sleep(timeout)
        return {}

    monkeypatch.setattr(Inlet, "_getmany", nothing)
    source = FaustSource(settings, by_one_key())
    failure = await end_of(source, Counting(), lambda: until_told(source, "Nothing has come"))
    assert failure is not None
    assert f"Nothing has come from {settings.topic}/0 for " in str(failure)
    assert f"though it goes on to {COUNT - 1}" in str(failure)
    assert exit_code_of(failure) is ExitCode.TEMPORARY


async def test_a_source_that_has_read_everything_may_wait_as_long_as_it_likes(settings):
    intake = Counting()

    async def wait() -> None:
        await intake.has_all.wait()
        await asyncio.sleep(2 * STALL_AFTER_S)

    assert await end_of(FaustSource(settings, by_one_key()), intake, wait) is None


async def test_a_source_whose_events_nobody_takes_waits_for_that(settings):
    intake = Counting()
    intake.takes.clear()

    async def wait() -> None:
        await asyncio.sleep(4 * STALL_AFTER_S)
        assert not intake.bodies
        intake.takes.set()
        await intake.has_all.wait()

    assert await end_of(FaustSource(settings, by_one_key()), intake, wait) is None


@pytest.mark.parametrize("settings", ["keyed"], indirect=True)
async def test_a_rebalance_that_does_not_end_ends_the_source(settings, monkeypatch):
    monkeypatch.setattr(faust, "_REBALANCE_MAX_S", 0.5)
    stuck, source = Counting(), FaustSource(settings, by_one_key())

    async def join() -> None:
        await stuck.has_all.wait()
        stuck.releases.clear()

        async def let_go() -> None:
            await until_told(source, "rebalance has not ended")
            stuck.releases.set()

        await end_of(FaustSource(settings, by_one_key()), Counting(), let_go)

    failure = await end_of(source, stuck, join)
    assert "A rebalance has not ended after" in str(failure)
    assert exit_code_of(failure) is ExitCode.TEMPORARY
    assert await members(settings) == [], "nobody waits for the session of one that has gone"


async def members(settings: FaustSettings) -> list[object]:
    """Who is in the group, as the broker sees it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([settings.group])
        (group,) = answer.groups
        _error, _name, _state, _kind, _protocol, found = group
        return list(found)
    finally:
        await admin.close()
