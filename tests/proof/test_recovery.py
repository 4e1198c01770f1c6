"""A new owner goes on within two seconds, however much there is to remember."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.figures import Effort
from harness.large_state import START_MS, state_of

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.flights import ProcessorPlan
from consumer.core.policy import PipelinePolicy
from consumer.core.retry import RetryPolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import decode, encode
from consumer.events import Checkpoint, Event, PartitionId, RawBatch
from consumer.processor import Context
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.clock import SystemClock
from consumer.runtime.engine import Engine, EngineParts
from consumer.sources import Intake
from consumer.stores.memory import MemoryDeadLetters
from consumer.stores.sqlite import SqliteStore

PARTITION = PartitionId("contoso.servicebus.windows.net", "models", "$default", "0")
BEFORE = Checkpoint(999_999, "4711")


class FirstEvent:
    """A processor that tells when it was given its first event."""

    def __init__(self) -> None:
        self.event: Event | None = None
        self.at_s = 0.0
        self.is_there = asyncio.Event()

    async def __call__(self, event: Event, context: Context) -> None:
        if self.event is None:
            self.event, self.at_s = event, time.perf_counter()
            self.is_there.set()


class TwoEvents:
    """A source with one partition, which is assigned at once."""

    def __init__(self) -> None:
        self.began_s = 0.0
        self._stopped = asyncio.Event()

    async def run(self, intake: Intake) -> None:
        self.began_s = time.perf_counter()
        assert await intake.assigned("0") == BEFORE
        await intake.received(batch())
        await self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()

    async def close(self) -> None:
        self._stopped.set()


def body(version: int) -> bytes:
    element = {
        "id": f"event {version}",
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w",
        "subject": f"models/fraud:{version}",
        "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
        "eventTime": "2026-11-21T06:00:00Z",
        "data": {"modelName": "fraud", "modelVersion": str(version)},
        "dataVersion": "2",
    }
    return json.dumps([element]).encode()


def batch() -> RawBatch:
    """Two events: the second one moves the watermark past the first."""
    numbers = [BEFORE.sequence_number + 1, BEFORE.sequence_number + 2]
    times = [START_MS + 10**7, START_MS + 10**7 + 1]
    return RawBatch(
        "0", [body(1), body(2)], numbers, ["4712", "4713"], times, ["key"] * 2, lambda _: {}, numbers[-1]
    )


def parts(source: TwoEvents, store: SqliteStore, processor: FirstEvent, count: int) -> Any:
    plan = RunningProcessor(ProcessorPlan("first"), "test", processor, RetryPolicy(), group="$Default")
    limits = SequencerLimits(0, objects_max=count + 1)
    return EngineParts(
        source=source,
        checkpoints=store,
        dead_letters=MemoryDeadLetters(),
        processors=[plan],
        admission=Admission(None, None),
        catalogue=Catalogue(),
        policy=PipelinePolicy(
            limits, identities_max=count + 1, dedupe_window_ms=10**9, owner="the next owner"
        ),
        name_partition=lambda _: PARTITION,
        source_name="a script",
        version="0",
    )


async def take_over(folder: Path, stored: bytes, count: int) -> float:
    """Give a stored state to a new owner; gives the seconds until its processor has the first event."""
    store = SqliteStore(path=folder / "state.db")
    await store.save(PARTITION, BEFORE, stored, "")
    source, processor = TwoEvents(), FirstEvent()
    engine = Engine(parts(source, store, processor, count), SystemClock())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(engine.run())
        await processor.is_there.wait()
        partition = engine.status().partitions[0]
        engine.drain()
        await running

    assert processor.event is not None
    assert processor.event.id == "event 1"
    assert partition.objects == count + 1
    after = await store.load(PARTITION)
    await store.close()
    assert after.snapshot is not None
    known = decode(after.snapshot)
    # How far it got before it was stopped is not the question: that it is fenced, and forgot nothing, is.
    assert known.epoch == 1
    assert min(len(known.objects), len(known.identities)) >= count
    return processor.at_s - source.began_s


@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_the_next_owner_dispatches_within_two_seconds(
    tmp_path: Path, effort: Effort, figure: Callable[..., None]
) -> None:
    """From the stored bytes to the first event at a processor, with the fence write in between."""
    count = effort.pick(short=100_000, full=1_000_000, deep=1_000_000)
    stored = encode(state_of(count, BEFORE))

    took_s = []
    for turn in range(effort.pick(short=1, full=3, deep=5)):
        (tmp_path / str(turn)).mkdir()
        took_s.append(await take_over(tmp_path / str(turn), stored, count))

    goal: tuple[Any, ...] = ("<=", 2) if effort is not Effort.SHORT else ()
    size = "1m" if count == 1_000_000 else f"{count // 1_000}k"
    figure(f"recovery-{size}-objects", round(statistics.median(took_s), 3), "s", *goal)
