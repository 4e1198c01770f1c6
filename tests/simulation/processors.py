"""Processors of the simulation: real ones to the engine, with trouble that is planned by seed and event."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from property.oracle import TYPES, Wish
from simulation.audit import Audit
from simulation.records import Effect, Place
from simulation.telling import DONE, EMITTER

from consumer.core.flights import Delivery, ProcessorPlan
from consumer.core.retry import RetryPolicy
from consumer.events import Event
from consumer.processor import Context, Reject, Retry
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.breaker import Breaker, BreakerPolicy
from consumer.runtime.clock import Clock
from consumer.runtime.gate import Gate
from consumer.runtime.rate import RatePolicy, TokenBucket

DEADLINE_S = 6.0
ATTEMPTS_MAX = 4


@dataclass(frozen=True)
class Kind:
    """One processor of every replica."""

    name: str
    wish: Wish
    takes_batches: bool = False
    concurrency: int = 3
    blocks: bool = False
    """Tries for ever instead of giving up."""


KINDS = [
    Kind("turn", Wish("AB")),
    Kind("alert", Wish("AD", in_turn=False)),
    Kind("late", Wish("A", stale=True), takes_batches=True),
    Kind("latest", Wish("B", latest=True), concurrency=1),
    Kind("patient", Wish("BD"), blocks=True),
]


@dataclass
class Moods:
    """What is wrong with the receivers, for all replicas."""

    seed: int
    away: set[str] = field(default_factory=set)
    """Processors whose receiver is away now."""
    is_calm: bool = False
    """Nothing fails but what is planned to fail for ever."""
    refused: float = 0.01
    """Events of which a processor wants to know nothing."""

    def draw(self, name: str, place: Place, attempt: int) -> float:
        """A number in [0, 1) that depends on nothing else."""
        text = f"{self.seed}/{name}/{place}/{attempt}"
        return zlib.crc32(text.encode()) / 2**32

    def is_refused(self, name: str, place: Place) -> bool:
        """Whether the event can never be handled by the processor."""
        return self.draw(name, place, 0) < self.refused


@dataclass
class Receiver:
    """What a processor of the simulation does with an event."""

    index: int
    kind: Kind
    moods: Moods
    audit: Audit
    chance: random.Random

    async def handle(self, event: Event, context: Context, done: list[Effect], began_s: float) -> None:
        """Have the effect, sooner or later, or not."""
        position = event.position
        place = Place(position.partition, position.sequence_number, position.index)
        name = self.kind.name
        if self.moods.is_refused(name, place):
            raise Reject("refused for ever")
        draw = self.moods.draw(name, place, context.attempt)
        if self.moods.is_calm:
            draw = 1.0
        await asyncio.sleep(self.chance.random() * 0.02)
        if name in self.moods.away:
            self.audit.held_up(self.index)
            raise ConnectionError("the receiver is away")
        if draw < 0.02:
            self.audit.held_up(self.index)
            raise Retry("not now", after_s=0.2)
        if draw < 0.025:
            self.audit.held_up(self.index)
            await asyncio.sleep(3_600)
        if draw < 0.05:
            self.audit.held_up(self.index)
            await asyncio.sleep(self.chance.random() * 4)
            self.audit.held_up(self.index)
        if name == EMITTER:
            context.emit(DONE, event.subject, {"of": event.id}, cause=event)
        done.append(
            self.audit.effect(
                self.index, place, stale=event.stale, key=context.key_of(event), began_s=began_s
            )
        )
        await asyncio.sleep(self.chance.random() * 0.01)
        if 0.05 <= draw < 0.09:
            self.audit.held_up(self.index)
            raise ConnectionError("the answer was lost")


class Single(Receiver):
    """Takes one event at a time."""

    async def __call__(self, event: Event, context: Context) -> None:
        done: list[Effect] = []
        await self.handle(event, context, done, self.audit.now_s())
        self.audit.acked(done)


class Batch(Receiver):
    """Takes chunks."""

    async def process_batch(self, events: Sequence[Event], context: Context) -> None:
        done: list[Effect] = []
        began_s = self.audit.now_s()
        for event in events:
            await self.handle(event, context, done, began_s)
        self.audit.acked(done)


PARKED_MAX = 2
"""Objects, per partition: few enough for the limit to be reached."""


BREAKER = BreakerPolicy(failures=3, open_s=0.3, open_max_s=2.0, probe_max_s=DEADLINE_S + 4)
RATE = RatePolicy(events=50, per_s=1.0, burst=15)
"""Of every second processor: less than what comes at the worst of times."""


def make_gate(index: int, name: str, clock: Clock) -> Gate:
    """Every processor has a breaker, and every second one a rate as well."""
    bucket = TokenBucket(RATE, clock.monotonic_s()) if index % 2 else None
    return Gate(name, clock, Breaker(BREAKER), bucket)


def make_processors(
    moods: Moods, audit: Audit, chance: random.Random, clock: Clock
) -> list[RunningProcessor]:
    """All processors of one replica."""
    return [
        RunningProcessor(
            ProcessorPlan(
                kind.name,
                tuple(TYPES[letter] for letter in kind.wish.types),
                Delivery.LATEST
                if kind.wish.latest
                else Delivery.IN_TURN
                if kind.wish.in_turn
                else Delivery.ON_ARRIVAL,
                kind.wish.stale,
                queue_max=60,
                parks=kind.name in audit.parking,
                parked_max=PARKED_MAX,
            ),
            "simulated",
            (Batch if kind.takes_batches else Single)(index, kind, moods, audit, chance),
            RetryPolicy(ATTEMPTS_MAX, 0.2, 2.0, kind.blocks),
            "simulation",
            concurrency=kind.concurrency,
            chunk_max=10,
            deadline_s=DEADLINE_S,
            gate=make_gate(index, kind.name, clock),
        )
        for index, kind in enumerate(KINDS)
    ]
