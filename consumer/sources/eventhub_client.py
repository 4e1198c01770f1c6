"""Make clients of Event Hubs and ask the hub about itself.

Every question has a time limit of our own: the client's questions may wait for ever, and so may its close.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import structlog
from azure.core.exceptions import AzureError
from azure.eventhub import EventData, TransportType
from azure.eventhub.aio import CheckpointStore, EventHubConsumerClient, PartitionContext
from azure.eventhub.exceptions import EventHubError

from consumer.errors import SourceUnavailable
from consumer.events import NOTHING_DONE, Checkpoint
from consumer.sources.eventhub_credentials import Pace, PacedCredential, credential_of
from consumer.sources.eventhub_errors import Refused, explain, knock
from consumer.sources.eventhub_internals import cut, open_links
from consumer.sources.eventhub_settings import Address, EventHubSettings

ANSWER_TIMEOUT_S = 15.0
"""A hub that takes longer for an answer counts as not answering."""
QUESTIONS_MAX = 8
"""Questions asked at the same time; each has a connection of its own."""
CLOSE_TIMEOUT_S = 5.0
"""A client that takes longer to close is cut off."""
_FIRST_EVENT_TIMEOUT_S = 5.0
_GROUP_TIMEOUT_S = 3.0
_GRACE_S = 2.0
_CANCEL_EVERY_S = 0.2
_RETRIES = 1_000_000
"""D5: the client counts disconnects for as long as it has a partition, and gives it up after so many."""

_T = TypeVar("_T")
_log = structlog.get_logger("inturn.eventhub")


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


async def within(seconds: float, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Await something that may hang in its own clean-up too. Raises `TimeoutError`, or what it raised."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_settled(work()))
        try:
            await asyncio.wait((task,), timeout=seconds)
        except asyncio.CancelledError:
            # The client leaves a connection open when it is cancelled while making it: let it finish.
            await asyncio.wait((task,), timeout=_GRACE_S)
            raise
        finally:
            await put_an_end_to(task)
    if task.cancelled():
        raise TimeoutError
    return task.result()()


async def put_an_end_to(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it is done: on its way out it may begin to wait again."""
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_CANCEL_EVERY_S)


async def _settled(work: Coroutine[Any, Any, _T]) -> Callable[[], _T]:
    """The result or the error as something to call: the error must not end the task group."""
    try:
        result = await work
    except (EventHubError, AzureError, SourceUnavailable, OSError, ValueError) as error:
        caught = error

        def fail() -> _T:
            raise caught

        return fail
    return lambda: result


async def all_of(works: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """The results of all, awaited side by side. Raises the first error, when all have ended."""
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(_settled(work)) for work in works]
    return [task.result()() for task in started]


@asynccontextmanager
async def receiving(client: EventHubConsumerClient, **how: Any) -> AsyncIterator[asyncio.Task[None]]:
    """Receive for as long as the block lasts; after it the client is closed, within a bounded time."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(client.receive_batch(**how))
        try:
            yield task
        finally:
            links = open_links(client)
            task.cancel()
            await asyncio.wait((task,), timeout=CLOSE_TIMEOUT_S)
            await put_an_end_to(task)
            cut(links)
            try:
                await within(CLOSE_TIMEOUT_S, client.close)
            except (TimeoutError, EventHubError):
                _log.warning("A client of the hub could not be closed in time; it was cut off.")


def make_client(
    settings: EventHubSettings, address: Address, store: CheckpointStore
) -> EventHubConsumerClient:
    """A client that shares the partitions with others by what is in the store, and reads for ever."""
    credential = PacedCredential(credential_of(settings), Pace())
    return _client(settings, address, credential, checkpoint_store=store, retry_total=_RETRIES)


def _client(
    settings: EventHubSettings, address: Address, credential: Any, **more: Any
) -> EventHubConsumerClient:
    options: dict[str, Any] = {
        "idle_timeout": settings.idle_timeout_s,
        "load_balancing_interval": settings.load_balancing_interval_s,
        "load_balancing_strategy": "greedy",
        "auth_timeout": ANSWER_TIMEOUT_S,
        "user_agent": "inturn",
        "transport_type": TransportType.AmqpOverWebsocket
        if settings.transport == "websocket"
        else TransportType.Amqp,
    }
    if settings.proxy is not None:
        options["http_proxy"] = {
            "proxy_hostname": settings.proxy.host,
            "proxy_port": settings.proxy.port,
            "username": settings.proxy.username,
            "password": settings.proxy.password,
        }
    if address.is_plain:
        # What `from_connection_string` makes of UseDevelopmentEmulator=true.
        options["use_tls"] = False
    return EventHubConsumerClient(
        address.namespace, address.hub, settings.consumer_group, credential, **options, **more
    )


class Inquiry:
    """Asks the hub about itself, over connections that have nothing to do with the receiving ones."""

    def __init__(self, settings: EventHubSettings, address: Address) -> None:
        self._settings = settings
        self._address = address
        self._client = self._make_client()
        self._at_once = asyncio.Semaphore(QUESTIONS_MAX)

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
            self._make_client(),
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

    def _make_client(self) -> EventHubConsumerClient:
        return _client(self._settings, self._address, credential_of(self._settings), retry_total=0)

    async def _ask(self, question: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        try:
            async with self._at_once:
                await knock(self._settings, self._address)
                return await within(ANSWER_TIMEOUT_S, question)
        except (EventHubError, AzureError, OSError, ValueError, TimeoutError) as error:
            raise explain(error, self._settings, self._address) from error
