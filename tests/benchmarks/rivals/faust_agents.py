"""Faust: an agent that orders, and an agent for each processor, joined by channels in memory.

A channel is bounded, so a slow processor delays nobody before its channel is full.
"""

from __future__ import annotations

import asyncio
from typing import Any

import faust

from benchmarks.rivals.hand_partition import EVENT, Entry, Partition
from benchmarks.running import Finish, Options, Run
from benchmarks.work import PROCESSORS, QUEUE_EVENTS, Course, Log, Tally


class _Step:
    """An event on its way through the agents."""

    __slots__ = ("entry", "left", "partition")

    def __init__(self, partition: Partition, entry: Entry) -> None:
        self.partition, self.entry, self.left = partition, entry, len(PROCESSORS)


def in_memory(log: Log, _options: Options, course: Course) -> Run:
    """The work in memory."""

    async def run() -> Finish:
        app = faust.App("work", broker="kafka://127.0.0.1:1", store="memory://", stream_wait_empty=False)
        ended = asyncio.Event()
        course.on_end = ended.set
        partitions = [Partition(log.topics) for _ in log.partitions]
        messages = app.channel(maxsize=QUEUE_EVENTS)
        channels = [app.channel(maxsize=QUEUE_EVENTS) for _ in PROCESSORS]

        async def order(stream: Any) -> None:
            async for index, body, number, time_ms in stream:
                partition = partitions[index]
                for entry in partition.take((body,), (number,), (time_ms,)) if body else partition.finish():
                    step = _Step(partition, entry)
                    for channel in channels:
                        await channel.put(step)

        agents = [app.agent(messages, name="order")(order)]
        for name, channel, tally in zip(PROCESSORS, channels, course.tallies, strict=True):
            agents.append(app.agent(channel, name=name)(_processor(tally)))
        app.finalize()
        app.flow_control.resume()
        for agent in agents:
            await agent.start()
        for batch in log.in_order_of_arrival():
            rows = zip(batch.bodies, batch.sequence_numbers, batch.enqueued_times_ms, strict=True)
            for body, number, time_ms in rows:
                await messages.put((batch.partition, body, number, time_ms))
        for index in range(len(partitions)):
            await messages.put((index, b"", 0, 0))
        await ended.wait()
        course.end()
        return Finish()

    return run


def _processor(tally: Tally) -> Any:
    async def process(stream: Any) -> None:
        async for step in stream:
            tally.take((step.entry[EVENT]["id"],))
            step.left -= 1
            if not step.left:
                step.partition.done((step.entry,))

    return process
