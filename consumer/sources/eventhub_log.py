"""An event hub as a log to read stretches of, beside whoever consumes it.

The receivers here have no owner level and claim nothing: they disturb nobody. But Event Hubs lets none of
them in while a receiver with an owner level, as every balanced consumer has, reads the same partition with
the same consumer group; so a replay beside a running consumer wants a group of its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from datetime import datetime
from typing import TypeAlias

import structlog
from azure.eventhub import EventData
from azure.eventhub.aio import PartitionContext

from consumer.errors import SourceUnavailable
from consumer.events import RawBatch
from consumer.sources.eventhub_batches import raw_batch
from consumer.sources.eventhub_client import all_of, make_asking_client, receiving
from consumer.sources.eventhub_errors import Refused, explain
from consumer.sources.eventhub_inquiry import Inquiry
from consumer.sources.eventhub_internals import Upkeep
from consumer.sources.eventhub_settings import PREFETCH_MAX, Address, EventHubSettings
from consumer.sources.eventhub_watchdog import HEARTBEAT_S, Backoff
from consumer.sources.receive_guard import ReceiveGuard
from consumer.sources.stretch import Extent

_BATCHES_AHEAD_MAX = 2
"""Batches that wait to be taken; then the client waits too."""
_FAILURES_MAX = 6
"""Attempts in a row that give nothing, over about half a minute; then the hub counts as away."""
_OUSTED = re.compile(r"link:stolen|\bepoch\b", re.IGNORECASE)
"""What the hub says when a receiver with an owner level is there, or comes."""

_Item: TypeAlias = list[EventData] | Exception
_log = structlog.get_logger("inturn.eventhub")


class HubLog:
    """The partitions of a hub, from the oldest message that is kept."""

    def __init__(self, settings: EventHubSettings, address: Address) -> None:
        self._settings = settings
        self._address = address
        self._inquiry = Inquiry(settings, address)
        self.missing = 0
        """Messages that retention has taken away before they were read."""

    async def extents(self) -> list[Extent]:
        """What is kept of every partition. Raises `SourceUnavailable`."""
        partitions = await self._inquiry.partition_ids()
        return await all_of([self._extent(partition) for partition in partitions])

    async def _extent(self, partition: str) -> Extent:
        told = await self._inquiry.partition(partition)
        return Extent(partition, told.newest + 1 if told.is_empty else told.begin, told.newest)

    async def before(self, extent: Extent, time: datetime) -> int:
        """The number before the first message enqueued at `time` or later. Raises `SourceUnavailable`."""
        try:
            found = await self._inquiry.resolve(extent.partition, time)
        except SourceUnavailable as error:
            raise self._named(extent.partition, error, error) from error
        return min(max(found.sequence_number, extent.begin - 1), extent.newest)

    async def batches(self, partition: str, after: int, last: int) -> AsyncGenerator[RawBatch]:
        """Messages above `after`, each once and in order; reconnects, and gives up when nothing helps."""
        guard = ReceiveGuard(after)
        backoff, failures = Backoff(), 0
        while guard.last < last:
            reached = guard.last
            try:
                async with aclosing(self._receive(partition, guard.last)) as received:
                    async for events in received:
                        admitted = guard.admit(raw_batch(partition, events, None))
                        for gap in admitted.gaps:
                            self._miss(partition, gap.first, min(gap.last, last))
                        if admitted.batch is not None:
                            yield admitted.batch
                        if guard.last >= last:
                            break
            except Refused:
                raise
            except SourceUnavailable as error:
                failures = 1 if guard.last > reached else failures + 1
                if failures > _FAILURES_MAX:
                    raise
                _log.warning("A stretch cannot be read on; trying again.", error=str(error))
                await asyncio.sleep(backoff.next_s())
                if await self._is_gone(partition, last):
                    self._miss(partition, guard.last + 1, last)
                    return

    async def _receive(self, partition: str, after: int) -> AsyncGenerator[list[EventData]]:
        """What one client gives. Raises `SourceUnavailable` when it fails or falls silent."""
        items: asyncio.Queue[_Item] = asyncio.Queue(_BATCHES_AHEAD_MAX)

        async def on_batch(_: PartitionContext, events: list[EventData]) -> None:
            if events:
                await items.put(events)

        async def on_error(_: PartitionContext, error: Exception) -> None:
            upkeep.tidy(client)
            await items.put(error)

        upkeep = Upkeep()
        client = make_asking_client(self._settings, self._address)
        # Not a `with`: what ends a generator, thrown in at its yield, would fail the task group in there.
        stack = AsyncExitStack()
        try:
            await stack.enter_async_context(
                receiving(
                    client,
                    on_event_batch=on_batch,
                    on_error=on_error,
                    partition_id=partition,
                    starting_position="-1" if after < 0 else after,
                    starting_position_inclusive=False,
                    max_batch_size=self._settings.batch_max,
                    max_wait_time=HEARTBEAT_S,
                    prefetch=min(self._settings.prefetch, PREFETCH_MAX),
                )
            )
            while True:
                events = await self._next(partition, items)
                upkeep.tidy(client)
                yield events
        finally:
            upkeep.tidy(client)
            await stack.aclose()

    async def _next(self, partition: str, items: asyncio.Queue[_Item]) -> list[EventData]:
        try:
            async with asyncio.timeout(self._settings.stall_after_s):
                item = await items.get()
        except TimeoutError:
            raise SourceUnavailable(
                f"Partition {partition}: the hub has more events and gives none."
            ) from None
        if isinstance(item, Exception):
            raise self._named(partition, item, explain(item, self._settings, self._address))
        return item

    async def _is_gone(self, partition: str, last: int) -> bool:
        """Whether retention has taken the end of a stretch away, so that nothing will ever come."""
        try:
            return (await self._extent(partition)).begin > last
        except SourceUnavailable:
            return False

    def _miss(self, partition: str, first: int, last: int) -> None:
        self.missing += last - first + 1
        _log.warning("Messages left the hub unread.", partition=partition, first=first, last=last)

    def _named(self, partition: str, error: Exception, explained: SourceUnavailable) -> SourceUnavailable:
        if not _OUSTED.search(str(error)):
            return explained
        group = self._settings.consumer_group
        return Refused(
            f"A consumer reads partition {partition} with the consumer group {group}, and the hub lets "
            "nobody read beside it. Give the replay a group of its own (--group), or stop the consumer."
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._inquiry.close()
