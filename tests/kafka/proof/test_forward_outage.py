"""Forwarding while a real broker dies and comes back: nothing lost, nothing overtaken."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from harness.kafka import make_topic, running_kafka

from consumer.events import ObjectId
from consumer.processor import Context, Retry
from processors.forward import Forward

OBJECTS, EVENTS = 5, 300


async def deliver(forward, events):
    """Hand an event over until it is taken, as the engine does; gives how often that failed."""
    failed = 0
    while True:
        try:
            await forward.process_batch(events, Context("f", 1, events, lambda event: event.id))
        except Retry:
            failed += 1
            await asyncio.sleep(0.2)
        else:
            return failed


async def test_a_broker_that_is_killed_twice_costs_no_event_and_no_order(tmp_path, event):
    with running_kafka(tmp_path / "kafka") as broker:
        make_topic(broker.bootstrap, "events", 3)
        target = {"bootstrap": broker.bootstrap, "topic": "events", "tls": False}
        forward = Forward(Forward.Settings(kafka=target, timeout_s=3))
        await forward.open()
        failures = []

        async def lane(name):
            for number in range(0, EVENTS, 2):
                made = [
                    event(
                        id=f"{name}-{each}",
                        sequence_number=each,
                        object_id=ObjectId("t", str(name)),
                        original=orjson.dumps({"object": name, "number": each}),
                    )
                    for each in (number, number + 1)
                ]
                failures.append(await deliver(forward, made))
                await asyncio.sleep(0.05)

        async with asyncio.timeout(110), asyncio.TaskGroup() as lanes:
            for name in range(OBJECTS):
                lanes.create_task(lane(name))
            for _ in range(2):
                await asyncio.sleep(2)
                await asyncio.to_thread(broker.stop)
                await asyncio.sleep(4)
                await asyncio.to_thread(broker.start)
        await forward.close()
        assert sum(failures) > 0, "nobody noticed"
        seen = await read(broker.bootstrap)
    assert seen.keys() == set(range(OBJECTS))
    for numbers in seen.values():
        assert list(dict.fromkeys(numbers)) == list(range(EVENTS))


async def read(bootstrap):
    """The numbers of every object, in the order in which they lie."""
    found = defaultdict(list)
    count = 0
    options = {"bootstrap_servers": bootstrap, "auto_offset_reset": "earliest"}
    async with asyncio.timeout(20), AIOKafkaConsumer("events", **options) as consumer:
        ends = await consumer.end_offsets([TopicPartition("events", number) for number in range(3)])
        while count < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                count += len(records)
                for record in records:
                    body = orjson.loads(record.value)
                    found[body["object"]].append(body["number"])
    return found
