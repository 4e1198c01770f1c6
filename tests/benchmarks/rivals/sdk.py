"""Rival (b): the async client of `azure-eventhub`, with the hand-written loop behind it.

By default it fetches 300 events ahead and gives 300 at once. The best we found for throughput is to fetch
3,000 ahead; giving more at once gains nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import orjson
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from benchmarks.rivals.hand_loop import Counting, HandLoop
from benchmarks.running import Finish, Options, Run
from benchmarks.work import Batch, Course, Log

HUB = "events"


def with_default_settings(log: Log, options: Options, course: Course) -> Run:
    """As the client is by default."""
    return _reading(log, options, course, {})


def with_best_settings(log: Log, options: Options, course: Course) -> Run:
    """As it is fastest."""
    return _reading(log, options, course, {"prefetch": 3_000, "max_batch_size": 300})


def _reading(log: Log, options: Options, course: Course, settings: dict[str, Any]) -> Run:
    course.begin_with_first()

    async def run() -> Finish:
        ended = asyncio.Event()
        course.on_end = ended.set
        processors = [Counting(tally) for tally in course.tallies]
        loop = HandLoop(log.topics, options.partitions, processors)

        async def read(loop: HandLoop) -> None:
            async def on_batch(context: PartitionContext, events: Sequence[EventData]) -> None:
                await loop.take(_columns(int(context.partition_id), events))

            await _receive(options, on_batch, ended, settings)

        await loop.run(read)
        return Finish()

    return run


async def _receive(options: Options, on_batch: Any, ended: asyncio.Event, settings: dict[str, Any]) -> None:
    client = EventHubConsumerClient.from_connection_string(
        options.connection_string, "$Default", eventhub_name=HUB
    )
    async with client, asyncio.TaskGroup() as tasks:
        # Without a store for checkpoints it takes all partitions at once.
        receiving = tasks.create_task(client.receive_batch(on_batch, starting_position="-1", **settings))
        await ended.wait()
        await client.close()
        receiving.cancel()


def _columns(partition: int, events: Sequence[EventData]) -> Batch:
    return Batch(
        partition,
        [b"".join(event.body) for event in events],
        [event.sequence_number for event in events],
        [int(event.enqueued_time.timestamp() * 1_000) for event in events],
        [],
    )


def latency(log: Log, options: Options, course: Course) -> Run:
    """How long events take from the hub to the callback, with default settings."""

    async def run() -> Finish:
        ended = asyncio.Event()
        took_ms: list[float] = []

        async def on_batch(_context: PartitionContext, events: Sequence[EventData]) -> None:
            sent_ns = [orjson.loads(b"".join(event.body))[0]["data"]["sentAtNs"] for event in events]
            now_ns = time.monotonic_ns()
            took_ms.extend((now_ns - each) / 1e6 for each in sent_ns)
            if len(took_ms) >= options.messages:
                ended.set()

        await _receive(options, on_batch, ended, {})
        return Finish(latencies_ms=took_ms)

    return run
