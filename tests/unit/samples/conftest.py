"""A hub that is only reckoned: where a trace's messages would be, and when they would have come."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

from consumer.samples.messages import Message, Trace


class Entry(NamedTuple):
    sequence_number: int
    enqueued_time_ms: int
    body: bytes
    application_properties: Mapping[str, str]


class Log(NamedTuple):
    partitions: dict[str, list[Entry]]
    messages: list[tuple[str, int, Message]]
    """Partition, sequence number and what was sent."""


@pytest.fixture(scope="session")
def as_log() -> Callable[..., Log]:
    """Puts a trace on partitions, one millisecond a message, with the pauses it asks for."""

    def put(trace: Trace, *, window_ms: int = 2_000, partitions: int = 3) -> Log:
        log = Log({str(index): [] for index in range(partitions)}, [])
        now_ms = 1_772_438_400_000
        for phase in trace.phases:
            now_ms += int(phase.pause_before_s(window_ms / 1_000) * 1_000)
            for message in phase.messages:
                now_ms += 1
                key = message.partition_key or str(now_ms)
                partition = str(zlib.crc32(key.encode()) % partitions)
                entries = log.partitions[partition]
                log.messages.append((partition, len(entries), message))
                entries.append(Entry(len(entries), now_ms, message.body, message.properties))
        return log

    return put
