"""A Kafka topic as a log to read stretches of, by a reader that belongs to no group: it disturbs nobody.

Of a spread source it is the re-key topic that is read, since that is what pipelines were given.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.errors import SourceUnavailable
from consumer.events import RawBatch
from consumer.sources.faust_app import IDLE_MAX_MS, client_options
from consumer.sources.faust_columns import LogTime, Record, keyed_batch, rekeyed_batch
from consumer.sources.faust_inquiry import Inquiry
from consumer.sources.faust_preflight import partition_counts
from consumer.sources.faust_reader import TROUBLES
from consumer.sources.faust_settings import FaustSettings
from consumer.sources.stretch import Extent

_POLL_MS = 500


class KafkaLog:
    """The partitions of the topic that pipelines read."""

    def __init__(self, settings: FaustSettings) -> None:
        self._settings = settings
        self._inquiry: Inquiry | None = None
        self._counts: Mapping[str, int] = {}

    async def extents(self) -> list[Extent]:
        """What is kept of every partition. Raises `SourceUnavailable`, `ConfigurationError`."""
        inquiry = await self._connected()
        extents = []
        for number in range(self._counts[self._settings.read_topic]):
            try:
                begin, end = await inquiry.limits(self._partition(str(number)))
            except TROUBLES as error:
                raise self._trouble(error) from error
            extents.append(Extent(str(number), begin, end - 1))
        return extents

    async def before(self, extent: Extent, time: datetime) -> int:
        """The offset before the first message of `time` or later, by the topic that is read."""
        inquiry = await self._connected()
        try:
            found = await inquiry.offset_of(
                self._partition(extent.partition), round(time.timestamp() * 1_000)
            )
        except TROUBLES as error:
            raise self._trouble(error) from error
        return extent.newest if found is None else min(max(found - 1, extent.begin - 1), extent.newest)

    async def batches(self, partition: str, after: int, last: int) -> AsyncGenerator[RawBatch]:
        """Messages above `after`, in order. Raises `SourceUnavailable`."""
        await self._connected()
        place = self._partition(partition)
        log_time = LogTime(self._counts[self._settings.topic])
        async with AsyncExitStack() as stack:
            try:
                reader = await self._reader(stack)
                reader.assign([place])
                reader.seek(place, after + 1)
                while await reader.position(place) <= last:
                    async with asyncio.timeout(self._settings.stall_after_s):
                        records = await self._next(reader)
                    yield self._batch(partition, records, last, log_time)
            except TROUBLES as error:
                raise self._trouble(error) from error

    async def close(self) -> None:
        """Let go of the connections."""
        if self._inquiry is not None:
            await self._inquiry.stop()

    async def _connected(self) -> Inquiry:
        if self._inquiry is None:
            self._counts = await partition_counts(self._settings)
            self._inquiry = Inquiry(self._settings)
            try:
                await self._inquiry.start()
            except TROUBLES as error:
                raise self._trouble(error) from error
        return self._inquiry

    async def _reader(self, stack: AsyncExitStack) -> Any:
        reader = AIOKafkaConsumer(
            client_id=f"{self._settings.group}-log",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            metadata_max_age_ms=IDLE_MAX_MS,
            connections_max_idle_ms=IDLE_MAX_MS,
            **client_options(self._settings),
        )
        stack.push_async_callback(reader.stop)
        await reader.start()
        return reader

    async def _next(self, reader: Any) -> list[Record]:
        while True:
            for records in (
                await reader.getmany(timeout_ms=_POLL_MS, max_records=self._settings.batch_max)
            ).values():
                return list(records)

    def _batch(self, partition: str, records: list[Record], last: int, log_time: LogTime) -> RawBatch:
        if self._settings.rekey_topic is not None:
            return rekeyed_batch(partition, records, last, log_time)
        is_event_hubs = self._settings.security.is_event_hubs
        return keyed_batch(partition, records, last, is_event_hubs=is_event_hubs)

    def _partition(self, partition: str) -> Any:
        return TopicPartition(self._settings.read_topic, int(partition))

    def _trouble(self, error: BaseException) -> SourceUnavailable:
        why = str(error) or type(error).__name__
        return SourceUnavailable(f"Kafka at {self._settings.bootstrap} cannot be read: {why}")
