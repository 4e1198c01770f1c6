"""Quix Streams: a streaming data frame as its application calls it for each message, without a broker.

The processors are updates in the frame, one after the other: a slow one would keep the others waiting.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from quixstreams.context import copy_context, message_context, set_message_context
from quixstreams.dataframe import DataFrameRegistry, StreamingDataFrame
from quixstreams.models import MessageContext, Topic

from benchmarks.rivals.hand_partition import EVENT, Entry, Partition
from benchmarks.running import Finish, Options, Run
from benchmarks.work import Course, Log, Tally

TOPIC = "events"


def in_memory(log: Log, _options: Options, course: Course) -> Run:
    """The work in memory."""
    partitions = [Partition(log.topics) for _ in log.partitions]
    registry = DataFrameRegistry()
    frame = _frame(registry)
    registry.register_root(frame)

    def order(body: bytes, _key: Any, timestamp: int, _headers: Any) -> list[Entry]:
        context = message_context()
        return partitions[context.partition].take((body,), (context.offset,), (timestamp,))

    def finish(entry: Entry) -> None:
        partitions[message_context().partition].done((entry,))

    def processor(tally: Tally) -> Any:
        return lambda entry: tally.take((entry[EVENT]["id"],))

    frame = frame.apply(order, expand=True, metadata=True)
    for tally in course.tallies:
        frame = frame.update(processor(tally))
    frame = frame.update(finish)
    execute = registry.compose_all()[TOPIC]

    async def run() -> Finish:
        for batch in log.in_order_of_arrival():
            rows = zip(batch.bodies, batch.sequence_numbers, batch.enqueued_times_ms, strict=True)
            for body, number, time_ms in rows:
                context = copy_context()
                context.run(set_message_context, MessageContext(TOPIC, batch.partition, number, len(body)))
                context.run(execute, body, b"key", time_ms, None)
        for partition in partitions:
            entries = partition.finish()
            for tally in course.tallies:
                tally.take([entry[EVENT]["id"] for entry in entries])
            partition.done(entries)
        course.end()
        return Finish()

    return run


def _frame(registry: DataFrameRegistry) -> StreamingDataFrame:
    """A frame that belongs to no application: that would ask a broker for its topics."""
    return StreamingDataFrame(
        Topic(TOPIC, value_deserializer="bytes"),
        topic_manager=None,
        registry=registry,
        processing_context=SimpleNamespace(producer=None),
        stream_id=TOPIC,
    )
