"""Forwarding to Kafka by lanes side by side, whose producer has to be replaced."""

from __future__ import annotations

import asyncio

import pytest

from consumer.processor import Retry
from processors.forward import Parcel
from processors.forward_settings import KafkaTarget

pytest.importorskip("aiokafka")

from aiokafka.errors import OutOfOrderSequenceNumber, ProducerClosed

from processors.forward_kafka import KafkaTopic


class Batch:
    def __init__(self):
        self.count = 0

    def record_count(self):
        return self.count

    def append(self, **_):
        self.count += 1
        return self

    def close(self):
        pass


class Producer:
    """One that has lost count: what is sent waits for its turn, and fails."""

    def __init__(self, is_lost):
        self.is_lost, self.is_closed = is_lost, False
        self.turns = asyncio.Semaphore(0)

    async def start(self):
        pass

    async def stop(self):
        self.is_closed = True

    async def partitions_for(self, _):
        return {0}

    def create_batch(self):
        return Batch()

    async def send_batch(self, *_, partition):
        if self.is_closed:
            raise ProducerClosed
        if self.is_lost:
            await self.turns.acquire()
            raise OutOfOrderSequenceNumber
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(partition)
        return answer


async def test_a_lane_that_still_had_the_old_producer_does_not_make_the_new_one_be_replaced(event):
    topic = KafkaTopic(KafkaTarget(bootstrap="a:1", topic="t", tls=False), 5)
    made = []

    def new_producer():
        made.append(Producer(is_lost=not made))
        return made[-1]

    topic._new_producer = new_producer

    async def lane(number):
        parcel = Parcel(event(sequence_number=number), f"key-{number}", None, b"{}", "", {})
        failures = 0
        while True:
            try:
                await topic.send([parcel], lambda _: None)
            except Retry:
                failures += 1
            else:
                return failures

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        lanes = [tasks.create_task(lane(number)) for number in range(3)]
        for releases in (False, True, True):
            if releases:
                made[0].turns.release()
            for _ in range(20):  # until nobody gets any further
                await asyncio.sleep(0)
    assert [task.result() for task in lanes] == [1, 1, 1]
    assert len(made) == 2
