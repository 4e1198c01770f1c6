"""One partition: feeds its pipeline and carries out what the pipeline wants.

All work on the pipeline is synchronous (`_feed`), so a batch is taken whole or not at all, and nothing can
come between a stimulus and its effects. Around it are tasks, each with this runner as its parent: the lanes,
a timer, and the two writers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from consumer.core import effects, stimuli
from consumer.core.effects import Effect, Letter, StoreCheckpoint
from consumer.core.flights import Flight
from consumer.core.pipeline import Pipeline
from consumer.core.shares import Shares
from consumer.core.stimuli import Result, Stimulus
from consumer.errors import EventsLost, FenceLost, StoreUnavailable
from consumer.events import RawBatch
from consumer.runtime.attempts import RunningProcessor, Turn
from consumer.runtime.clock import Clock
from consumer.runtime.halts import first_gap
from consumer.runtime.idleness import Idleness
from consumer.runtime.inbox import Inbox
from consumer.runtime.lanes import CUT_OFF_S, Lanes
from consumer.runtime.parking import ParkingWatch
from consumer.runtime.partition_parts import PartitionReading, PartitionStores
from consumer.runtime.partition_status import outcomes_of, status_of
from consumer.runtime.settlements import Settlements
from consumer.runtime.wake_timer import WakeTimer
from consumer.status import PartitionStatus

_log = structlog.get_logger("inturn.partition")

_TICK_S = 1.0
"""The longest time between two looks at the clock."""
_PROOF_TICK_S = 0.2
"""The same while the hub is asked whether it has more."""
_FOR_STORING_S = 1.0
"""What of the drain's time-out is left for the last write; it may take longer than that."""
_LAST_WRITE_S = 10.0
"""How long the checkpoint after a drain may take; then the work since the one before will be repeated."""


class PartitionRunner:
    """Runs one partition from its assignment to its revocation."""

    def __init__(
        self,
        partition: str,
        pipeline: Pipeline,
        processors: Sequence[RunningProcessor],
        stores: PartitionStores,
        clock: Clock,
        reading: PartitionReading,
    ) -> None:
        self.partition = partition
        self.pipeline = pipeline
        self.lease = stores.lease
        self.is_lost = False
        """Another owner has the partition: nothing more is done or written."""
        self.is_given_up = False
        """It is lost because the store did not answer; nobody may have taken it."""
        self.store_trouble: str | None = None
        """Why the last checkpoint could not be stored; None if it could."""
        self._newest_in_batch: int | None = None
        self._reading = reading
        self._idleness = Idleness(pipeline, reading, clock.now_ms())
        self._dropped_before = reading.redelivered()
        self._processors = processors
        self._checkpoints = stores.checkpoints
        self._dead_letters = stores.dead_letters
        self._clock = clock
        self._lanes: list[Lanes] = []
        self._shares = Shares()
        self._letters: deque[Letter] = deque()
        self._is_writing_letters = False
        self._store: StoreCheckpoint | None = None
        self._settlements = Settlements()
        holds = stores.dead_letters.holds
        self._parking = ParkingWatch(pipeline.parked, holds, self._feed, clock, partition)
        self._timer = WakeTimer(clock)
        self._looked_s = clock.monotonic_s()
        self._inbox = Inbox()
        self._has_letters = asyncio.Event()
        self._has_snapshot = asyncio.Event()
        self._has_changed = asyncio.Event()
        self.is_closing = False
        self._is_hurried = False
        self._stop = asyncio.Event()
        self.stored_s = self.turned_s = clock.monotonic_s()

    # The life of a partition.

    async def run(self, is_running: asyncio.Event) -> None:
        """Run until `drain` or `abandon` is through; sets the event when the tasks are there."""
        new_turn = partial(Turn, self.lease, self._clock, self.pipeline.epoch)
        async with asyncio.TaskGroup() as tasks:
            self._lanes = [
                Lanes(
                    index, processor, tasks, new_turn, self._settle, self._report, self._parking, self._shares
                )
                for index, processor in enumerate(self._processors)
            ]
            work = [
                tasks.create_task(task(), name=f"{task.__name__} {self.partition}")
                for task in (
                    self._take_batches,
                    self._keep_time,
                    self._write_checkpoints,
                    self._write_dead_letters,
                    self._keep_lease,
                    self._checkpoints.keep_copies,
                    *([self._parking.run] if any(each.plan.parks for each in self._processors) else []),
                )
            ]
            is_running.set()
            await self._stop.wait()
            for task in work:
                task.cancel()
            await self._stop_lanes()
            self._settlements.cancel()

    async def _stop_lanes(self) -> None:
        running = [task for lanes in self._lanes for task in lanes.cut_off()]
        if running:
            await asyncio.wait(running, timeout=CUT_OFF_S)
        for lanes in self._lanes:
            lanes.conclude()

    async def receive(self, batch: RawBatch, *, halts_on_gap: bool = False) -> None:
        """Take a batch; waits while paused, drops it when the partition is being given up.

        Raises `FenceLost` if the partition has another owner, and, if that is to halt it, `EventsLost`.
        """
        has_room = await self._inbox.room()
        if self.is_lost:
            raise FenceLost(f"Partition {self.partition} has another owner.")
        if not has_room:
            return
        gap = first_gap(batch, self.pipeline.highest_received) if halts_on_gap else None
        if gap is not None:
            raise EventsLost(self.partition, *gap)
        self._inbox.put(batch)

    async def end(self) -> None:
        """Release what is held, because nothing more will come, and wait until it is handled."""
        await self._until(lambda: self._inbox.is_empty)
        self._feed(stimuli.Ended())
        await self._until(lambda: not self.pipeline.has_work)

    async def drain(self, timeout_s: float) -> bool:
        """Begin nothing more, let what runs end, store the checkpoint; tell whether nothing was cut off.

        What waits is left to the next owner, who reads it again: so a hand-over takes no longer than one
        attempt. What still runs after the time-out, or after `hurry`, is cut off, and will be repeated with
        the same idempotency key. The time-out is that of the whole: some is left for cutting and storing.
        """
        self._close()
        for lanes in self._lanes:
            lanes.finish()
        for_work_s = max(timeout_s / 2, timeout_s - CUT_OFF_S - _FOR_STORING_S)
        ended = await self._until(lambda: not self._is_amid, for_work_s)
        finished = ended and not any(lanes.has_strays for lanes in self._lanes)
        await self._stop_lanes()
        self._feed(stimuli.Revoked())
        self._feed(stimuli.Ticked(self._clock.now_ms()))
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
        self.lease.end()
        self._close()
        for lanes in self._lanes:
            lanes.cut_off()
        self._stop.set()
        self._has_changed.set()

    def _close(self) -> None:
        self.is_closing = True
        self._inbox.close()

    @property
    def newest(self) -> int | None:
        """The newest sequence number in the partition, as far as anything has told us."""
        told = [number for number in (self._newest_in_batch, self._reading.newest()) if number is not None]
        return max(*told, self.pipeline.highest_received) if told else None

    @property
    def dropped_by_source(self) -> int:
        """Messages that came again since the assignment and were dropped before they were handed over."""
        return self._reading.redelivered() - self._dropped_before

    @property
    def _is_moving(self) -> bool:
        """Whether there is work that will end by itself."""
        if not self.pipeline.has_work:
            return False
        return bool(self._letters or self._is_writing_letters or any(each.is_moving for each in self._lanes))

    @property
    def _is_amid(self) -> bool:
        """Whether something runs that would be done again if it were cut off."""
        return bool(self._letters or self._is_writing_letters or any(each.is_amid for each in self._lanes))

    @property
    def is_paused(self) -> bool:
        """Whether batches are not taken at the moment."""
        return self.pipeline.is_paused

    # Stimuli in, effects out.

    def _feed(self, stimulus: Stimulus) -> None:
        if self.is_lost:
            return
        self.turned_s = self._clock.monotonic_s()
        for effect in self.pipeline.handle(stimulus):
            self._carry_out(effect)
        self._shares.forget()
        self._has_changed.set()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case effects.Dispatch():
                self._lanes[effect.processor].put(effect.events, effect.tickets)
            case effects.PutDeadLetters():
                self._letters.extend(effect.letters)
                self._has_letters.set()
            case effects.StoreCheckpoint():
                self._store = effect
                self._has_snapshot.set()
            case effects.Pause():
                self._inbox.pause()
            case effects.Resume():
                self._inbox.resume()
            case effects.WakeAt():
                self._timer.set(effect.time_ms)

    def _report(self, processor: int, handled: list[Flight], emitted: Sequence[stimuli.Emitted]) -> None:
        if not self._stop.is_set():
            self._feed(stimuli.Handled(processor, handled, emitted))

    async def _settle(self, results: list[Result]) -> None:
        """Report results; what follows a failure or a skip waits until that is stored."""
        if self._stop.is_set():
            return
        expected = self._settlements.expect(results)
        self._feed(stimuli.Resolved(results))
        for future in expected:
            await future

    # Tasks.

    async def _take_batches(self) -> None:
        # Not fed where it is received: an error in here must stop the process, not end up in a source.
        while True:
            batch = await self._inbox.next()
            if not self.is_closing:
                if batch.newest_sequence_number is not None:
                    self._newest_in_batch = batch.newest_sequence_number
                self._feed(stimuli.Received(batch, self._clock.now_ms()))
            self._inbox.taken()

    async def _keep_time(self) -> None:
        while True:
            tick_s = _PROOF_TICK_S if self._idleness.waits_for_proof else _TICK_S
            wait_s = await self._timer.sleep(tick_s)
            now_ms = self._clock.now_ms()
            self._look_after(self._clock.monotonic_s())
            self._feed(stimuli.Ticked(now_ms, self._idleness.is_proved(self.newest, now_ms, wait_s)))
            await asyncio.sleep(0)

    def _look_after(self, now_s: float) -> None:
        if now_s - self._looked_s < _TICK_S / 2:
            return
        self._looked_s = now_s
        for lanes in self._lanes:
            lanes.look(now_s)
        if self.lease.look(is_busy=self._is_moving):
            _log.error(
                "The store does not answer and the partition may be another owner's; it is given up. "
                "What was not stored is done again with the same idempotency keys.",
                partition=self.partition,
                store=self.lease.trouble,
            )
            self.is_given_up = True
            self.abandon()

    async def _keep_lease(self) -> None:
        try:
            await self.lease.keep()
        except FenceLost as error:
            self._fall_silent(error)

    def _fall_silent(self, error: FenceLost) -> None:
        if not self.is_lost:
            _log.warning(
                "The partition has another owner; it falls silent here.",
                partition=self.partition,
                error=str(error),
            )
        self.abandon()

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
                self._fall_silent(error)
                return
            except StoreUnavailable as error:
                is_stored = False
                self.lease.failed(started_s)
                self.store_trouble = str(error)
                _log.warning(
                    "The checkpoint cannot be stored; it is tried again.",
                    partition=self.partition,
                    error=str(error),
                )
            else:
                is_stored = True
                self.store_trouble = None
                self.lease.proved(started_s)
                self.stored_s = self._clock.monotonic_s()
                self._settlements.settle(store.settles)
            took_ms = int((self._clock.monotonic_s() - started_s) * 1_000)
            self._feed(stimuli.Stored(is_stored, self._clock.now_ms(), took_ms))

    async def _write_dead_letters(self) -> None:
        while True:
            await self._has_letters.wait()
            self._has_letters.clear()
            while self._letters:
                letters = self._dead_letters.take(self._letters)
                self._is_writing_letters = True
                await self._dead_letters.write(letters, self.lease.hold)
                self._is_writing_letters = False
                self._feed(stimuli.DeadLettered([(letter.ticket, letter.processor) for letter in letters]))

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
        return outcomes_of(self)

    def status(self) -> PartitionStatus:
        """The partition as it is now."""
        return status_of(self, self._clock.monotonic_s())
