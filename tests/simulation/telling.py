"""Internal events of a simulated run: whoever is told of something is told of all of it, and of nothing else.

One processor emits an event for everything that it has handled, and a rule one for every A that no B of its
object follows in time. What has to be missed is reckoned naively, from the log alone.
"""

from __future__ import annotations

import asyncio
import random

import orjson
from property.oracle import TYPES, Answer, Message, Spot
from simulation.audit import Audit, is_done
from simulation.records import LIFE, Effect, Place
from simulation.trace import WINDOW_MS, PartitionTrace

from consumer.core.expectation_keys import Sought, Template
from consumer.core.expectations import MISSED, Rule
from consumer.core.flights import ProcessorPlan
from consumer.core.retry import RetryPolicy
from consumer.core.snapshot import Snapshot
from consumer.events import Event
from consumer.processor import Context
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.lease import FENCE_AFTER_S

EMITTER = "turn"
DONE = "Inturn.Done"
LISTENER = "listener"
_WITHIN_MS = 4_000
RULE = Rule(
    "a-then-b",
    Sought((TYPES["A"],), Template("{subject}")),
    Sought((TYPES["B"],), Template("{subject}")),
    _WITHIN_MS,
)


class Telling:
    """Takes note of what the listener is told, and of what is wrong with that."""

    def __init__(self, audit: Audit, trace: dict[str, PartitionTrace]) -> None:
        self._audit = audit
        self._told: dict[tuple[str, Place], list[Effect]] = {}
        self._keys: dict[tuple[str, Place], tuple[str, str]] = {}
        self._missed = {
            Place(name, *spot)
            for name, partition in trace.items()
            for spot in naively_missed(partition.messages, audit.answers[name])
        }

    def told(self, event: Event, key: str, began_s: float) -> Effect:
        """Take note of an effect at the moment it happens."""
        life = LIFE.get()
        assert life is not None
        place = Place(event.partition, event.sequence_number, event.index)
        about = f"{event.type} of {place} by {life.owner}"
        self._audit.tally.told += 1
        self._audit.digest("told", event.type, place, life.number)
        if self._keys.setdefault((event.type, place), (event.id, key)) != (event.id, key):
            self._audit.complain("repeated", f"{about}: another id or key")
        if event.type == MISSED and place not in self._missed:
            self._audit.complain("unaccounted", f"{about}: it was not missed")
        if event.type == DONE and (self._audit.names.index(EMITTER), place) not in self._audit.effects:
            self._audit.complain("unaccounted", f"{about}: it was not handled")
        if began_s > life.fenced_s + FENCE_AFTER_S:
            self._audit.complain(
                "lease", f"{about}: begun at {began_s:.3f} s, fenced at {life.fenced_s:.3f} s"
            )
        if _was_told(life.begun, event.type, place):
            self._audit.complain("repeated", f"{about}: the state it began with says that it was told")
        before = self._told.setdefault((event.type, place), [])
        for effect in before:
            # What an old owner had begun may still happen after a new one was told, and has drained.
            is_over = effect.life.is_clean and effect.life.number < life.number
            if effect.is_acked and (effect.life is life or is_over):
                self._audit.complain("repeated", f"{about}: {effect.life.owner} had been told")
        effect = Effect(self._audit.now_s(), life)
        before.append(effect)
        return effect

    def finish(self) -> None:
        """After the drain: nobody was forgotten."""
        emitter = self._audit.names.index(EMITTER)
        for place in self._missed:
            if (MISSED, place) not in self._told:
                self._audit.complain("lost", f"{place} was missed, and nobody was told")
        for processor, place in self._audit.effects:
            handled = processor == emitter and (place, EMITTER) not in self._audit.letters
            if handled and (DONE, place) not in self._told:
                self._audit.complain("lost", f"{place} was handled, and nobody was told")


class Listener:
    """Is told, though not at the first attempt."""

    def __init__(self, telling: Telling, chance: random.Random) -> None:
        self._telling = telling
        self._chance = chance

    async def __call__(self, event: Event, context: Context) -> None:
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(self._chance.random() * 0.02)
        if self._chance.random() < 0.05:
            raise ConnectionError("not now")
        effect = self._telling.told(event, context.idempotency_key, began_s)
        await asyncio.sleep(self._chance.random() * 0.01)
        effect.is_acked = True


def _was_told(begun: Snapshot, type_: str, place: Place) -> bool:
    """Whether a state says of an internal event that it came about, and that nobody waits for it."""
    for kept in begun.internal:
        if kept.progress[:2] == place.spot and orjson.loads(kept.body)["type"] == type_:
            return False
    if type_ == DONE:
        return is_done(begun, EMITTER, place.spot)
    pending = {(one.sequence_number, one.element) for rule in begun.rules for one in rule.pending}
    return place.number <= begun.folded_to and place.spot not in pending


def listener_of(telling: Telling, chance: random.Random) -> RunningProcessor:
    """The processor that names internal events."""
    plan = ProcessorPlan(LISTENER, types=(), internal_types=("Inturn.*",), queue_max=10_000)
    retry = RetryPolicy(3, 0.1, 1.0, block=True)
    return RunningProcessor(plan, "simulated", Listener(telling, chance), retry, "simulation", concurrency=2)


def naively_missed(log: list[Message], answer: Answer) -> list[Spot]:
    """The first of every A's deliveries that no B of its object goes with."""
    came: list[tuple[Spot, int, str, str]] = []
    now_ms = 0
    for message in log:
        now_ms = max(now_ms, message.time_ms)
        for index, element in enumerate(message.elements):
            spot = message.number, index
            if spot not in answer.fixed:
                came.append((spot, now_ms, element.type, element.object))
    return [
        spot
        for place, (spot, at_ms, type_, name) in enumerate(came)
        if type_ == "A"
        and not any(
            other_type == "B"
            and other_name == name
            and (other_ms - at_ms <= _WITHIN_MS if other > place else at_ms - other_ms <= WINDOW_MS)
            for other, (_, other_ms, other_type, other_name) in enumerate(came)
        )
    ]
