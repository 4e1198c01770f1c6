"""A recording intake, and what drives a source against a local hub."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from consumer.events import NOTHING_DONE, Checkpoint, RawBatch
from consumer.hub.server import LocalHub
from consumer.sources.eventhub import EventHubSource
from consumer.sources.eventhub_settings import EventHubSettings
from consumer.stores.memory import MemoryStore

WAIT_S = 30.0


class RecordingIntake:
    """Takes everything and writes down what it was told; remembers checkpoints as an engine would."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.numbers: dict[str, list[int]] = {}
        self.bodies: dict[str, list[bytes]] = {}
        self.batches: list[RawBatch] = []
        self.checkpoints: dict[str, Checkpoint] = {}
        self.owned: set[str] = set()
        self.paused: set[str] = set()
        self.errors: list[Exception] = []
        """Raised by the next calls of `assigned`, one each."""
        self.may_receive = asyncio.Event()
        self.may_receive.set()
        self.waiting = 0
        self.violations: list[str] = []

    async def assigned(self, partition: str, *, start: Checkpoint | None = None) -> Checkpoint:
        if self.errors:
            raise self.errors.pop(0)
        self.calls.append(("assigned", partition, start))
        if partition in self.owned:
            self.violations.append(f"{partition} was assigned twice")
        self.owned.add(partition)
        return self.checkpoints.setdefault(partition, start or NOTHING_DONE)

    async def received(self, batch: RawBatch) -> None:
        self.waiting += 1
        try:
            await self.may_receive.wait()
        finally:
            self.waiting -= 1
        if batch.partition not in self.owned:
            return
        numbers = self.numbers.setdefault(batch.partition, [])
        self.calls.append(("received", batch.partition, batch.sequence_numbers))
        self.batches.append(batch)
        numbers += batch.sequence_numbers
        self.bodies.setdefault(batch.partition, []).extend(batch.bodies)
        self.checkpoints[batch.partition] = Checkpoint(batch.sequence_numbers[-1], batch.offsets[-1])

    async def revoked(self, partition: str, *, lost: bool) -> None:
        self.calls.append(("revoked", partition, lost))
        self.owned.discard(partition)

    async def ended(self, partition: str) -> None:
        self.calls.append(("ended", partition, None))

    def is_lost(self, partition: str) -> bool:
        return False

    def is_paused(self, partition: str) -> bool:
        return partition in self.paused

    def count(self, what: str, partition: str | None = None) -> int:
        return sum(call[0] == what and partition in (None, call[1]) for call in self.calls)

    @property
    def total(self) -> int:
        return sum(map(len, self.numbers.values()))


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits until a condition holds, and fails the test when it does not in time."""

    async def wait(condition: Callable[[], Any], within_s: float = WAIT_S) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not condition():  # noqa: ASYNC110 - what is waited for sets no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail("It did not happen in time.")

    return wait


@pytest.fixture(autouse=True)
def _leaks_show_where_they_are_made() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def intake() -> RecordingIntake:
    return RecordingIntake()


@pytest.fixture
def make_intake() -> type[RecordingIntake]:
    return RecordingIntake


@pytest.fixture
def receive() -> str:
    """The receive path. A test for both has ``@pytest.mark.parametrize("receive", ["fast", "sdk"])``."""
    return "fast"


@pytest.fixture
def make_source(local_hub: LocalHub, receive: str) -> Callable[..., EventHubSource]:
    """A source of the local hub, quick to notice things."""

    def make(store: Any = None, **changes: Any) -> EventHubSource:
        settings: dict[str, Any] = {
            "connection_string": local_hub.connection_string("events"),
            "load_balancing_interval_s": 1,
            "stall_after_s": 3,
            "connect_timeout_s": 5,
            "receive": receive,
        }
        return EventHubSource(
            EventHubSettings(**settings | changes), MemoryStore() if store is None else store
        )

    return make


@pytest.fixture
def running() -> Callable[..., Any]:
    """Runs a source for the length of a block and closes it afterwards."""

    @contextlib.asynccontextmanager
    async def run(source: Any, intake: Any) -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(source.run(intake))
            try:
                yield task
            finally:
                async with asyncio.timeout(WAIT_S):
                    await source.close()

    return run
