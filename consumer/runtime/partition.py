"""One partition: feeds its pipeline and carries out what the pipeline wants.

All work on the pipeline is synchronous (`_feed`), so a batch is taken whole or not at all, and nothing can
come between a stimulus and its effects. Around it are tasks, each with this runner as its parent: the lanes,
a timer, and the two writers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from consumer.core.effects import (
    Dispatch,
    Effect,
    Letter,
    Pause,
    PutDeadLetters,
    Resume,
    StoreCheckpoint,
    WakeAt,
)
from consumer.core.pipeline import Pipeline
from consumer.core.stimuli import (
    DeadLettered,
    Ended,
    Received,
    Resolved,
    Result,
    Revoked,
    Stimulus,
    Stored,
    Ticked,
    Verdict,
)
from consumer.errors import FenceLost, StoreUnavailable
from consumer.events import Outcome, RawBatch, Reason
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.clock import Clock
from consumer.runtime.lanes import Lanes
from consumer.runtime.writers import CheckpointWriter, DeadLetterWriter
from consumer.status import PartitionStatus

_log = structlog.get_logger("inturn.partition")

_TICK_S = 1.0
"""The longest time between two looks at the clock."""
_LAST_WRITE_S = 10.0
"""How long the checkpoint after a drain may take; then the work since the one before will be repeated."""


class PartitionRunner:
    """Runs one partition from its assignment to its revocation."""

    def __init__(
        self,
        partition: str,
        pipeline: Pipeline,
        processors: Sequence[RunningProcessor],
        checkpoints: CheckpointWriter,
        dead_letters: DeadLetterWriter,
        clock: Clock,
        newest: Callable[[], int | None] = lambda: None,
        redelivered: Callable[[], int] = lambda: 0,
    ) -> None:
        self.partition = partition
        self.pipeline = pipeline
        self.is_lost = False
        """Another owner has the partition: nothing more is done or written."""
        self.store_trouble: str | None = None
        """Why the last checkpoint could not be stored; None if it could."""
        self._newest_in_batch: int | None = None
        self._newest_polled = newest
        self._dropped_by_source = redelivered
        self._dropped_before = redelivered()
        self._processors = processors
        self._checkpoints = checkpoints
        self._dead_letters = dead_letters
        self._clock = clock
        self._lanes: list[Lanes] = []
        self._letters: deque[list[Letter]] = deque()
        self._store: StoreCheckpoint | None = None
        self._unsettled: dict[tuple[int, int], asyncio.Future[None]] = {}
        self._wake_ms: int | None = None
        self._may_receive = asyncio.Event()
        self._has_letters = asyncio.Event()
        self._has_snapshot = asyncio.Event()
        self._is_woken = asyncio.Event()
        self._has_changed = asyncio.Event()
        self._batch: RawBatch | None = None
        self._has_batch = asyncio.Event()
        self._is_taken = asyncio.Event()
        self._is_closing = False
        self._is_hurried = False
        self._stop = asyncio.Event()
        self._stored_s = self._turned_s = clock.monotonic_s()
        self._may_receive.set()

    # The life of a partition.

    async def run(self, is_running: asyncio.Event) -> None:
        """Run until `drain` or `abandon` is through; sets the event when the tasks are there."""
        async with asyncio.TaskGroup() as tasks:
            self._lanes = [
                Lanes(index, processor, tasks, self._clock, self._settle)
                for index, processor in enumerate(self._processors)
            ]
            work = [
                tasks.create_task(task(), name=f"{task.__name__} {self.partition}")
                for task in (
                    self._take_batches,
                    self._keep_time,
                    self._write_checkpoints,
                    self._write_dead_letters,
                    self._checkpoints.keep_copies,
                )
            ]
            is_running.set()
            await self._stop.wait()
            for lanes in self._lanes:
                await lanes.stop()
            for task in work:
                task.cancel()

    async def receive(self, batch: RawBatch) -> None:
        """Take a batch; waits while paused, drops it when the partition is being given up.

        Raises `FenceLost` if the partition has another owner.
        """
        while not (self._may_receive.is_set() and self._batch is None):
            if self._is_closing:
                break
            await self._may_receive.wait()
            if self._batch is not None:
                await self._is_taken.wait()
        if self.is_lost:
            raise FenceLost(f"Partition {self.partition} has another owner.")
        if self._is_closing:
            return
        self._batch = batch
        self._is_taken.clear()
        self._has_batch.set()

    async def end(self) -> None:
        """Release what is held, because nothing more will come, and wait until it is handled."""
        await self._until(lambda: self._batch is None)
        self._feed(Ended())
        await self._until(lambda: not self.pipeline.has_work)

    async def drain(self, timeout_s: float) -> bool:
        """Take nothing more, finish what is in flight, store the checkpoint; tell whether all was done.

        What still runs after the time-out, or after `hurry`, is cut off, and will be repeated with the same
        idempotency key by whoever has the partition next.
        """
        self._is_closing = True
        self._may_receive.set()
        finished = await self._until(lambda: not self.pipeline.has_work, timeout_s)
        for lanes in self._lanes:
            await lanes.stop()
        self._feed(Revoked())
        self._feed(Ticked(self._clock.now_ms()))
        self._is_hurried = False  # the last write is what makes the haste safe
        stored = await self._until(lambda: self.pipeline.is_settled, _LAST_WRITE_S)
        self._stop.set()
        if not finished and not self.is_lost:
            _log.warning("Work was cut off; it will be repeated.", partition=self.partition)
        if not stored and not self.is_lost:
            _log.warning("The last checkpoint could not be stored.", partition=self.partition)
        return finished and stored

    def hurry(self) -> None:
        """Wait no longer for what is in flight."""
        self._is_hurried = True
        self._has_changed.set()

    def abandon(self) -> None:
        """Fall silent at once: the partition is not ours any more."""
        self.is_lost = True
        self._is_closing = True
        self._may_receive.set()
        self._is_taken.set()
        self._stop.set()
        self._has_changed.set()

    @property
    def newest(self) -> int | None:
        """The newest sequence number in the partition, as far as anything has told us."""
        told = [number for number in (self._newest_in_batch, self._newest_polled()) if number is not None]
        return max(*told, self.pipeline.highest_received) if told else None

    @property
    def is_paused(self) -> bool:
        """Whether batches are not taken at the moment."""
        return self.pipeline.is_paused

    # Stimuli in, effects out.

    def _feed(self, stimulus: Stimulus) -> None:
        if self.is_lost:
            return
        self._turned_s = self._clock.monotonic_s()
        for effect in self.pipeline.handle(stimulus):
            self._carry_out(effect)
        self._has_changed.set()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Dispatch():
                self._lanes[effect.processor].put(effect.events, effect.tickets)
            case PutDeadLetters():
                self._letters.append(effect.letters)
                self._has_letters.set()
            case StoreCheckpoint():
                self._store = effect
                self._has_snapshot.set()
            case Pause():
                self._may_receive.clear()
            case Resume():
                self._may_receive.set()
            case WakeAt():
                self._wake_ms = effect.time_ms
                self._is_woken.set()

    async def _settle(self, results: list[Result]) -> None:
        """Report results; what follows a failure waits until it is in the dead letters and stored as such."""
        failed = [result for result in results if result.verdict is Verdict.FAILED]
        waiting = []
        for result in failed:
            future = asyncio.get_running_loop().create_future()
            self._unsettled[result.ticket, result.processor] = future
            waiting.append(future)
        self._feed(Resolved(results))
        for future in waiting:
            await future

    # Tasks.

    async def _take_batches(self) -> None:
        # Not fed where it is received: an error in here must stop the process, not end up in a source.
        while True:
            await self._has_batch.wait()
            self._has_batch.clear()
            batch = self._batch
            if batch is not None and not self._is_closing:
                if batch.newest_sequence_number is not None:
                    self._newest_in_batch = batch.newest_sequence_number
                self._feed(Received(batch, self._clock.now_ms()))
            self._batch = None
            self._is_taken.set()

    async def _keep_time(self) -> None:
        looked_ms = self._clock.now_ms()
        while True:
            now_ms = self._clock.now_ms()
            wait_s = _TICK_S if self._wake_ms is None else min((self._wake_ms - now_ms) / 1_000, _TICK_S)
            if wait_s > 0:
                try:
                    async with asyncio.timeout(wait_s):
                        await self._is_woken.wait()
                except TimeoutError:
                    pass
                self._is_woken.clear()
                now_ms = self._clock.now_ms()
            if now_ms - looked_ms - max(wait_s, 0) * 1_000 > self.pipeline.policy.idle_margin_ms / 2:
                # The process was frozen, or its loop stood still: what came meanwhile has not been read yet.
                self.pipeline.watermark.arrived(now_ms)
            looked_ms = now_ms
            if self._wake_ms is not None and self._wake_ms <= now_ms:
                self._wake_ms = None
            newest = self.newest
            self._feed(Ticked(now_ms, newest is None or newest <= self.pipeline.highest_received))
            await asyncio.sleep(0)

    async def _write_checkpoints(self) -> None:
        while True:
            await self._has_snapshot.wait()
            self._has_snapshot.clear()
            store, self._store = self._store, None
            if store is None:
                continue
            started_s = self._clock.monotonic_s()
            try:
                await self._checkpoints.write(store.snapshot)
            except FenceLost as error:
                _log.warning(
                    "The partition has another owner; it falls silent here.",
                    partition=self.partition,
                    error=str(error),
                )
                self.abandon()
                return
            except StoreUnavailable as error:
                is_stored = False
                self.store_trouble = str(error)
                _log.warning(
                    "The checkpoint cannot be stored; it is tried again.",
                    partition=self.partition,
                    error=str(error),
                )
            else:
                is_stored = True
                self.store_trouble = None
                self._stored_s = self._clock.monotonic_s()
                for key in store.settles:
                    self._let_go_on(key)
            took_ms = int((self._clock.monotonic_s() - started_s) * 1_000)
            self._feed(Stored(is_stored, self._clock.now_ms(), took_ms))

    async def _write_dead_letters(self) -> None:
        while True:
            await self._has_letters.wait()
            self._has_letters.clear()
            while self._letters:
                letters = self._letters.popleft()
                await self._dead_letters.write(letters)
                self._feed(DeadLettered([(letter.ticket, letter.processor) for letter in letters]))

    def _let_go_on(self, key: tuple[int, int]) -> None:
        future = self._unsettled.pop(key, None)
        if future is not None and not future.done():
            future.set_result(None)

    async def _until(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait for something that a stimulus changes; False if it did not come about in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    if self.is_lost or self._is_hurried:
                        return False
                    self._has_changed.clear()
                    await self._has_changed.wait()
        except TimeoutError:
            return False
        return True

    # What it says of itself.

    def outcomes(self) -> dict[str, int]:
        """How many events ended how: ``outcome`` or ``outcome:reason``."""
        return {_label(*key): count for key, count in self.pipeline.counts.outcomes.items()}

    def status(self) -> PartitionStatus:
        """The partition as it is now."""
        pipeline, counts = self.pipeline, self.pipeline.counts
        now_s = self._clock.monotonic_s()
        checkpoint = pipeline.tracker.checkpoint.sequence_number
        newest = self.newest
        return PartitionStatus(
            partition=self.partition,
            state="draining" if self._is_closing else "paused" if pipeline.is_paused else "reading",
            checkpoint=checkpoint,
            last_received=pipeline.highest_received,
            newest=newest,
            lag=None if newest is None else newest - checkpoint,
            in_flight=pipeline.in_flight,
            held=pipeline.sequencer.held,
            held_bytes=pipeline.sequencer.held_bytes,
            watermark_ms=pipeline.watermark.time_ms,
            checkpoint_age_s=now_s - self._stored_s,
            heartbeat_age_s=now_s - self._turned_s,
            objects=len(pipeline.sequencer),
            identities=len(pipeline.deduplicator),
            outcomes=self.outcomes(),
            ordered_by=dict(counts.ordered_by),
            redelivered=counts.redelivered + self._dropped_by_source() - self._dropped_before,
            gaps=counts.gaps,
            unkeyed=counts.unkeyed,
            identity_conflicts=counts.identity_conflicts,
            incomparable=pipeline.sequencer.incomparable,
            identities_evicted=pipeline.deduplicator.evicted,
            released_early=pipeline.sequencer.released_early,
        )


def _label(outcome: Outcome, reason: Reason | None) -> str:
    return outcome.value if reason is None else f"{outcome.value}:{reason.value}"
