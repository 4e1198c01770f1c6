"""Rival (a): what a good engineer writes in a day with asyncio and orjson.

A loop reads, and every processor has a bounded queue and a task of its own, so that a slow one delays nobody
before its queue is full. Batches travel, not events.

The durable form appends what was finished to a log, with the position, and has it on the disk (fdatasync)
before it goes on: so it can begin again behind the position with the same tokens and identities.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from benchmarks.rivals.hand_partition import EVENT, IDENTITY, OBJECT, TOKEN, Entry, Object, Partition
from benchmarks.running import Finish, Options, Run
from benchmarks.work import PROCESSORS, QUEUE_BATCHES, Batch, Course, Log, Tally

Processor = Callable[[Sequence[Any]], Awaitable[None]]


class Handover:
    """A batch on its way through the processors."""

    __slots__ = ("entries", "events", "left", "partition")

    def __init__(self, partition: Partition, entries: list[Entry]) -> None:
        self.partition = partition
        self.entries = entries
        self.events = [entry[EVENT] for entry in entries]
        self.left = len(PROCESSORS)


class Counting:
    """What a processor does here."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    async def __call__(self, events: Sequence[Any]) -> None:
        self._tally.take([event["id"] for event in events])


class HandLoop:
    """Reads partitions and gives the events to processors."""

    def __init__(self, topics: Sequence[str], partitions: int, processors: Sequence[Processor]) -> None:
        self.partitions = [Partition(topics) for _ in range(partitions)]
        self._processors = processors
        self._queues: list[asyncio.Queue[Handover | None]] = [
            asyncio.Queue(QUEUE_BATCHES * partitions) for _ in processors
        ]

    async def run(self, read: Callable[[HandLoop], Awaitable[None]]) -> None:
        """Run until `read`, which calls `take`, has ended and everything is handled."""
        # Decoded events are many small dicts without cycles: looking for those every 700 of them is in vain.
        gc.set_threshold(50_000, 10, 100)
        async with asyncio.TaskGroup() as tasks:
            for queue, processor in zip(self._queues, self._processors, strict=True):
                tasks.create_task(self._work(queue, processor))
            await read(self)
            for partition in self.partitions:
                await self._hand_over(partition, partition.finish())
            for queue in self._queues:
                await queue.put(None)

    async def take(self, batch: Batch) -> None:
        """Take a batch; waits while a queue is full."""
        partition = self.partitions[batch.partition]
        await self._hand_over(
            partition, partition.take(batch.bodies, batch.sequence_numbers, batch.enqueued_times_ms)
        )

    async def _hand_over(self, partition: Partition, entries: list[Entry]) -> None:
        handover = Handover(partition, entries)
        if not entries:
            partition.done(entries)
            return
        for queue in self._queues:
            await queue.put(handover)

    async def _work(self, queue: asyncio.Queue[Handover | None], processor: Processor) -> None:
        while (handover := await queue.get()) is not None:
            await processor(handover.events)
            handover.left -= 1
            if not handover.left:
                handover.partition.done(handover.entries)


class StateLog:
    """State of a partition as a log of changes, one line for each checkpoint."""

    def __init__(self, path: Path, partition: Partition) -> None:
        self._partition = partition
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._is_writing = asyncio.Lock()
        self.checkpoints = 0
        partition.changes = []

    async def checkpoint(self) -> None:
        """Store the position, and all that was finished since the last time."""
        async with self._is_writing:
            partition = self._partition
            assert partition.changes is not None
            changes, partition.changes = partition.changes, []
            rows = [(entry[OBJECT].key, entry[TOKEN], entry[IDENTITY]) for entry in changes]
            self._file.write(orjson.dumps([partition.position, rows]) + b"\n")
            await asyncio.to_thread(os.fdatasync, self._file.fileno())
            self.checkpoints += 1

    def close(self) -> None:
        self._file.close()


def restore(path: Path, partition: Partition) -> None:
    """Give a partition the state that a log holds; a line that was cut off is not there."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        partition.position, rows = orjson.loads(line)
        for key, token, identity in rows:
            found = partition.objects.setdefault(tuple(key), Object(tuple(key)))
            known = tuple(token) if isinstance(token, list) else token
            found.newest = known if found.newest is None else max(known, found.newest)
            partition.young.add(identity)


def in_memory(log: Log, _options: Options, course: Course) -> Run:
    """The work in memory."""

    async def run() -> Finish:
        loop = HandLoop(log.topics, len(log.partitions), [Counting(tally) for tally in course.tallies])

        async def read(loop: HandLoop) -> None:
            for batch in log.in_order_of_arrival():
                await loop.take(batch)

        await loop.run(read)
        course.end()
        assert [each.position for each in loop.partitions] == log.ends
        return Finish()

    return run


def durable(log: Log, options: Options, course: Course) -> Run:
    """The work with durable state; so many checkpoints in all, the last of each partition among them."""

    async def run() -> Finish:
        loop = HandLoop(log.topics, len(log.partitions), [Counting(tally) for tally in course.tallies])
        folder = Path(options.folder)
        logs = [StateLog(folder / f"{index}.log", each) for index, each in enumerate(loop.partitions)]
        on_the_way = max(0, options.checkpoints - len(logs))
        batches = sum(map(len, log.partitions))

        async def read(loop: HandLoop) -> None:
            stored = 0
            async with asyncio.TaskGroup() as tasks:
                for count, batch in enumerate(log.in_order_of_arrival(), start=1):
                    await loop.take(batch)
                    if stored < on_the_way * count // (batches + 1):
                        tasks.create_task(logs[stored % len(logs)].checkpoint())
                        stored += 1

        await loop.run(read)
        for state in logs:
            await state.checkpoint()
            state.close()
        course.end()
        assert [each.position for each in loop.partitions] == log.ends
        return Finish(sum(state.checkpoints for state in logs))

    return run
