"""Ask a hub about itself: which partitions there are, how far they go, where a time is in them.

Every question has a connection of its own and a time limit: it says something about the hub even while
a receiver hangs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from azure.core.exceptions import AzureError
from azure.eventhub import EventData
from azure.eventhub.aio import PartitionContext
from azure.eventhub.exceptions import EventHubError

from consumer.errors import SourceUnavailable
from consumer.events import NOTHING_DONE, Checkpoint
from consumer.sources.eventhub_client import ANSWER_TIMEOUT_S, all_of, make_asking_client, receiving, within
from consumer.sources.eventhub_errors import Refused, explain, knock
from consumer.sources.eventhub_settings import Address, EventHubSettings

QUESTIONS_MAX = 8
"""Questions asked at the same time."""
_ANSWER_SOON_S = 4.0
"""How long an answer is waited for at first; after each that did not come twice as long, to the limit."""
_USUAL_TIMES = 3
"""An answer may take so many times as long as the one before."""
_FIRST_EVENT_TIMEOUT_S = 5.0
_GROUP_TIMEOUT_S = 3.0

_T = TypeVar("_T")


class PartitionDescription(NamedTuple):
    """What the hub says of a partition."""

    partition: str
    begin: int
    """Sequence number of the oldest event that is kept."""
    newest: int
    """Sequence number of the newest event; -1 if there never was one."""
    newest_offset: str
    newest_time: datetime | None
    is_empty: bool


class HubDescription(NamedTuple):
    """What the hub says of itself."""

    namespace: str
    hub: str
    consumer_group: str
    partitions: tuple[PartitionDescription, ...]


class Inquiry:
    """Asks the hub about itself, over connections that have nothing to do with the receiving ones."""

    def __init__(self, settings: EventHubSettings, address: Address) -> None:
        self._settings = settings
        self._address = address
        self._client = make_asking_client(settings, address)
        self._at_once = asyncio.Semaphore(QUESTIONS_MAX)
        self._answer_within_s = _ANSWER_SOON_S

    async def close(self) -> None:
        """Let go of the client; it keeps no connection between questions."""
        await self._client.close()

    async def partition_ids(self) -> list[str]:
        """The ids of the partitions. Raises `SourceUnavailable`."""
        return list(await self._ask(self._client.get_partition_ids))

    async def partition(self, partition: str) -> PartitionDescription:
        """What the hub says of a partition. Raises `SourceUnavailable`."""
        told = await self._ask(lambda: self._client.get_partition_properties(partition))
        return PartitionDescription(
            partition=partition,
            begin=told["beginning_sequence_number"],
            newest=told["last_enqueued_sequence_number"],
            newest_offset=told["last_enqueued_offset"],
            newest_time=told["last_enqueued_time_utc"],
            is_empty=bool(told["is_empty"]),
        )

    async def describe(self) -> HubDescription:
        """The hub with all its partitions. Raises `SourceUnavailable`."""
        partitions = await all_of([self.partition(each) for each in await self.partition_ids()])
        return HubDescription(
            self._address.namespace, self._address.hub, self._settings.consumer_group, tuple(partitions)
        )

    async def resolve(self, partition: str, start: str | datetime) -> Checkpoint:
        """The checkpoint after which to read when told to begin at `start`. Raises `SourceUnavailable`."""
        if start == "earliest":
            return NOTHING_DONE
        told = await self.partition(partition)
        newest = Checkpoint(told.newest, told.newest_offset) if told.newest >= 0 else NOTHING_DONE
        if not isinstance(start, datetime) or told.is_empty:
            return newest
        if told.newest_time is None or told.newest_time < start:
            return newest
        first = await self._first_event(partition, start, inclusive=True)
        if first is None:
            return newest
        # The checkpoint is the event before: its offset is the hub's secret, so it has to be looked at.
        before = (first.sequence_number or 0) - 1
        if before < told.begin:
            return NOTHING_DONE
        event = await self._first_event(partition, before, inclusive=True)
        if event is None or event.sequence_number != before or event.offset is None:
            raise SourceUnavailable(f"Partition {partition}: the event at {before} could not be found.")
        return Checkpoint(before, event.offset)

    async def look_for_group(self, partition: str) -> None:
        """Raise `Refused` if the hub says that there is no such consumer group; silence is consent.

        The management node knows of no groups, so a receiver has to knock. One without an owner level
        disturbs nobody, and being turned away by one with a level is as good as being let in.
        """
        try:
            await self._first_event(partition, "-1", inclusive=False, timeout_s=_GROUP_TIMEOUT_S)
        except Refused:
            raise
        except SourceUnavailable:
            return

    async def _first_event(
        self, partition: str, position: Any, *, inclusive: bool, timeout_s: float = _FIRST_EVENT_TIMEOUT_S
    ) -> EventData | None:
        found: list[EventData] = []
        errors: list[Exception] = []
        done = asyncio.Event()

        async def on_batch(_: PartitionContext, events: list[EventData]) -> None:
            found.extend(events[:1])
            if found:
                done.set()

        async def on_error(_: PartitionContext, error: Exception) -> None:
            errors.append(error)
            done.set()

        async with receiving(
            make_asking_client(self._settings, self._address),
            on_event_batch=on_batch,
            on_error=on_error,
            partition_id=partition,
            starting_position=position,
            starting_position_inclusive=inclusive,
            prefetch=1,
        ):
            try:
                async with asyncio.timeout(timeout_s):
                    await done.wait()
            except TimeoutError:
                pass
        if errors and not found:
            raise explain(errors[0], self._settings, self._address)
        return found[0] if found else None

    async def _ask(self, question: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Ask, on a connection of its own. One that hangs is given up soon; a slow hub is given more time."""
        limit_s = self._answer_within_s
        try:
            async with self._at_once:
                await knock(self._settings, self._address)
                began_s = time.monotonic()
                answer = await within(limit_s, question)
        except (EventHubError, AzureError, OSError, ValueError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                self._answer_within_s = min(2 * limit_s, ANSWER_TIMEOUT_S)
            raise explain(error, self._settings, self._address) from error
        usual_s = _USUAL_TIMES * (time.monotonic() - began_s)
        self._answer_within_s = min(max(_ANSWER_SOON_S, usual_s), ANSWER_TIMEOUT_S)
        return answer
