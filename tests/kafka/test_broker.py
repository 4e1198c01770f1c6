"""The broker of the tests is the real thing, shared by all that use it."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition


async def test_what_a_broker_acknowledged_can_be_read_back_in_order(kafka_bootstrap, kafka_topic):
    topic = kafka_topic(partitions=1)
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        for number in range(10):
            await producer.send_and_wait(topic, b"%d" % number, partition=0)
    async with AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        values = [(await consumer.getone()).value for _ in range(10)]
    assert values == [b"%d" % number for number in range(10)]
