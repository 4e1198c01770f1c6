"""Bytewax: a stateful operator for each partition, and three sinks.

It takes batches everywhere, and its sinks are in the flow: a slow one would keep the others waiting.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, run_main

from benchmarks.rivals.hand_partition import EVENT, Entry, Partition
from benchmarks.running import Finish, Options, Run
from benchmarks.work import BATCH, PROCESSORS, Course, Log, Tally

Message = tuple[bytes, int, int]
"""Body, sequence number, enqueued time."""


class Ordering(op.StatefulBatchLogic[Message, Entry, None]):
    """The partition's state, as an operator's."""

    def __init__(self, topics: list[str], partitions: list[Partition]) -> None:
        self._partition = Partition(topics)
        partitions.append(self._partition)

    def on_batch(self, values: list[Message]) -> tuple[Iterable[Entry], bool]:
        return self._partition.take(*zip(*values, strict=True)), False

    def on_eof(self) -> tuple[Iterable[Entry], bool]:
        return self._partition.finish(), False

    def snapshot(self) -> None:
        return None


class _Writing(StatelessSinkPartition[tuple[str, Entry]]):
    def __init__(self, tally: Tally, done: Any) -> None:
        self._tally, self._done = tally, done

    def write_batch(self, items: list[tuple[str, Entry]]) -> None:
        self._tally.take([entry[EVENT]["id"] for _, entry in items])
        self._done(items)


class Sink(DynamicSink[tuple[str, Entry]]):
    """A processor."""

    def __init__(self, tally: Tally, done: Any) -> None:
        self._tally, self._done = tally, done

    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> _Writing:
        return _Writing(self._tally, self._done)


def in_memory(log: Log, _options: Options, course: Course) -> Run:
    """The work in memory."""
    items = [
        (str(batch.partition), message)
        for batch in log.in_order_of_arrival()
        for message in zip(batch.bodies, batch.sequence_numbers, batch.enqueued_times_ms, strict=True)
    ]
    partitions: list[Partition] = []

    def last(written: list[tuple[str, Entry]]) -> None:
        """The third sink comes last in the flow; what it has been given is done."""
        for partition in partitions:
            partition.done([entry for _, entry in written])

    flow = Dataflow("work")
    messages = op.input("read", flow, TestingSource(items, batch_size=BATCH))
    released = op.stateful_batch("order", messages, lambda _: Ordering(log.topics, partitions))
    for name, tally in zip(PROCESSORS, course.tallies, strict=True):
        op.output(name, released, Sink(tally, last if name == PROCESSORS[-1] else lambda _: None))

    async def run() -> Finish:
        run_main(flow)
        course.end()
        return Finish()

    return run
