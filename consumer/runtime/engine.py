"""The engine: what a source talks to, for all partitions of this process.

It assigns a partition (load the state, fence it, start a runner), hands batches over, and revokes it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
import structlog

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.snapshot import Snapshot
from consumer.errors import CorruptState, EventsLost, FenceLost, InturnError, StoreUnavailable
from consumer.events import NOTHING_DONE, Checkpoint, PartitionId, RawBatch
from consumer.runtime import strays
from consumer.runtime.assignment import take_over
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.clock import Clock
from consumer.runtime.engine_status import (
    processing_troubles,
    processor_status,
    reading_troubles,
    storing_troubles,
)
from consumer.runtime.halts import Halts
from consumer.runtime.lease import FENCE_AFTER_S, Lease
from consumer.runtime.partition import PartitionRunner
from consumer.runtime.partition_parts import PartitionReading, PartitionStores
from consumer.runtime.spread import SpreadWatch
from consumer.runtime.writers import CheckpointWriter, DeadLetterWriter
from consumer.sources import Source
from consumer.status import EngineStatus, PartitionStatus, ProcessorStatus
from consumer.stores import CheckpointStore, DeadLetterStore

_log = structlog.get_logger("inturn.engine")

_COUNT_EVERY_S = 15.0
"""How often dead letters are counted, unless counting takes long."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What the source knows of the partitions, besides what it hands over."""

    newest: Callable[[str], int | None] = lambda _: None
    """The newest sequence number of a partition."""
    redelivered: Callable[[str], int] = lambda _: 0
    """Messages of a partition that came again, and were dropped before they were handed over."""
    asked_ms: Callable[[str], int | None] = lambda _: None
    """The local time at which the hub was last asked what is newest in a partition, and it answered; 0 if it
    never did; None if whatever there is comes without delay."""
    ask: Callable[[str], None] = lambda _: None
    """Have the hub asked again, soon."""
    problems: Callable[[], Mapping[str, str]] = dict
    """Partitions that cannot be read until somebody acts, and why."""
    trouble: Callable[[], str | None] = lambda: None
    """What keeps the source from reading anything at all just now; a sentence."""
    path: Callable[[str], str | None] = lambda _: None
    """How the events of a partition are received, where there is more than one way."""
    stored: Callable[[str, Checkpoint], None] = lambda _, __: None
    """Told that the checkpoint of a partition was stored: what brokers are told of it follows from that."""


@dataclass(frozen=True, slots=True)
class EngineParts:
    """What an engine is put together from."""

    source: Source
    checkpoints: CheckpointStore
    dead_letters: DeadLetterStore
    processors: Sequence[RunningProcessor]
    admission: Admission
    catalogue: Catalogue
    policy: PipelinePolicy
    name_partition: Callable[[str], PartitionId]
    """The full name of a partition, as the stores know it."""
    source_name: str
    """For a person; no secret in it."""
    version: str
    drain_timeout_s: float = 20.0
    fence_after_s: float = FENCE_AFTER_S
    """How long a partition is trusted to be ours without the store having shown it."""
    reader: Reader = field(default_factory=Reader)
    halts_on_gap: bool = False
    """Whether a partition halts when events are missing; else they are counted, and it goes on."""
    on_retired: Callable[[PartitionStatus], None] = lambda _: None
    """Told the last status of a partition, in the step in which it leaves `Engine.status`."""


class Engine:
    """Runs the partitions of this process. Is the `Intake` of its source."""

    def __init__(self, parts: EngineParts, clock: Clock) -> None:
        self._parts = parts
        self._clock = clock
        self._runners: dict[str, PartitionRunner] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._state = "starting"
        self._started_s = clock.monotonic_s()
        self._halts = Halts(clock)
        self._dead_letters: int | None = None
        self._spread = SpreadWatch()
        self._is_draining = asyncio.Event()
        self._failure: InturnError | None = None
        self._outcomes: Counter[str] = Counter()
        self._stale_skipped = [0] * len(parts.processors)
        self._refused = [0] * len(parts.processors)
        self.was_clean = True
        """Whether the stop, or the end of the source, cut nothing off and stored every checkpoint."""
        self.given_up_unfinished = 0
        """How often a partition was given back, on the way, with work cut off or not stored."""

    # Running.

    async def run(self, on_stuck: Callable[[], Awaitable[None]] | None = None) -> None:
        """Run until the source has ended, or `drain` was asked for and is through.

        Raises what the source raised, after what was in flight is finished and stored. `on_stuck` is called
        when everything is stored and released, and attempts go on all the same that cannot be cut off: it
        is to end the process. Without it they are waited for.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            counting = tasks.create_task(self._count_dead_letters(), name="count dead letters")
            watching = tasks.create_task(self._watch_strays(), name="watch strays")
            self._state = "running"
            reading = tasks.create_task(self._read(), name="source")
            draining = tasks.create_task(self._is_draining.wait(), name="wait for drain")
            await asyncio.wait((reading, draining), return_when=asyncio.FIRST_COMPLETED)
            draining.cancel()
            if not self._is_draining.is_set():  # the source has ended, and has given its partitions back
                self.was_clean = not self.given_up_unfinished
            await self._drain()
            await self._parts.source.close()
            await asyncio.wait((reading,))
            counting.cancel()
            watching.cancel()
            if on_stuck is not None and await strays.are_left(self._parts.processors, self._running):
                self.was_clean = False
                await on_stuck()
        self._state = "stopped"
        if self._failure is not None:
            raise self._failure

    async def _watch_strays(self) -> None:
        await strays.too_many(self._parts.processors, self._clock)
        self.was_clean = False
        self.drain()

    async def _read(self) -> None:
        try:
            await self._parts.source.run(self)
        except InturnError as error:
            self._failure = error

    def drain(self) -> None:
        """Ask for a graceful stop: take nothing new, finish what is in flight, checkpoint, release."""
        self._is_draining.set()

    def hurry(self) -> None:
        """Wait no longer for what is in flight; the checkpoint is stored all the same."""
        self._is_draining.set()
        for runner in self._runners.values():
            runner.hurry()

    async def _drain(self) -> None:
        self._state = "draining"
        self._parts.source.stop()
        partitions = list(self._runners)
        results = await asyncio.gather(*(self._retire(partition) for partition in partitions))
        self.was_clean = self.was_clean and all(results)

    async def _retire(self, partition: str) -> bool:
        runner = self._runners.get(partition)
        if runner is None:
            return True
        result = await runner.drain(self._parts.drain_timeout_s)
        if self._runners.get(partition) is runner:
            del self._runners[partition]
            self._keep_totals(runner)
        if runner.is_lost:
            if runner.is_given_up:
                return False
            _log.warning("A partition was lost to another owner.", partition=partition)
            return True  # what was not finished is the other owner's: nothing is wrong with this stop
        _log.info(
            "A partition was drained.",
            partition=partition,
            checkpoint=runner.pipeline.tracker.checkpoint.sequence_number,
            complete=result,
        )
        return result

    # Intake.

    async def assigned(self, partition: str, *, start: Checkpoint | None = None) -> Checkpoint:
        """Take a partition; see `consumer.sources.Intake`."""
        parts = self._parts
        if self._is_draining.is_set() or self._tasks is None:
            raise FenceLost("This process is stopping and takes no more partitions.")
        earlier = self._runners.get(partition)
        if earlier is not None:
            await self._give_up(partition, lost=earlier.is_lost)
        name = parts.name_partition(partition)
        started_s = self._clock.monotonic_s()
        self._halts.check(partition)
        try:
            await self._look_at_gap(partition, name)
            snapshot, writer = await take_over(parts.checkpoints, name, start or NOTHING_DONE, parts.policy)
        except CorruptState as error:
            self._halts.note(partition, error)
            raise
        except (StoreUnavailable, FenceLost) as error:
            _log.warning("A partition could not be taken.", partition=partition, error=str(error))
            raise
        self._halts.clear(partition)
        runner = self._new_runner(partition, snapshot, writer, started_s)
        is_running = asyncio.Event()
        self._running = {task for task in self._running if not task.done()}
        self._running.add(self._tasks.create_task(runner.run(is_running), name=f"partition {partition}"))
        await is_running.wait()
        self._runners[partition] = runner
        _log.info(
            "A partition was assigned.",
            partition=partition,
            checkpoint=snapshot.checkpoint.sequence_number,
            epoch=snapshot.epoch,
        )
        return snapshot.checkpoint

    async def _look_at_gap(self, partition: str, name: PartitionId) -> None:
        """Raise `EventsLost` as long as nobody has moved the checkpoint past the gap that halted us."""
        gap = self._halts.lost_before(partition)
        if gap is not None:
            stored = await self._parts.checkpoints.load(name)
            if stored.checkpoint is not None and stored.checkpoint.sequence_number < gap.first:
                raise gap

    def _new_runner(
        self, partition: str, snapshot: Snapshot, writer: CheckpointWriter, started_s: float
    ) -> PartitionRunner:
        parts = self._parts
        name = parts.name_partition(partition)
        writer.on_stored = partial(parts.reader.stored, partition)
        plans = [processor.plan for processor in parts.processors]
        return PartitionRunner(
            partition,
            Pipeline(parts.policy, plans, parts.admission, parts.catalogue, snapshot),
            parts.processors,
            PartitionStores(
                writer,
                DeadLetterWriter(parts.dead_letters, name, [plan.name for plan in plans], self._clock),
                Lease(
                    partition,
                    writer.prove,
                    self._clock,
                    proved_s=started_s,
                    lasts_s=parts.fence_after_s,
                ),
            ),
            self._clock,
            PartitionReading(
                lambda: parts.reader.newest(partition),
                lambda: parts.reader.redelivered(partition),
                lambda: parts.reader.asked_ms(partition),
                lambda: parts.reader.ask(partition),
            ),
        )

    async def received(self, batch: RawBatch) -> None:
        """Take a batch; see `consumer.sources.Intake`."""
        runner = self._runners.get(batch.partition)
        if runner is None or self._is_draining.is_set():
            return
        try:
            await runner.receive(batch, halts_on_gap=self._parts.halts_on_gap)
        except EventsLost as error:
            await runner.end()  # once the checkpoint is moved past the gap, nobody reads again what is held
            self._halts.note(batch.partition, error)
            raise
        fresh = runner.pipeline.sequencer.new_objects
        self._spread.see(runner.partition, fresh)
        fresh.clear()

    async def ended(self, partition: str) -> None:
        """Finish a partition that has no more events; see `consumer.sources.Intake`."""
        runner = self._runners.get(partition)
        if runner is not None:
            await runner.end()

    async def revoked(self, partition: str, *, lost: bool) -> None:
        """Give a partition up; see `consumer.sources.Intake`."""
        if self._halts.lost_before(partition) is None:
            self._halts.clear(partition)
        await self._give_up(partition, lost=lost)

    def is_paused(self, partition: str) -> bool:
        """Whether a partition takes nothing at the moment."""
        runner = self._runners.get(partition)
        return runner is not None and runner.is_paused

    def is_lost(self, partition: str) -> bool:
        """Whether a partition was given up in here and is to be revoked."""
        runner = self._runners.get(partition)
        return runner is not None and runner.is_lost

    async def _give_up(self, partition: str, *, lost: bool) -> None:
        if not lost:
            self.given_up_unfinished += not await self._retire(partition)
            return
        runner = self._runners.pop(partition, None)
        if runner is not None:
            runner.abandon()
            self._keep_totals(runner)
            if not runner.is_given_up:
                _log.warning("A partition was lost to another owner.", partition=partition)

    # Watching.

    def _keep_totals(self, runner: PartitionRunner) -> None:
        self._parts.on_retired(runner.status())
        self._outcomes.update(runner.outcomes())
        for index, count in enumerate(runner.pipeline.stale_skipped):
            self._stale_skipped[index] += count
        for index, count in enumerate(runner.pipeline.sieve.refused):
            self._refused[index] += count

    async def _count_dead_letters(self) -> None:
        store = self._parts.dead_letters
        while store.is_indexed:  # else it stays unknown: to count would be to read all of it, over and over
            started_s = self._clock.monotonic_s()
            try:
                self._dead_letters = await store.count()
            except InturnError:
                self._dead_letters = None
            # Some stores count by listing: of the time, that must stay a small part.
            took_s = self._clock.monotonic_s() - started_s
            await asyncio.sleep(max(_COUNT_EVERY_S, 20 * took_s))

    def status(self) -> EngineStatus:
        """What the process says of itself."""
        not_ready = [
            *self._halts.reasons(),
            *reading_troubles(self._parts.reader),
            *storing_troubles(self._runners.values()),
            *processing_troubles(self._parts.processors),
        ]
        if self._state != "running":
            not_ready.append(f"inturn is {self._state}.")
        return EngineStatus(
            version=self._parts.version,
            state=self._state,
            ready=not not_ready,
            not_ready=not_ready,
            uptime_s=self._clock.monotonic_s() - self._started_s,
            source=self._parts.source_name,
            dead_letters=self._dead_letters,
            objects_spread=len(self._spread),
            outcomes=self._outcomes_now(),
            partitions=[
                msgspec.structs.replace(
                    self._runners[key].status(), receive=self._parts.reader.path(key) or ""
                )
                for key in sorted(self._runners, key=_natural)
            ],
            processors=[self._processor_status(index) for index in range(len(self._parts.processors))],
        )

    def _outcomes_now(self) -> dict[str, int]:
        total = Counter(self._outcomes)
        for runner in self._runners.values():
            total.update(runner.outcomes())
        return dict(total)

    def _processor_status(self, index: int) -> ProcessorStatus:
        pipelines = [runner.pipeline for runner in self._runners.values()]
        skipped = self._stale_skipped[index] + sum(each.stale_skipped[index] for each in pipelines)
        parked = sum(each.parked.count(index) for each in pipelines)
        refused = self._refused[index] + sum(each.sieve.refused[index] for each in pipelines)
        return processor_status(self._parts.processors[index], skipped, parked, refused)


def _natural(partition: str) -> tuple[int, str]:
    return (int(partition), "") if partition.isdecimal() else (1 << 62, partition)
