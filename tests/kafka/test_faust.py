"""Faust in our process, on a real Kafka: what it reads, what it refuses, and what it leaves to the group."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from harness.kafka import free_port
from harness.kafka_places import EVENTS, OBJECTS, PATIENCE_S, Place, orders, until
from harness.kafka_worlds import event

from consumer.config_file import load_settings
from consumer.errors import ConfigurationError, SourceUnavailable
from consumer.opening import open_log


@pytest.fixture
def place(kafka_bootstrap, kafka_topic, tmp_path: Path) -> Place:
    topic = kafka_topic("events", 4, message_timestamp_type="LogAppendTime")
    return Place(kafka_bootstrap, tmp_path, topic, kafka_topic("by-object"))


async def test_spread_events_come_in_turn_and_once_and_a_stop_repeats_none(place, memory):
    await place.send(*[event(number, OBJECTS) for number in range(EVENTS)])
    async with place.running() as application:
        await until(lambda: len(memory.events) >= EVENTS)
        shown = application.metrics.render()[0].decode()
        assert f"inturn_kafka_rekeyed_total {EVENTS}.0" in shown
        assert f'inturn_kafka_rekey_lag{{partition="0",topic="{place.topic}"}} 0.0' in shown
        assert "inturn_faust_total_rebalances " in shown
    await place.send(*[event(number, OBJECTS) for number in range(EVENTS, EVENTS + OBJECTS)])
    async with place.running():
        await until(lambda: len(memory.events) >= EVENTS + OBJECTS)
    found = orders(memory.events)
    assert len(memory.events) == EVENTS + OBJECTS
    assert all(order == sorted(order) for order in found.values())
    assert len({each.partition for each in memory.events}) > 1
    assert sum(filter(None, await place.committed(place.topic))) == EVENTS + OBJECTS


async def test_an_event_keeps_the_time_and_the_bytes_it_had_in_the_source_topic(place, memory):
    before_ms = time.time_ns() // 1_000_000
    first, second = event(1, OBJECTS), event(2, OBJECTS)
    await place.send(first[:-1] + b"," + second[1:])
    after_ms = time.time_ns() // 1_000_000
    await asyncio.sleep(0.3)  # what is re-keyed now is re-keyed later than it was enqueued
    async with place.running():
        await until(lambda: len(memory.events) == 2)
    assert {each.original for each in memory.events} == {first[1:-1], second[1:-1]}
    assert all(before_ms - 100 <= each.enqueued_time_ms <= after_ms + 100 for each in memory.events)


async def test_keyed_events_are_read_without_another_topic(place, memory, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    bodies = [event(number, OBJECTS) for number in range(EVENTS)]
    await place.send(*bodies, keyed=True)
    async with place.running(placement="keyed") as application:
        await until(lambda: len(memory.events) == EVENTS)
        assert application.engine.status().ready
    assert all(order == sorted(order) for order in orders(memory.events).values())
    assert await place.committed(place.topic) == [60, 60, 40, 40]
    assert list((tmp_path / "here").iterdir()) == []  # Faust would keep tables there


async def test_a_reader_without_state_begins_where_it_is_told(place, memory):
    await place.send(*[event(number, OBJECTS) for number in range(EVENTS)])
    async with place.running(placement="keyed", start="latest") as application:
        await until(lambda: len(application.engine.status().partitions) == 4)
        await until(lambda: application.engine.status().ready)
        await place.send(event(EVENTS, OBJECTS))
        await until(lambda: memory.events)
    assert [each.id for each in memory.events] == [str(EVENTS)]


@pytest.mark.parametrize("placement", ["keyed", "spread"])
async def test_a_reader_without_state_can_begin_at_a_time(place, memory, placement):
    await place.send(*[event(number, OBJECTS) for number in range(EVENTS)])
    await asyncio.sleep(0.1)  # the brokers' time is in milliseconds
    began = datetime.now(UTC)
    await place.send(event(EVENTS, OBJECTS))  # on one partition: there is nothing as late on the others
    source = {"placement": placement, "start": began.isoformat()}
    if placement == "spread":
        source["rekey_topic"] = place.rekey_topic
    async with place.running(**source) as application:
        await until(lambda: len(application.engine.status().partitions) == 4)
        await until(lambda: application.engine.status().ready and memory.events)
        await place.send(*[event(EVENTS + number, OBJECTS) for number in range(1, 5)])
        await until(lambda: len(memory.events) >= 5)
    assert {int(each.id) for each in memory.events} == {*range(EVENTS, EVENTS + 5)}


async def test_a_topic_that_is_not_there_is_a_wrong_configuration(place, memory):
    with pytest.raises(ExceptionGroup) as caught:
        async with place.running(placement="spread", rekey_topic="nowhere"):
            await asyncio.sleep(PATIENCE_S)
    assert "There is no topic nowhere" in str(caught.value.exceptions[0].exceptions[0])
    assert caught.group_contains(ConfigurationError)


async def test_a_broker_that_never_answers_is_a_temporary_trouble(place, memory):
    place.bootstrap = f"127.0.0.1:{free_port()}"
    with pytest.raises(ExceptionGroup) as caught:
        async with place.running():
            await asyncio.sleep(PATIENCE_S)
    assert caught.group_contains(SourceUnavailable)


async def test_two_apps_live_in_one_process(place, memory, kafka_topic, tmp_path: Path):
    (tmp_path / "other").mkdir()
    other = Place(place.bootstrap, tmp_path / "other", kafka_topic("others"), kafka_topic("by-other"))
    await place.send(*[event(number, OBJECTS) for number in range(20)])
    await other.send(*[event(number, OBJECTS) for number in range(20, 40)])
    async with place.running(), other.running():
        await until(lambda: len(memory.events) == 40)
    assert {each.id for each in memory.events} == {str(number) for number in range(40)}


async def test_what_was_rekeyed_can_be_read_again_beside_its_consumers(place, memory):
    await place.send(*[event(number, OBJECTS) for number in range(EVENTS)])
    async with place.running():
        await until(lambda: len(memory.events) >= EVENTS)
        settings = load_settings(place.folder / "inturn.yaml", {})
        bodies: list[bytes] = []
        async with open_log(settings.source) as (log, _):
            for each in await log.extents():
                log_times: list[int] = []
                async for batch in log.batches(each.partition, each.begin - 1, each.newest):
                    bodies += [body for body in batch.bodies if body != b"[]"]
                    log_times += batch.watermarks_ms or []
                assert log_times == sorted(log_times)
    assert sorted(bodies) == sorted(each.original for each in memory.events)
