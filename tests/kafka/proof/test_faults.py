"""What may go wrong around a worker on Apache Kafka: nothing is lost by it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from harness.kafka import Listener, free_port, running_kafka
from harness.kafka_worlds import KafkaWorld, open_kafka_world
from harness.proxy import open_proxy

from consumer.config_file import load_settings
from consumer.events import DeadLetter
from consumer.opening import open_dead_letters

EVENTS = 4_000
AWAY_S = 60.0
POISON = (b"", b"{", b"[1]", b"\xff\xfe", b'[{"id": 1}]', b'"text"', b"[[[]]]")


async def letters(world: KafkaWorld) -> list[DeadLetter]:
    settings = load_settings(world.folder / "inturn.yaml", {})
    async with open_dead_letters(settings.dead_letters) as store:
        return [each async for each in store.letters()]


async def take_any_time(world: KafkaWorld) -> None:
    """Let the re-key topic take messages however old they are."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
    await admin.start()
    try:
        configs = {"message.timestamp.before.max.ms": str(2**63 - 1)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, world.rekey_topic, configs)])
    finally:
        await admin.close()


async def test_a_refused_produce_ends_the_worker_and_loses_nothing(
    kafka_bootstrap, figure, explain, tmp_path: Path
):
    topics = {"message_timestamp_before_max_ms": "0"}  # so that every message is too old
    async with open_kafka_world(tmp_path, kafka_bootstrap, topics=topics) as world:
        await world.send(0, EVENTS)
        refused = await world.start()
        async with asyncio.timeout(60):
            code = await refused.process.wait()
        assert code == 75, world.explain("")
        assert "did not take an event" in refused.errors
        lag = await world.committed_lag()
        await take_any_time(world)
        again = await world.start()
        await world.until_done(EVENTS)
        assert await again.stop() == 0
        outcome = world.outcome(EVENTS)
        explain(world.explain(outcome))
        figure("faust-refused-committed", EVENTS - lag, "events", "==", 0)
        figure("faust-refused-lost", len(outcome.lost), "events", "==", 0)
        assert not outcome.out_of_order


async def test_poison_is_put_aside_and_stops_nobody(kafka_bootstrap, figure, explain, tmp_path: Path):
    async with open_kafka_world(tmp_path, kafka_bootstrap) as world:
        await world.send(0, EVENTS // 2)
        async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
            for number, body in enumerate(POISON * 4):
                await producer.send_and_wait(world.topic, body, partition=number % 4)
        await world.send(EVENTS // 2, EVENTS // 2)
        worker = await world.start()
        await world.until_done(EVENTS)
        assert await worker.stop() == 0
        outcome = world.outcome(EVENTS)
        explain(world.explain(outcome))
        kept = await letters(world)
        figure("faust-poison-lost", len(outcome.lost), "events", "==", 0)
        figure("faust-poison-put-aside", len(kept), "letters", "==", len(POISON) * 4)
        assert not outcome.out_of_order


@pytest.mark.timeout(180)
async def test_a_processor_that_hangs_loses_nothing(kafka_bootstrap, figure, explain, tmp_path: Path):
    async with open_kafka_world(tmp_path, kafka_bootstrap) as world:
        (tmp_path / "hang").touch()
        worker = await world.start()
        await world.until_assigned(worker)
        await world.send(0, EVENTS)
        await asyncio.sleep(15)  # three deadlines
        assert not worker.has_ended
        (tmp_path / "hang").unlink()
        await world.until_done(EVENTS)
        assert await worker.stop() == 0
        outcome = world.outcome(EVENTS)
        explain(world.explain(outcome))
        figure("faust-hang-lost", len(outcome.lost), "events", "==", 0)
        assert not outcome.out_of_order
        assert not await letters(world)


@pytest.mark.timeout(300)
async def test_a_broker_that_is_away_for_a_minute_loses_nothing(figure, explain, tmp_path: Path):
    with running_kafka(tmp_path / "kafka") as broker:
        async with open_kafka_world(tmp_path / "world", broker.bootstrap) as world:
            workers = [await world.start()]
            await world.until_assigned(workers[0])
            await world.send(0, EVENTS // 2)
            await asyncio.sleep(1)
            await asyncio.to_thread(broker.stop)
            await asyncio.sleep(AWAY_S)
            await asyncio.to_thread(broker.start)
            await world.send(EVENTS // 2, EVENTS // 2)
            await finish(world, workers, (figure, explain), "away")


@pytest.mark.timeout(300)
async def test_a_black_hole_of_a_minute_loses_nothing(figure, explain, tmp_path: Path):
    port = free_port()
    listeners = [Listener("PROXIED", advertised_port=port)]
    with running_kafka(tmp_path / "kafka", listeners) as broker:
        async with open_proxy(broker.ports["PROXIED"], port) as proxy:
            told = f"127.0.0.1:{port}"
            async with open_kafka_world(tmp_path / "world", broker.bootstrap, told=told) as world:
                workers = [await world.start()]
                await world.until_assigned(workers[0])
                await world.send(0, EVENTS // 2)
                await asyncio.sleep(1)
                proxy.black_hole(for_good=True)
                await world.send(EVENTS // 2, EVENTS // 2)
                await asyncio.sleep(AWAY_S)
                await proxy.heal()
                await finish(world, workers, (figure, explain), "black-hole")


async def finish(world: KafkaWorld, workers: list, tellers: tuple, name: str) -> None:
    """Wait for everything; a worker that gave up with 75 is started again, as an orchestrator does."""
    figure, explain = tellers
    restarts = 0
    async with asyncio.timeout(120):
        while world.done() < EVENTS:
            if workers[-1].has_ended:
                assert workers[-1].process.returncode == 75, world.explain("")
                restarts += 1
                workers.append(await world.start())
            await asyncio.sleep(0.5)
    assert await workers[-1].stop() == 0, world.explain("")
    outcome = world.outcome(EVENTS)
    explain(world.explain(outcome))
    figure(f"faust-{name}-lost", len(outcome.lost), "events", "==", 0)
    figure(f"faust-{name}-out-of-order", len(outcome.out_of_order), "events", "==", 0)
    figure(f"faust-{name}-repeated", len(outcome.repeats), "events")
    figure(f"faust-{name}-restarts", restarts, "restarts")
