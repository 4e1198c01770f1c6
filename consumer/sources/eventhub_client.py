"""Make clients of Event Hubs, and wait for them no longer than is good.

The client's own calls, its close among them, may wait for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog
from azure.core.exceptions import AzureError
from azure.eventhub import TransportType
from azure.eventhub.aio import CheckpointStore, EventHubConsumerClient, EventHubProducerClient
from azure.eventhub.exceptions import EventHubError

from consumer.errors import SourceUnavailable
from consumer.sources import eventhub_tls
from consumer.sources.eventhub_credentials import PacedCredential, credential_of
from consumer.sources.eventhub_internals import cut, open_links
from consumer.sources.eventhub_settings import Address, EventHubSettings

ANSWER_TIMEOUT_S = 15.0
"""A hub that takes longer for an answer counts as not answering."""
CLOSE_TIMEOUT_S = 5.0
"""A client that takes longer to close is cut off."""
_TURN_PAUSE_S = 0.05
_GRACE_S = 2.0
_CANCEL_EVERY_S = 0.2
_RETRIES = 1_000_000
"""D5: the client counts disconnects for as long as it has a partition, and gives it up after so many."""

_T = TypeVar("_T")
_log = structlog.get_logger("inturn.eventhub")


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
    settings: EventHubSettings,
    address: Address,
    credential: PacedCredential,
    store: CheckpointStore,
    expire_s: float,
) -> EventHubConsumerClient:
    """A client that shares the partitions with others by what is in the store, and reads for ever.

    The store sets the pace of its turns; what was not renewed for `expire_s` seconds is anybody's.
    """
    return _client(
        settings,
        address,
        credential,
        checkpoint_store=store,
        retry_total=_RETRIES,
        load_balancing_interval=_TURN_PAUSE_S,
        partition_ownership_expiration_interval=expire_s,
        load_balancing_strategy="greedy",
    )


def _client(
    settings: EventHubSettings, address: Address, credential: Any, **more: Any
) -> EventHubConsumerClient:
    options = _options(settings, address)
    return EventHubConsumerClient(
        address.namespace, address.hub, settings.consumer_group, credential, **options, **more
    )


def _options(settings: EventHubSettings, address: Address) -> dict[str, Any]:
    options: dict[str, Any] = {
        "idle_timeout": settings.idle_timeout_s,
        "auth_timeout": ANSWER_TIMEOUT_S,
        "user_agent": "inturn",
        "ssl_context": eventhub_tls.unused() if address.is_plain else eventhub_tls.trusted(),
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
    return options


def make_asking_client(settings: EventHubSettings, address: Address) -> EventHubConsumerClient:
    """A client that shares nothing and tries nothing twice."""
    return _client(settings, address, credential_of(settings), retry_total=0)


def make_sending_client(settings: EventHubSettings, address: Address) -> EventHubProducerClient:
    """A client that sends, and tries nothing twice."""
    credential: Any = credential_of(settings)
    options = _options(settings, address) | {"retry_total": 0}
    return EventHubProducerClient(address.namespace, address.hub, credential, **options)
