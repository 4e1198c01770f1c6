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

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from consumer.core import stimuli
from consumer.core.admission import Admission
from consumer.core.arrivals import Arrivals
from consumer.core.catalogue import Catalogue
from consumer.core.checkpoint import CheckpointTracker, Slot
from consumer.core.deduplicator import Deduplicator
from consumer.core.digests import digests_named
from consumer.core.effects import Effect, Pause, Resume, StoreCheckpoint, WakeAt
from consumer.core.endings import Endings
from consumer.core.expectations import MISSED, Expectations
from consumer.core.filter_sieve import Sieve
from consumer.core.flights import Flight, FlightTable, ProcessorPlan, Router, bits
from consumer.core.internal_events import InternalEvents
from consumer.core.outbox import Outbox
from consumer.core.parking import ParkedObjects
from consumer.core.policy import DUPLICATE, IGNORED, Counts, PipelinePolicy
from consumer.core.release_order import ReleaseOrder
from consumer.core.resolution import Resolution
from consumer.core.sequencer import Sequencer
from consumer.core.snapshot import Snapshot
from consumer.core.state import Acks, dump_state, restore_released
from consumer.core.storing import Storing
from consumer.core.watermark import Watermark
from consumer.events import Event, RawBatch, Reason


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
        digests = digests_named(snapshot.digests)
        router = Router(processors)
        self._arrivals = Arrivals(catalogue, admission, router, digests)
        self._delivers_stale = sum(1 << i for i, plan in enumerate(processors) if plan.delivers_stale)
        self.sieve = Sieve(processors)
        self._flights = FlightTable()
        self._outbox = Outbox(processors)
        self._storing = Storing(policy)
        self._now_ms = 0
        self._is_revoked = False
        self._wake_ms: int | None = None
        self._done_above = snapshot.resolved_above()
        self._acks = Acks([plan.name for plan in processors], snapshot.acks)
        self._released = ReleaseOrder(restore_released(snapshot))
        giving = self.sieve, self._outbox, self._flights
        self.internal = InternalEvents(self.processors, router, *giving, (catalogue, digests))
        ends = self.counts, self.tracker, self._flights, self.deduplicator, self._released, self._storing
        self._endings = Endings(*ends, self.internal)
        self.parked = ParkedObjects(self.processors, snapshot.parked, digests)
        then = self._outbox, self._storing, self._endings, self._flights, self.internal, self.parked
        self._resolution = Resolution(*then, self.processors, self.stale_skipped)
        self.internal.restore(snapshot.internal)
        kept = snapshot.rules, snapshot.folded_to
        window_ms = policy.sequencer.window_ms
        self.expectations = Expectations(policy.rules, window_ms, *kept) if policy.rules else None

    # What can happen.

    def handle(self, stimulus: stimuli.Stimulus) -> list[Effect]:
        """Take a stimulus and say what to do about it."""
        match stimulus:
            case stimuli.Received():
                self._receive(stimulus.batch, stimulus.now_ms)
            case stimuli.Handled():
                self._resolution.handled(stimulus.processor, stimulus.tickets, stimulus.emitted)
            case stimuli.Resolved():
                self._resolution.resolve(stimulus.results)
            case stimuli.DeadLettered():
                self._resolution.put_aside(stimulus.letters)
            case stimuli.LettersLookedFor():
                self._resolution.look(stimulus.answers)
            case stimuli.Ticked():
                self._tick(stimulus.now_ms, may_follow=stimulus.is_caught_up)
            case stimuli.Stored(ok, now_ms, took_ms):
                self._now_ms = max(self._now_ms, now_ms)
                self._storing.end(ok=ok, now_ms=now_ms, took_ms=took_ms)
            case stimuli.Ended():
                self._release(self.sequencer.due_all())
            case stimuli.Revoked():
                self._is_revoked = True
                self._storing.hurry()
        return self._effects()

    @property
    def in_flight(self) -> int:
        """Events that are received and not resolved, those that are held among them."""
        return len(self._flights)

    @property
    def is_settled(self) -> bool:
        """Whether everything that was done is stored."""
        return self._storing.is_settled

    @property
    def has_work(self) -> bool:
        """Whether anything is dispatched or on its way to the dead letters."""
        return self._outbox.has_work

    @property
    def due_ms(self) -> int | None:
        """The watermark at which something held is released, or something expected is missed."""
        held_ms = self.sequencer.next_due_ms()
        if self.expectations is None:
            return held_ms
        missed_ms = self.expectations.next_due_ms()
        return min([at_ms for at_ms in (held_ms, missed_ms) if at_ms is not None], default=None)

    def snapshot(self) -> Snapshot:
        """The state as it is now."""
        flights = self._flights.events()
        acks = self._acks.dump(flights)
        kept = self._released.dump(flights), self.sequencer, self.deduplicator
        state = dump_state(self.policy, self.epoch, self.tracker, self._done_above, acks, *kept)
        beside: dict[str, object] = {"parked": self.parked.dump(), "internal": self.internal.dump()}
        if self.expectations is not None:
            folded_to = self.expectations.folded_to(self.highest_received)
            beside |= {"rules": self.expectations.dump(), "folded_to": folded_to}
        return msgspec.structs.replace(state, digests=self._arrivals.digests.name, **beside)

    # Received: decode, admit, deduplicate, sequence.

    def _receive(self, batch: RawBatch, now_ms: int) -> None:
        self._now_ms = now_ms
        self.watermark.arrived(now_ms)
        numbers, offsets = batch.sequence_numbers, batch.offsets
        times_ms = batch.enqueued_times_ms if batch.watermarks_ms is None else batch.watermarks_ms
        first = self._skip_received(numbers)
        row = first
        for flights in self._arrivals.of(batch, first):
            number = self.highest_received = numbers[row]
            watermark_ms = self.watermark.observe(times_ms[row])
            self._let_pass(watermark_ms)  # for every message: what is forgotten must not depend on batches
            slot = self.tracker.open(number, offsets[row], len(flights), watermark_ms)
            for flight in self._unfinished(slot, flights) if self._done_above else flights:
                flight.slot = slot
                self._enter(flight, watermark_ms)
            row += 1
        if first < len(numbers):
            self._storing.is_dirty = True
        self._dispatch_in_turn(self._released.passed(self.highest_received))

    def _skip_received(self, numbers: list[int]) -> int:
        """Give the row of the first message that is new; count those before it, and gaps behind it."""
        first = bisect_right(numbers, self.highest_received)
        self.counts.redelivered += first
        if first < len(numbers):
            before = self.highest_received if self.highest_received >= 0 else numbers[first] - 1
            self.counts.gaps += numbers[-1] - before - (len(numbers) - first)
        return first

    def _unfinished(self, slot: Slot, flights: list[Flight]) -> list[Flight]:
        """What an earlier owner had not done of a message."""
        done = self._done_above.pop(slot.sequence_number, ())
        for flight in flights:
            if flight.index in done:
                self.tracker.resolve(slot, flight.index)
        return [flight for flight in flights if flight.index not in done]

    def _enter(self, flight: Flight, watermark_ms: int) -> None:
        event = flight.event
        if event is None or flight.verdict is not None:
            self._refuse(flight)
            return
        counts = self.counts
        if event.partition_key is None:
            counts.unkeyed += 1
        if not self._is_first(flight):
            return
        if self.expectations is not None:
            self.expectations.fold(event, watermark_ms)
        wanted = flight.on_arrival | flight.in_turn
        if wanted & self.sieve.mask and not self.sieve.sift(flight, event):
            self._refuse(flight)
            return
        flight.routed = flight.pending = flight.on_arrival | flight.in_turn
        acked = self._acks.restore(flight)
        if acked:
            flight.pending &= ~acked
            flight.in_turn &= ~acked
            flight.on_arrival &= ~acked
        if not flight.pending:
            self._leave_order(flight)
            if not acked and self.expectations is not None:
                flight.handled = self.expectations.wants(event.type)
            if acked or flight.handled:
                self._endings.complete(flight)
            else:
                self._endings.end(flight, IGNORED, Reason.FILTER if wanted else Reason.TYPE)
            return
        counts.ordered_by_code[flight.packed[0]] += 1
        self._flights.add(flight)
        if flight.on_arrival:
            self._dispatch_on_arrival(flight, event)
        self._sequence(flight, watermark_ms)

    def _refuse(self, flight: Flight) -> None:
        """End what is no event, or is not admitted."""
        self._leave_order(flight)
        event, verdict = flight.event, flight.verdict
        if event is None:
            rejection = flight.rejection
            assert rejection is not None
            self._resolution.reject(flight, rejection, rejection.reason, rejection.error)
            return
        assert verdict is not None
        if verdict.outcome is IGNORED:
            self._endings.end(flight, IGNORED, verdict.reason)
        else:
            self._resolution.reject(flight, event, verdict.reason, verdict.error)

    def _is_first(self, flight: Flight) -> bool:
        """Whether the event is not a duplicate; a duplicate of one in flight waits for it."""
        known = self.deduplicator.recognise(flight.identity, flight.print)
        if known:
            self._leave_order(flight)
            self._endings.end(flight, DUPLICATE, None)
            return False
        twin = self._flights.twin(flight.identity)
        if twin is None:
            self.counts.identity_conflicts += known is not None
            return True
        while twin is not None:
            if twin.print == flight.print and self.deduplicator.reaches(twin.enqueued_time_ms):
                if twin.followers is None:
                    twin.followers = []
                twin.followers.append(flight)
                self._leave_order(flight)
                return False
            twin = twin.twin
        self.counts.identity_conflicts += 1
        return True

    def _sequence(self, flight: Flight, watermark_ms: int) -> None:
        """Hold an event until its turn; one that was released before a restart has had it."""
        if self._released.is_awaited(flight):
            self._dispatch_in_turn(self._released.arrive(flight))
            return
        if not flight.in_turn:
            return
        if flight.is_stale:  # it was judged before a restart, and is not judged again
            self._stale(flight)
            return
        # Where the source says how far log time is, an event may be ahead of it, and waits from its own time.
        if not self.sequencer.offer(flight, max(watermark_ms, flight.enqueued_time_ms)):
            self._stale(flight)

    def _let_pass(self, watermark_ms: int) -> None:
        """Let the watermark take effect: what is remembered, and what is held, is a function of it alone."""
        self.deduplicator.expire(watermark_ms)
        self.sequencer.expire(watermark_ms - self.policy.dedupe_window_ms)
        if self.expectations is not None:
            for missed in self.expectations.expire(watermark_ms):
                self._storing.is_dirty = True
                self.internal.emit(missed.cause, missed.named, MISSED, missed.subject, missed.data)
        if self.sequencer.is_due(watermark_ms, self.highest_received):
            self._release(self.sequencer.due(watermark_ms, self.highest_received))

    def _release(self, released: list[Flight]) -> None:
        for flight in released:
            self._storing.is_dirty = True
            event = flight.event
            assert event is not None
            if flight.is_late:
                self._stale(flight)
                continue
            if not flight.is_latest:
                event = flight.mark(is_late=False)
            if self._released.release(flight):
                self._outbox.dispatch(flight, event, flight.in_turn)

    def _stale(self, flight: Flight) -> None:
        """Skip the processors that do not want what comes too late; give the others the event, marked."""
        assert flight.event is not None
        skipping = flight.in_turn & ~self._delivers_stale
        for index in bits(skipping):
            self.stale_skipped[index] += 1
        flight.is_stale = True
        flight.pending &= ~skipping
        flight.in_turn &= self._delivers_stale
        if flight.in_turn:
            self._outbox.dispatch(flight, flight.mark(is_late=True), flight.in_turn)
        elif not flight.pending:
            self._endings.complete(flight)

    def _leave_order(self, flight: Flight) -> None:
        """Let go of those that wait for an event which will not be dispatched again after a restart."""
        if self._released.is_awaited(flight):
            self._dispatch_in_turn(self._released.skip(flight.position))

    # Dispatch.

    def _dispatch_on_arrival(self, flight: Flight, event: Event) -> None:
        stale = self.sequencer.is_stale(flight)
        if stale or self.sequencer.is_superseded(flight):
            event = msgspec.structs.replace(event, stale=stale, is_latest=False)
        self._outbox.dispatch(flight, event, flight.on_arrival)

    def _dispatch_in_turn(self, ready: list[Flight]) -> None:
        for flight in ready:
            assert flight.event is not None
            self._outbox.dispatch(flight, flight.event, flight.in_turn)

    # Time, storing, limits.

    def _tick(self, now_ms: int, *, may_follow: bool) -> None:
        self._now_ms = now_ms
        may_follow = may_follow and not self.is_paused and not self._is_revoked
        if may_follow and self.watermark.follow_clock(now_ms):
            assert self.watermark.time_ms is not None
            self._let_pass(self.watermark.time_ms)

    def _effects(self) -> list[Effect]:
        effects: list[Effect] = [*self._outbox.flush()]
        due_ms = self._storing.due_ms
        if due_ms is not None and self._now_ms >= due_ms:
            settles = self._storing.begin()
            effects.append(StoreCheckpoint(self.snapshot(), settles))
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
            or len(self.internal) * part >= policy.internal_max
        )

    def _next_wake_ms(self) -> int | None:
        store_ms, due_ms = self._storing.due_ms, self.due_ms
        release_ms = None if due_ms is None else self.watermark.followed_to_ms(due_ms)
        if store_ms is None or release_ms is None:
            return release_ms if store_ms is None else store_ms
        return min(store_ms, release_ms)
