"""The state machine of one partition: stimuli in, effects out.

    Received ──▶ decode ──▶ admit ──▶ deduplicate ──▶ sequence ──▶ Dispatch
                   │           │            │              │
                   ▼           ▼            ▼              ▼
              PutDeadLetters  ignored    duplicate       stale
    Resolved, DeadLettered ──▶ the event's outcome ──▶ low watermark ──▶ StoreCheckpoint

`Pipeline.handle` is the only method that changes anything, and everything that it wants done is in what it
returns. Each event ends in exactly one `Outcome`, counted in `Pipeline.outcomes`; the checkpoint never
passes one that has not.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from consumer.core import stimuli
from consumer.core.admission import Admission
from consumer.core.arrivals import Arrivals
from consumer.core.barrier import Barrier
from consumer.core.catalogue import Catalogue
from consumer.core.checkpoint import CheckpointTracker
from consumer.core.decode import Rejection
from consumer.core.deduplicator import Deduplicator
from consumer.core.effects import Effect, Letter, Pause, Resume, StoreCheckpoint, WakeAt
from consumer.core.flights import Flight, FlightTable, ProcessorPlan, Router, bits
from consumer.core.outbox import Outbox
from consumer.core.policy import Counts, PipelinePolicy
from consumer.core.release_order import ReleaseOrder
from consumer.core.sequencer import Held, Release, Sequencer
from consumer.core.snapshot import Snapshot
from consumer.core.state import Acks, dump_state, restore_released
from consumer.core.watermark import Watermark
from consumer.events import Event, Outcome, RawBatch, Reason


class Pipeline:
    """One partition, from its assignment to its revocation."""

    def __init__(
        self,
        policy: PipelinePolicy,
        processors: Sequence[ProcessorPlan],
        admission: Admission,
        catalogue: Catalogue,
        snapshot: Snapshot,
    ) -> None:
        self.policy = policy
        self.processors = tuple(processors)
        self.counts = Counts()
        self.stale_skipped = [0] * len(processors)
        """By processor."""
        self.is_paused = False
        self.highest_received = snapshot.checkpoint.sequence_number
        self.tracker = CheckpointTracker(snapshot.checkpoint, snapshot.watermark_ms)
        self.sequencer: Sequencer[Flight] = Sequencer(policy.sequencer, snapshot.objects)
        identities, window_ms = snapshot.identities, policy.dedupe_window_ms
        self.deduplicator = Deduplicator(window_ms, policy.identities_max, identities)
        self.watermark = Watermark(policy.idle_margin_ms, snapshot.watermark_ms)
        self.epoch = snapshot.epoch
        self._arrivals = Arrivals(catalogue, admission, Router(processors))
        self._delivers_stale = sum(1 << i for i, plan in enumerate(processors) if plan.delivers_stale)
        self._flights = FlightTable()
        self._outbox = Outbox(processors)
        self._now_ms = 0
        self._is_dirty = False
        self._is_storing = False
        self._is_revoked = False
        self._barrier = Barrier()
        self._next_store_ms = 0
        self._wake_ms: int | None = None
        self._done_above = dict(snapshot.done_above)
        self._acks = Acks([plan.name for plan in processors], snapshot.acks)
        self._released = ReleaseOrder(restore_released(snapshot))

    # What can happen.

    def handle(self, stimulus: stimuli.Stimulus) -> list[Effect]:
        """Take a stimulus and say what to do about it."""
        match stimulus:
            case stimuli.Received():
                self._receive(stimulus.batch, stimulus.now_ms)
            case stimuli.Handled():
                self._handled(stimulus.processor, stimulus.tickets)
            case stimuli.Resolved():
                self._resolve(stimulus.results)
            case stimuli.DeadLettered():
                self._put_aside(stimulus.letters)
            case stimuli.Ticked():
                self._tick(stimulus.now_ms, may_follow=stimulus.is_caught_up)
            case stimuli.Stored():
                self._stored(stimulus)
            case stimuli.Ended():
                for release in self.sequencer.due_all():
                    self._release(release)
            case stimuli.Revoked():
                self._is_revoked = True
                self._next_store_ms = 0
        return self._effects()

    @property
    def in_flight(self) -> int:
        """Events that are received and not resolved, those that are held among them."""
        return len(self._flights)

    @property
    def is_settled(self) -> bool:
        """Whether everything that was done is stored."""
        return not self._is_dirty and not self._is_storing

    @property
    def has_work(self) -> bool:
        """Whether anything is dispatched or on its way to the dead letters."""
        return self._outbox.has_work

    def snapshot(self) -> Snapshot:
        """The state as it is now."""
        kept = self._released, self.sequencer, self.deduplicator
        return dump_state(self.policy, self.epoch, self.tracker, self._done_above, self._acks.dump(), *kept)

    # Received: decode, admit, deduplicate, sequence.

    def _receive(self, batch: RawBatch, now_ms: int) -> None:
        self._now_ms = now_ms
        self.watermark.arrived(now_ms)
        arrivals = self._arrivals.of(batch)
        for row in range(len(batch)):
            number = batch.sequence_numbers[row]
            if number <= self.highest_received:
                self.counts.redelivered += 1
                continue
            if self.highest_received >= 0:
                self.counts.gaps += number - self.highest_received - 1
            self.highest_received = number
            self._is_dirty = True
            watermark_ms = self.watermark.observe(batch.enqueued_times_ms[row])
            self._release_due(watermark_ms)
            flights = arrivals[row]
            slot = self.tracker.open(number, batch.offsets[row], len(flights), watermark_ms)
            done = self._done_above.pop(number, ()) if self._done_above else ()
            for flight in flights:
                flight.slot = slot
                if flight.index in done:
                    self.tracker.resolve(slot, flight.index)
                else:
                    self._enter(flight)
        self._dispatch_in_turn(self._released.passed(self.highest_received))

    def _enter(self, flight: Flight) -> None:
        event, verdict = flight.event, flight.verdict
        if event is None:
            rejection = flight.rejection
            assert rejection is not None
            self._leave_order(flight)
            self._reject(flight, rejection, rejection.reason, rejection.error)
            return
        if verdict is not None:
            self._leave_order(flight)
            if verdict.outcome is Outcome.IGNORED:
                self._end(flight, Outcome.IGNORED, verdict.reason)
            else:
                self._reject(flight, event, verdict.reason, verdict.error)
            return
        self.counts.unkeyed += event.partition_key is None
        if not self._is_first(flight):
            return
        flight.routed = flight.on_arrival | flight.in_turn
        acked = self._acks.restore(flight)
        flight.pending = flight.routed & ~acked
        flight.in_turn &= ~acked
        if not flight.pending:
            self._leave_order(flight)
            if acked:
                self._complete(flight)
            else:
                self._end(flight, Outcome.IGNORED, Reason.TYPE)
            return
        self.counts.ordered_by[event.order_token.by] += 1
        self._flights.add(flight)
        if acked or flight.is_stale:
            self._acks.note(flight)
        self._dispatch_on_arrival(flight, flight.on_arrival & ~acked)
        self._sequence(flight)

    def _is_first(self, flight: Flight) -> bool:
        """Whether the event is not a duplicate; a duplicate of one in flight waits for it."""
        known = self.deduplicator.recognise(flight.print)
        if known:
            self._leave_order(flight)
            self._end(flight, Outcome.DUPLICATE, None)
            return False
        twins = self._flights.twins(flight.print)
        for twin in twins:
            if twin.print == flight.print and self.deduplicator.reaches(twin.enqueued_time_ms):
                if twin.followers is None:
                    twin.followers = []
                twin.followers.append(flight)
                self._leave_order(flight)
                return False
        self.counts.identity_conflicts += bool(twins) or known is not None
        return True

    def _sequence(self, flight: Flight) -> None:
        """Hold an event until its turn; one that was released before a restart has had it."""
        event = flight.event
        assert event is not None
        assert self.watermark.time_ms is not None
        if self._released.is_awaited(flight.position):
            self._dispatch_in_turn(self._released.arrive(flight))
            return
        if not flight.in_turn:
            return
        if flight.is_stale:  # it was judged before a restart, and is not judged again
            self._stale(flight)
            return
        number = event.position.sequence_number
        held = Held(flight, event.object_id, event.order_token, event.type, number, len(event.original))
        if not self.sequencer.offer(held, self.watermark.time_ms):
            self._stale(flight)

    def _release_due(self, watermark_ms: int) -> None:
        """Let the watermark take effect: what is remembered, and what is held, is a function of it alone."""
        self.deduplicator.expire(watermark_ms)
        self.sequencer.expire(watermark_ms - self.policy.dedupe_window_ms)
        for release in self.sequencer.due(watermark_ms, self.highest_received):
            self._release(release)

    def _release(self, release: Release[Flight]) -> None:
        flight = release.payload
        assert flight.event is not None
        self._is_dirty = True
        if release.is_stale:
            self._stale(flight)
            return
        if not release.is_latest:
            flight.event = msgspec.structs.replace(flight.event, is_latest=False)
        self._dispatch_in_turn(self._released.release(flight, flight.event.object_id))

    def _stale(self, flight: Flight) -> None:
        """Skip the processors that do not want what comes too late; give the others the event, marked."""
        assert flight.event is not None
        skipping = flight.in_turn & ~self._delivers_stale
        for index in bits(skipping):
            self.stale_skipped[index] += 1
        flight.is_stale = True
        flight.pending &= ~skipping
        flight.in_turn &= self._delivers_stale
        if flight.pending:
            self._acks.note(flight)
        if flight.in_turn:
            flight.event = msgspec.structs.replace(flight.event, stale=True, is_latest=False)
            self._outbox.dispatch(flight, flight.event, flight.in_turn)
        elif not flight.pending:
            self._complete(flight)

    def _leave_order(self, flight: Flight) -> None:
        """Let go of those that wait for an event which will not be dispatched again after a restart."""
        if self._released.is_awaited(flight.position):
            self._dispatch_in_turn(self._released.skip(flight.position))

    # Dispatch.

    def _dispatch_on_arrival(self, flight: Flight, mask: int) -> None:
        event = flight.event
        if not mask or event is None:
            return
        stale = self.sequencer.is_stale(event.object_id, event.order_token, event.type)
        if stale or self.sequencer.is_superseded(event.object_id, event.order_token):
            event = msgspec.structs.replace(event, stale=stale, is_latest=False)
        self._outbox.dispatch(flight, event, mask)

    def _dispatch_in_turn(self, ready: list[Flight]) -> None:
        for flight in ready:
            assert flight.event is not None
            self._outbox.dispatch(flight, flight.event, flight.in_turn)

    # Resolution.

    def _resolve(self, results: list[stimuli.Result]) -> None:
        for flight, processor, verdict, reason, error, attempts in results:
            assert flight.pending >> processor & 1, "resolved by a processor that was done"
            if verdict is stimuli.Verdict.FAILED:
                assert flight.event is not None
                assert reason is not None
                flight.dead = reason
                self._outbox.put_aside(Letter(flight, processor, flight.event, reason, error, attempts))
                continue
            if verdict is stimuli.Verdict.HANDLED:
                flight.handled = True
            else:
                flight.is_stale = True
                self.stale_skipped[processor] += 1
            self._done_by(flight, processor)

    def _handled(self, processor: int, flights: list[Flight]) -> None:
        for flight in flights:
            flight.handled = True
            self._done_by(flight, processor)

    def _put_aside(self, letters: list[tuple[Flight, int]]) -> None:
        self._outbox.stored(len(letters))
        for flight, processor in letters:
            if processor < 0:
                self._complete(flight)
                continue
            flight.has_letter = True
            self._barrier.add((flight, processor))
            self._next_store_ms = 0
            self._done_by(flight, processor)

    def _done_by(self, flight: Flight, processor: int) -> None:
        self._is_dirty = True
        self._outbox.done(processor)
        flight.pending &= ~(1 << processor)
        if flight.pending:
            self._acks.note(flight)
        else:
            self._complete(flight)

    def _reject(self, flight: Flight, subject: Event | Rejection, reason: Reason, error: str) -> None:
        flight.dead = reason
        self._flights.add(flight)
        self._outbox.put_aside(Letter(flight, -1, subject, reason, error, 0))

    def _complete(self, flight: Flight) -> None:
        """Everybody is done with an event: it has its outcome, and is remembered."""
        self._flights.discard(flight)
        self._acks.forget(flight)
        if flight.event is not None and flight.print:
            self.deduplicator.remember(flight.print, flight.enqueued_time_ms)
        self._released.resolve(flight)
        self._end(flight, *flight.outcome())
        for follower in flight.followers or ():
            self._end(follower, Outcome.DUPLICATE, None)

    def _end(self, flight: Flight, outcome: Outcome, reason: Reason | None) -> None:
        assert flight.slot is not None
        self._is_dirty = True
        self.counts.outcomes[outcome, reason] += 1
        self.tracker.resolve(flight.slot, flight.index)

    # Time, storing, limits.

    def _tick(self, now_ms: int, *, may_follow: bool) -> None:
        self._now_ms = now_ms
        may_follow = may_follow and not self.is_paused and not self._is_revoked
        if may_follow and self.watermark.follow_clock(now_ms):
            assert self.watermark.time_ms is not None
            self._release_due(self.watermark.time_ms)

    def _stored(self, stored: stimuli.Stored) -> None:
        self._now_ms = max(self._now_ms, stored.now_ms)
        self._is_storing = False
        self._is_dirty = self._is_dirty or not stored.ok
        self._barrier.stored(ok=stored.ok)
        # A write that failed was slow because the store was away: the next one comes as soon as usual.
        took_ms = stored.took_ms if stored.ok else 0
        stretched_ms = min(self.policy.checkpoint_stretch * took_ms, self.policy.checkpoint_interval_max_ms)
        wait_ms = max(self.policy.checkpoint_interval_ms, stretched_ms)
        is_urgent = stored.ok and (self._is_revoked or self._barrier)
        self._next_store_ms = stored.now_ms + (0 if is_urgent else wait_ms)

    def _effects(self) -> list[Effect]:
        effects: list[Effect] = [*self._outbox.flush()]
        if self._is_dirty and not self._is_storing and self._now_ms >= self._next_store_ms:
            self._is_storing, self._is_dirty = True, False
            effects.append(StoreCheckpoint(self.snapshot(), self._barrier.take()))
        if self._should_pause() is not self.is_paused:
            self.is_paused = not self.is_paused
            self.watermark.arrived(self._now_ms)  # the silence until now was our own doing
            effects.append(Pause() if self.is_paused else Resume())
        wake_ms = self._next_wake_ms()
        if wake_ms is not None and wake_ms != self._wake_ms:
            effects.append(WakeAt(wake_ms))
        self._wake_ms = wake_ms
        return effects

    def _should_pause(self) -> bool:
        """Whether a limit is reached; once paused, reading goes on when half of it is free again.

        What only waits never pauses the source: it goes on by reading on, and by nothing else.
        """
        part = 2 if self.is_paused else 1
        policy, waiting = self.policy, self.sequencer.held + self._released.waiting
        working = len(self._flights) - waiting
        return (
            working * part >= policy.in_flight_max
            or (working > 0 and len(self.tracker) >= policy.sequencer.span_max + policy.in_flight_max)
            or self._outbox.is_full(part)
        )

    def _next_wake_ms(self) -> int | None:
        times = []
        if self._is_dirty and not self._is_storing:
            times.append(self._next_store_ms)
        due_ms = self.sequencer.next_due_ms()
        if due_ms is not None:
            times.append(due_ms + self.policy.idle_margin_ms)
        return min(times, default=None)
