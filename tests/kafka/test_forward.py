"""Forwarding to a real Kafka: keys, headers, order, and what is too large."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.events import ObjectId
from consumer.processor import Context, Reject, Retry
from processors.forward import Forward


@pytest.fixture
def of_object(event):
    """Makes events of objects named by text, with a number."""

    def make(name, number, padding=0):
        body = orjson.dumps({"object": name, "number": number, "padding": "x" * padding})
        return event(object_id=ObjectId("t", name), sequence_number=number, original=body)

    return make


@pytest.fixture
async def make_forward(kafka_bootstrap):
    """Makes processors that forward to the broker, and closes them."""
    made = []

    async def make(topic, bootstrap=kafka_bootstrap, **settings):
        kafka = {"bootstrap": bootstrap, "topic": topic, "tls": False}
        made.append(Forward(Forward.Settings(kafka=kafka, **settings)))
        await made[-1].open()
        return made[-1]

    yield make
    for forward in made:
        await forward.close()


async def handle(forward, events, attempt=1):
    context = Context("forward", attempt, events, lambda event: f"key-{event.sequence_number}")
    await forward.process_batch(events, context)


async def read(bootstrap, topic, partitions):
    """Everything in a topic, by partition."""
    found = {number: [] for number in range(partitions)}
    options = {"bootstrap_servers": bootstrap, "auto_offset_reset": "earliest"}
    async with asyncio.timeout(20), AIOKafkaConsumer(topic, **options) as consumer:
        ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(partitions)])
        while sum(map(len, found.values())) < sum(ends.values()):
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                found[place.partition] += records
    return found


async def test_objects_are_spread_over_partitions_and_each_stays_in_order(
    kafka_bootstrap, kafka_topic, make_forward, of_object
):
    topic = kafka_topic(partitions=3)
    forward = await make_forward(topic)
    events = [of_object(f"object {number % 7}", number) for number in range(70)]

    async def lane(first):
        for at in range(first, 70, 14):
            await handle(forward, [events[at], *([events[at + 7]] if at + 7 < 70 else [])])

    async with asyncio.TaskGroup() as lanes:
        for first in range(7):
            lanes.create_task(lane(first))
    found = await read(kafka_bootstrap, topic, 3)
    orders: dict = {}
    for partition, records in found.items():
        for record in records:
            body = orjson.loads(record.value)
            orders.setdefault((body["object"], partition), []).append(body["number"])
    assert len(orders) == 7, "no object is on two partitions"
    assert all(numbers == sorted(numbers) and len(numbers) == 10 for numbers in orders.values())
    assert sum(map(bool, found.values())) > 1


async def test_the_key_is_the_object_and_headers_say_what_it_is(
    kafka_bootstrap, kafka_topic, make_forward, event
):
    topic = kafka_topic(partitions=1)
    await handle(await make_forward(topic, partition_key="data.modelName"), [event()])
    (record,) = (await read(kafka_bootstrap, topic, 1))[0]
    assert record.key == b"fraud"
    assert record.value == event().original
    assert dict(record.headers) == {
        "message_id": b"key-7",
        "content-type": b"application/json; charset=utf-8",
        "type": b"Microsoft.MachineLearningServices.ModelRegistered",
        "subject": b"models/fraud:3",
        "topic": event().topic.encode(),
    }


async def test_what_is_more_than_a_batch_holds_goes_in_several_in_order(
    kafka_bootstrap, kafka_topic, make_forward, of_object
):
    topic = kafka_topic(partitions=2)
    events = [of_object("one", number, padding=300_000) for number in range(8)]
    await handle(await make_forward(topic), events)
    records = [record for each in (await read(kafka_bootstrap, topic, 2)).values() for record in each]
    assert [orjson.loads(record.value)["number"] for record in records] == list(range(8))


@pytest.mark.parametrize("limit", [{}, {"max.message.bytes": "50000"}], ids=["ours", "the topic's"])
async def test_an_event_that_is_too_large_is_rejected_and_the_others_go(
    kafka_bootstrap, kafka_topic, make_forward, of_object, limit
):
    topic = kafka_topic(partitions=1, **limit)
    forward = await make_forward(topic)
    events = [of_object("a", 1, padding=30_000), of_object("a", 2, padding=950_000), of_object("a", 3)]
    with pytest.raises(Reject, match="too large for topic"):
        await handle(forward, events)
    await handle(forward, events[:1])
    with pytest.raises(Reject, match="too large"):
        await handle(forward, events[1:2])
    await handle(forward, events[2:])
    numbers = [orjson.loads(record.value)["number"] for record in (await read(kafka_bootstrap, topic, 1))[0]]
    assert numbers == [1, 3]


async def test_brokers_that_are_away_are_waited_for(make_forward, event, kafka_topic):
    forward = await make_forward(kafka_topic(), bootstrap="127.0.0.1:1", timeout_s=1)
    with pytest.raises(Retry, match=r"topic .* at 127\.0\.0\.1:1 does not take events"):
        await handle(forward, [event()])


async def test_a_topic_that_does_not_exist_is_no_fault_of_the_event(make_forward, event):
    forward = await make_forward("no-such-topic", timeout_s=1)
    with pytest.raises(Retry, match="topic no-such-topic"):
        await handle(forward, [event()])
