"""A pipeline and a make-believe shell around it: lanes, a dead-letter store, a checkpoint store, and crashes.

It carries out effects as the runtime does: one event of an object at a time for each processor, in the order
of dispatch; what follows a failure or a skip waits until that is stored.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Dispatch, Effect, Pause, PutDeadLetters, Resume, StoreCheckpoint, WakeAt
from consumer.core.flights import Delivery, ProcessorPlan
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import decode, encode, new_snapshot
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
from consumer.events import NOTHING_DONE, Event, RawBatch, Reason

from .oracle import TOPIC, TYPES, Limits, Message, Spot, Wish

ADMITTED = "ABDE"
WISHES = [
    Wish("AB"),
    Wish("AD", in_turn=False),
    Wish("A", stale=True),
    Wish("B", latest=True),
]
MARGIN_MS = 20
"""Longer than events take to be delivered, as it has to be."""


def plans(queue_max: int) -> list[ProcessorPlan]:
    return [
        ProcessorPlan(
            f"p{index}",
            tuple(TYPES[letter] for letter in wish.types),
            Delivery.LATEST if wish.latest else Delivery.IN_TURN if wish.in_turn else Delivery.ON_ARRIVAL,
            wish.stale,
            queue_max,
        )
        for index, wish in enumerate(WISHES)
    ]


class Doing(NamedTuple):
    """An event in a lane."""

    ticket: int
    event: Event

    @property
    def spot(self) -> Spot:
        return self.event.position.sequence_number, self.event.position.index


class Done(NamedTuple):
    """An effect, or a failure that was put aside."""

    life: int
    """How many restarts there were before."""
    processor: int
    spot: Spot
    stale: bool
    verdict: Verdict


class Settings(NamedTuple):
    limits: Limits
    queue_max: int = 1_000
    in_flight_max: int = 1_000
    interval_ms: int = 0


Lane = tuple[int, str]
"""Processor and object: as if there were a lane for every object."""


@dataclass
class World:
    settings: Settings
    now_ms: int = 1_000
    log: list[Message] = field(default_factory=list)
    """What is in the hub."""
    done: list[Done] = field(default_factory=list)
    """What happened outside, for ever: no crash takes it back."""
    given: list[tuple[int, int, Spot, bool]] = field(default_factory=list)
    """Life, processor, event, stale: everything that was dispatched."""
    stored: bytes | None = None
    stored_checkpoint: int = -1
    life: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """Of this life."""

    def __post_init__(self) -> None:
        self.assign()

    # A life: from the assignment to a crash or to the revocation.

    def assign(self) -> None:
        limits = self.settings.limits
        policy = PipelinePolicy(
            SequencerLimits(limits.window_ms, limits.held_max, limits.held_bytes_max, limits.span_max),
            idle_margin_ms=MARGIN_MS,
            in_flight_max=self.settings.in_flight_max,
            checkpoint_interval_ms=self.settings.interval_ms,
            owner=f"life {self.life}",
        )
        snapshot = new_snapshot(NOTHING_DONE, "") if self.stored is None else decode(self.stored)
        snapshot = msgspec.structs.replace(snapshot, epoch=snapshot.epoch + 1)
        admission = Admission([TOPIC], [TYPES[letter] for letter in ADMITTED])
        self.pipeline = Pipeline(policy, plans(self.settings.queue_max), admission, Catalogue(), snapshot)
        self.read_to = self.started_at = snapshot.checkpoint.sequence_number
        self.started_with = {
            (number, index) for number, indexes in snapshot.resolved_above().items() for index in indexes
        }
        """What was done above the checkpoint."""
        self.newest = -1
        self.lanes: dict[Lane, list[Doing]] = {}
        self.letters: list[tuple[int, int, Lane | None]] = []
        """Ticket, processor, and the lane that waits for it."""
        self.failed: dict[tuple[int, int], Lane] = {}
        """Failures that are in the dead letters, and skips, that are not yet in a stored checkpoint."""
        self.storing: StoreCheckpoint | None = None
        self.is_paused = False
        self.revoking = False

    def restart(self) -> None:
        """Everything in memory is gone."""
        self.life += 1
        self.assign()

    # Stimuli in, effects out.

    def feed(self, stimulus: Stimulus) -> None:
        for effect in self.pipeline.handle(stimulus):
            self._carry_out(effect)
        assert self.pipeline.is_paused is self.is_paused

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Dispatch():
                assert not self.revoking, "dispatched after the revocation"
                for event, ticket in zip(effect.events, effect.tickets, strict=True):
                    doing = Doing(ticket, event)
                    self.given.append((self.life, effect.processor, doing.spot, event.stale))
                    self.lanes.setdefault((effect.processor, event.object_id.path), []).append(doing)
            case PutDeadLetters():
                for letter in effect.letters:
                    event = letter.subject if isinstance(letter.subject, Event) else None
                    lane = (
                        (letter.processor, event.object_id.path) if event and letter.processor >= 0 else None
                    )
                    self.letters.append((letter.ticket, letter.processor, lane))
            case StoreCheckpoint():
                assert self.storing is None, "two writes at a time"
                number = effect.snapshot.checkpoint.sequence_number
                assert number >= self.stored_checkpoint, "the checkpoint fell"
                self.storing = effect
            case Pause():
                assert not self.is_paused
                self.is_paused = True
            case Resume():
                assert self.is_paused
                self.is_paused = False
            case WakeAt():
                pass

    # What can happen.

    def publish(self, message: Message) -> None:
        self.log.append(message)

    @property
    def unread(self) -> list[Message]:
        return [message for message in self.log if message.number > self.read_to]

    def deliver(self, count: int) -> None:
        """Give the next messages to the pipeline, in one batch."""
        batch = self.unread[:count]
        if batch:
            self.read_to = batch[-1].number
            self.feed(Received(as_batch(batch, self.log[-1].number), self.now_ms))
            self.newest = self.log[-1].number

    def deliver_again(self, count: int) -> None:
        """The client gives messages a second time."""
        batch = [message for message in self.log if message.number <= self.read_to][-count:]
        if batch:
            self.feed(Received(as_batch(batch, self.newest), self.now_ms))

    def tick(self) -> None:
        self.feed(Ticked(self.now_ms, self.newest <= self.pipeline.highest_received))

    def advance(self, by_ms: int) -> None:
        """Let time go on. While nothing keeps it from reading, the source delivers in time."""
        while self.unread and not self.is_paused:
            self.deliver(3)
        self.now_ms += by_ms
        self.tick()

    def end(self) -> None:
        self.feed(Ended())

    def ready(self) -> list[Lane]:
        """Lanes in which an event can be finished now."""
        blocked = {lane for _, _, lane in self.letters} | set(self.failed.values())
        return [lane for lane, doing in self.lanes.items() if doing and lane not in blocked]

    def finish(self, lane: Lane, verdict: Verdict) -> None:
        """Finish the event that is first in a lane."""
        doing = self.lanes[lane].pop(0)
        if verdict is Verdict.SKIPPED and not self._may_skip(lane):
            verdict = Verdict.HANDLED
        self._note(lane, doing, verdict)
        if verdict is Verdict.SKIPPED:
            self.failed[doing.ticket, lane[0]] = lane
        reason = Reason.RETRIES_SPENT if verdict is Verdict.FAILED else None
        self.feed(Resolved([Result(doing.ticket, lane[0], verdict, reason)]))

    def _may_skip(self, lane: Lane) -> bool:
        return WISHES[lane[0]].latest and any(not doing.event.stale for doing in self.lanes[lane])

    def _note(self, lane: Lane, doing: Doing, verdict: Verdict) -> None:
        self.done.append(Done(self.life, lane[0], doing.spot, doing.event.stale, verdict))

    def put_letters(self, count: int) -> None:
        """The dead-letter store has stored some letters."""
        stored, self.letters = self.letters[:count], self.letters[count:]
        for ticket, processor, lane in stored:
            if lane is not None:
                self.failed[ticket, processor] = lane
        self.feed(DeadLettered([(ticket, processor) for ticket, processor, _ in stored]))

    def store(self, *, ok: bool, took_effect: bool = True) -> None:
        """End the write that is under way."""
        effect, self.storing = self.storing, None
        assert effect is not None
        if ok or took_effect:
            self._keep(effect)
        if ok:
            for key in effect.settles:
                del self.failed[key]
        self.feed(Stored(ok, self.now_ms, 0))

    def _keep(self, effect: StoreCheckpoint) -> None:
        self.stored = encode(effect.snapshot)
        assert decode(self.stored) == effect.snapshot
        self.stored_checkpoint = effect.snapshot.checkpoint.sequence_number

    def crash(self, *, took_effect: bool) -> None:
        """Die, in the middle of a write perhaps, which may have taken effect nevertheless."""
        if self.storing is not None and took_effect:
            self._keep(self.storing)
        self.restart()

    def settle_stores(self) -> None:
        """Let everything be stored that wants to be."""
        for _ in itertools.repeat(None, 100):
            if self.letters:
                self.put_letters(len(self.letters))
            elif self.storing is not None:
                self.store(ok=True)
            else:
                return
        raise AssertionError("it stores for ever")

    def revoke(self) -> None:
        """Give the partition up in good order: what is in lanes is cut off, what was done is stored."""
        while self.letters:
            self.put_letters(1)
        self.revoking = True
        self.feed(Revoked())
        self.now_ms += 1
        self.tick()
        self.settle_stores()
        assert self.pipeline.is_settled, "the last checkpoint is not stored"
        self.restart()

    def run_out(self) -> None:
        """Handle everything there is, to the end of the log."""
        for _ in itertools.repeat(None, 10_000):
            if self.storing is not None or self.letters:
                self.settle_stores()
            elif self.ready():
                self.finish(self.ready()[0], Verdict.HANDLED)
            elif self.unread and not self.is_paused:
                self.deliver(2)
            elif not self.pipeline.is_settled:
                self.now_ms += self.settings.interval_ms + 1
                self.tick()
            elif self.unread or self.is_paused or any(self.lanes.values()):
                raise AssertionError("it waits for what cannot happen")
            elif self.pipeline.sequencer.held:
                self.end()
            else:
                return
        raise AssertionError("it never comes to an end")


def as_batch(messages: list[Message], newest: int) -> RawBatch:
    return RawBatch(
        "0",
        [message.body for message in messages],
        [message.number for message in messages],
        [f"at {message.number}" for message in messages],
        [message.time_ms for message in messages],
        ["key"] * len(messages),
        lambda _: {},
        newest,
    )
