"""Engines, partitions and processors for the runtime's tests: real parts, in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.flights import ProcessorPlan
from consumer.core.policy import PipelinePolicy
from consumer.core.retry import RetryPolicy
from consumer.core.sequencer import SequencerLimits
from consumer.events import Event, PartitionId, RawBatch
from consumer.processor import Context
from consumer.runtime.attempts import RunningProcessor, Turn
from consumer.runtime.clock import SystemClock
from consumer.runtime.engine import Engine, EngineParts
from consumer.runtime.lease import Lease
from consumer.sources import Intake
from consumer.stores.memory import MemoryDeadLetters, MemoryStore

TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
NO_WAIT = RetryPolicy(attempts_max=3, backoff_s=0, backoff_max_s=0)


def body(model: str, version: int, **changes: Any) -> bytes:
    """The body of one ModelRegistered event."""
    element = {
        "id": f"{model}-{version}",
        "topic": TOPIC,
        "subject": f"models/{model}:{version}",
        "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
        "eventTime": "2026-01-01T00:00:00Z",
        "data": {"modelName": model, "modelVersion": version},
        "dataVersion": "2",
    }
    return json.dumps([element | changes]).encode()


def batch(*bodies: bytes, first: int = 0, partition: str = "0", time_ms: int = 1_000_000) -> RawBatch:
    """A batch of messages with rising sequence numbers."""
    numbers = list(range(first, first + len(bodies)))
    return RawBatch(
        partition,
        list(bodies),
        numbers,
        [str(number * 100) for number in numbers],
        [time_ms] * len(bodies),
        ["key"] * len(bodies),
        lambda _: {},
        numbers[-1] if numbers else None,
    )


def versions(count: int, model: str = "m", start: int = 1) -> list[bytes]:
    """The bodies of one model's versions."""
    return [body(model, version) for version in range(start, start + count)]


@dataclass
class Recorder:
    """A processor that keeps what it was given, and does what a test tells it."""

    handled: list[Event] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    before: Callable[[Event], Any] | None = None

    async def __call__(self, event: Event, context: Context) -> None:
        self.attempts.append(context.attempt)
        if self.before is not None:
            result = self.before(event)
            if asyncio.iscoroutine(result):
                await result
        self.handled.append(event)
        self.keys.append(context.idempotency_key)

    @property
    def ids(self) -> list[str]:
        """The ids of the events that were handled, in order."""
        return [event.id for event in self.handled]


def running(target: Any, name: str = "keep", **changes: Any) -> RunningProcessor:
    """A processor as the runtime runs it."""
    of_plan = ("delivery", "queue_max", "delivers_stale", "parks", "parked_max", "types", "internal_types")
    plan_fields = {key: changes.pop(key) for key in of_plan if key in changes}
    settings: dict[str, Any] = {"retry": NO_WAIT, "group": "$Default"} | changes
    return RunningProcessor(plan=ProcessorPlan(name, **plan_fields), type="test", target=target, **settings)


def new_turn(**changes: Any) -> Turn:
    """The turn of a lane whose partition is surely ours."""

    async def prove() -> None:
        return

    clock = SystemClock()
    lease = Lease("0", prove, clock, proved_s=clock.monotonic_s())
    return Turn(**{"lease": lease, "clock": clock, "epoch": 1} | changes)


class ScriptedSource:
    """A source that a test plays: it keeps the intake and does nothing by itself."""

    def __init__(self) -> None:
        self.intake: Intake | None = None
        self.is_running = asyncio.Event()
        self.is_stopped = False
        self._closed = asyncio.Event()

    async def run(self, intake: Intake) -> None:
        self.intake = intake
        self.is_running.set()
        await self._closed.wait()

    def stop(self) -> None:
        self.is_stopped = True

    async def close(self) -> None:
        self._closed.set()


@dataclass
class Bench:
    """A running engine with everything around it."""

    engine: Engine
    source: ScriptedSource
    store: MemoryStore
    letters: MemoryDeadLetters

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10) -> None:
        """Wait until something has come about."""
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - what is waited for says nothing when it comes
                await asyncio.sleep(0.002)

    def outcomes(self) -> dict[str, int]:
        return self.engine.status().outcomes


POLICY = PipelinePolicy(
    SequencerLimits(window_ms=0), idle_margin_ms=0, checkpoint_interval_ms=5, owner="tester", config_hash="h"
)


def partition_id(partition: str) -> PartitionId:
    return PartitionId("hub.test", "events", "$Default", partition)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def letters() -> MemoryDeadLetters:
    return MemoryDeadLetters()


@pytest.fixture
def bench(store: MemoryStore, letters: MemoryDeadLetters) -> Any:
    """Gives a context manager that runs an engine: `async with bench(processors, …) as it`."""

    @asynccontextmanager
    async def start(
        processors: Sequence[RunningProcessor], drain: bool | None = True, **changes: Any
    ) -> AsyncIterator[Bench]:
        """`drain`: at the end; False: crash instead; None: the engine is to stop by itself."""
        source = ScriptedSource()
        on_stuck = changes.pop("on_stuck", None)
        policy = changes.pop("policy", POLICY)
        parts = EngineParts(
            source=source,
            checkpoints=changes.pop("checkpoints", store),
            dead_letters=changes.pop("dead_letters", letters),
            processors=processors,
            admission=Admission(None, None),
            catalogue=Catalogue(),
            policy=policy,
            name_partition=partition_id,
            source_name="a script",
            version="0",
            drain_timeout_s=changes.pop("drain_timeout_s", 5.0),
        )
        clock = changes.pop("clock", None) or SystemClock()
        engine = Engine(replace(parts, **changes), clock)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(engine.run(on_stuck))
            await source.is_running.wait()
            yield Bench(engine, source, store, letters)
            if drain is None:
                await task
            elif drain:
                engine.drain()
                await task
            else:
                task.cancel()  # a crash: nothing is finished, nothing is stored

    return start
