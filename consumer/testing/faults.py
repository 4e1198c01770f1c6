"""Run a processor in the real engine while attempts fail, answers are lost and the process dies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

import consumer
from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.flights import Delivery, ProcessorPlan
from consumer.core.policy import PipelinePolicy
from consumer.core.retry import RetryPolicy
from consumer.core.sequencer import SequencerLimits
from consumer.errors import FenceLost
from consumer.events import Checkpoint, DeadLetter, Event, PartitionId
from consumer.processor import BatchProcessor, Context, Emission, Resource
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.clock import SystemClock
from consumer.runtime.engine import Engine, EngineParts, Reader
from consumer.sources.memory import MemorySource
from consumer.stores import StoredState
from consumer.stores.memory import MemoryDeadLetters, MemoryStore
from consumer.testing.events import batch_of

_GROUP = "$Default"


class Faults(msgspec.Struct, frozen=True):
    """What goes wrong, and how often: shares of all attempts, from 0 to 1."""

    before: float = 0.1
    """The attempt fails before the processor is called."""
    after: float = 0.1
    """The processor succeeds, and that is lost: it is given the same events again, with the same keys."""
    cut_off: float = 0.1
    """The attempt is cancelled while it runs, as at its deadline."""
    crashes: int = 3
    """How often the process dies and another one goes on behind the last stored checkpoint."""
    cut_off_after_s: float = 0.01
    """A processor that ends sooner is not cut off."""


@dataclass(slots=True)
class Report:
    """What happened."""

    succeeded: list[Event] = field(default_factory=list)
    """The events of every attempt that succeeded, in that order; what a crash took back is there again."""
    attempts: int = 0
    given: int = 0
    """Events, over all attempts."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    emitted: list[Emission] = field(default_factory=list)
    """By attempts that succeeded."""
    crashes: int = 0

    def subjects(self) -> list[str]:
        """The subjects of `succeeded`, each at its first time: the order in which they were seen."""
        return list(dict.fromkeys(event.subject for event in self.succeeded))


async def run_under_faults(
    make: Callable[[], Any],
    events: Sequence[Event],
    *,
    seed: int = 0,
    faults: Faults | None = None,
    delivery: Delivery = Delivery.IN_TURN,
    timeout_s: float = 60.0,
) -> Report:
    """Hand events to a processor until each is done, however much goes wrong on the way.

    `make` makes the processor; it is called anew after every crash, as a new process would. It is opened and
    closed if it is a `consumer.processor.Resource`; after a crash it is not closed. Faults follow from the
    `seed`. Raises `TimeoutError` when not all is done after `timeout_s`.
    """
    rng = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
    faults = faults or Faults()
    report = Report()
    store, letters = MemoryStore(), MemoryDeadLetters()
    batch = batch_of([b"[" + event.original + b"]" for event in events])
    deaths = sorted(rng.randint(1, max(1, len(events))) for _ in range(faults.crashes if events else 0))
    async with asyncio.timeout(timeout_s):
        is_done = False
        while not is_done:
            dies_at = deaths[report.crashes] if report.crashes < len(deaths) else None
            target = make()
            faulty = _Faulty(target, faults, rng, report, dies_at)
            stores = _MortalStore(store, faulty.dead), letters
            engine = _engine(faulty, MemorySource({"0": [batch]}), stores, batch, delivery)
            if isinstance(target, Resource):
                await target.open()
            is_done = await _live(engine, faulty)
            if is_done and isinstance(target, Resource):
                await target.close()
            report.crashes += not is_done
    report.dead_letters = [letter async for letter in letters.letters()]
    return report


async def _live(engine: Engine, faulty: _Faulty) -> bool:
    """Run one process to its end; gives whether that was a good one."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(engine.run())
        dying = tasks.create_task(faulty.dead.wait())
        await asyncio.wait((running, dying), return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if faulty.dead.is_set():
            engine.drain()
            engine.hurry()
    return not faulty.dead.is_set()


class _MortalStore(MemoryStore):
    """What one process sees of a store that outlives it: once dead, it stores nothing any more."""

    def __init__(self, kept: MemoryStore, dead: asyncio.Event) -> None:
        super().__init__()
        self._kept = kept
        self._dead = dead

    async def load(self, partition: PartitionId) -> StoredState:
        return await self._kept.load(partition)

    async def save(self, partition: PartitionId, checkpoint: Checkpoint, snapshot: bytes, fence: str) -> str:
        if self._dead.is_set():
            raise FenceLost("This process is dead.")
        return await self._kept.save(partition, checkpoint, snapshot, fence)

    async def is_current(self, partition: PartitionId, fence: str) -> bool:
        return await self._kept.is_current(partition, fence)


class _Faulty:
    """Stands between the lanes and a processor."""

    def __init__(
        self,
        target: Any,
        faults: Faults,
        rng: random.Random,
        report: Report,
        dies_at: int | None,
    ) -> None:
        self.dead = asyncio.Event()
        self._target = target
        self._faults = faults
        self._rng = rng
        self._report = report
        self._dies_at = dies_at
        self.takes_batches = isinstance(target, BatchProcessor)

    async def process_batch(self, events: Sequence[Event], context: Context) -> None:
        report = self._report
        report.attempts += 1
        report.given += len(events)
        if self._dies_at is not None and report.given >= self._dies_at:
            self.dead.set()
            await asyncio.Event().wait()  # for the end of this process
        luck, faults = self._rng.random(), self._faults
        if luck < faults.before:
            raise ConnectionError("This attempt was made to fail.")
        is_cut_off = luck < faults.before + faults.cut_off
        async with asyncio.timeout(faults.cut_off_after_s if is_cut_off else None):
            await self._call(events, context)
        if self._rng.random() < faults.after:
            raise ConnectionError("This attempt succeeded, and that was lost.")
        report.succeeded += events
        report.emitted += context.emitted

    async def _call(self, events: Sequence[Event], context: Context) -> None:
        if self.takes_batches:
            await self._target.process_batch(events, context)
            return
        for event in events:
            alone = Context(
                context.processor, context.attempt, [event], context.key_of, context.replay_id, context.epoch
            )
            await self._target(event, alone)
            context.emitted += alone.emitted


def _engine(
    faulty: _Faulty,
    source: MemorySource,
    stores: tuple[MemoryStore, MemoryDeadLetters],
    batch: Any,
    delivery: Delivery,
) -> Engine:
    retry = RetryPolicy(attempts_max=1_000, backoff_s=0.001, backoff_max_s=0.01)
    chunk_max = 100 if faulty.takes_batches else 1
    processor = RunningProcessor(
        ProcessorPlan("tested", delivery=delivery), "tested", faulty, retry, _GROUP, chunk_max=chunk_max
    )
    policy = PipelinePolicy(SequencerLimits(window_ms=5_000), checkpoint_interval_ms=20)
    return Engine(
        EngineParts(
            source=source,
            checkpoints=stores[0],
            dead_letters=stores[1],
            processors=[processor],
            admission=Admission(None, None),
            catalogue=Catalogue(),
            policy=policy,
            name_partition=lambda partition: PartitionId("tests", "tests", _GROUP, partition),
            source_name="tests",
            version=consumer.__version__,
            reader=Reader(newest=lambda _: batch.newest_sequence_number),
        ),
        SystemClock(),
    )
