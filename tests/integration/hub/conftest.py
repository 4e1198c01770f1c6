"""The real Python client, as these tests use it."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient

from consumer.hub import LocalHub

DEADLINE_S = 30


class Receiving:
    """What a client that receives has got so far."""

    def __init__(self) -> None:
        self.events: list[EventData] = []
        self.contexts: list[Any] = []
        self.errors: list[Exception] = []
        self._changed = asyncio.Event()

    @property
    def bodies(self) -> list[str]:
        return [event.body_as_str() for event in self.events]

    async def on_event(self, context: Any, event: EventData | None) -> None:
        if event is not None:
            self.events.append(event)
            self.contexts.append(context)
            self._changed.set()

    async def on_error(self, context: Any, error: Exception) -> None:
        self.errors.append(error)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds of what came in."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def count(self, number: int) -> list[EventData]:
        await self.until(lambda: len(self.events) >= number)
        return self.events

    async def error(self) -> Exception:
        await self.until(lambda: bool(self.errors))
        return self.errors[0]


class Receive(Protocol):
    """Starts a client that receives for as long as the block lasts."""

    def __call__(
        self, hub: LocalHub, *, entity: str = "events", group: str = "$Default", **options: Any
    ) -> Any: ...


@asynccontextmanager
async def _receiving(
    hub: LocalHub, *, entity: str = "events", group: str = "$Default", connection: str = "", **options: Any
) -> AsyncIterator[Receiving]:
    got = Receiving()
    client_options = {name: options.pop(name) for name in ("retry_total", "idle_timeout") if name in options}
    client = EventHubConsumerClient.from_connection_string(
        connection or hub.connection_string(entity), consumer_group=group, **client_options
    )
    options.setdefault("starting_position", "-1")
    async with client, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(client.receive(got.on_event, on_error=got.on_error, **options))
        yield got
        await client.close()
        task.cancel()


@pytest.fixture(autouse=True)
async def leftovers_are_collected() -> AsyncIterator[None]:
    """Collect what the client leaves of broken connections while their event loop still runs.

    Later it would be a warning in another test, or, inside `ast.parse`, a crash of Python 3.11.
    """
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Any]:
    """Waits until a condition holds that nothing announces."""

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - totals are numbers, they set no event
                await asyncio.sleep(0.01)

    return until


@pytest.fixture
def receiving() -> Callable[..., Any]:
    """Gives a context manager in which a client receives into a `Receiving`."""
    return _receiving


@pytest.fixture
def producer() -> Callable[..., EventHubProducerClient]:
    """Makes a producer for a hub."""

    def make(hub: LocalHub, entity: str = "events", **options: Any) -> EventHubProducerClient:
        return EventHubProducerClient.from_connection_string(hub.connection_string(entity), **options)

    return make


@pytest.fixture
def send() -> Callable[..., Any]:
    """Sends bodies in one batch."""

    async def sending(client: EventHubProducerClient, bodies: Sequence[Any], **place: Any) -> None:
        batch = await client.create_batch(**place)
        for body in bodies:
            batch.add(body if isinstance(body, EventData) else EventData(body))
        await client.send_batch(batch)

    return sending
