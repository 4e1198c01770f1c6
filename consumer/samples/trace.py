"""The plan of a demonstration: which messages to send, in which order, and what each one is for.

Everything comes from one seed: the same seed gives the same bytes. Objects live their lives side by side;
then some of their events are delivered twice, overtaken, withheld until they are too late, or joined by what
should never have been sent.

Nothing in the plan depends on how fast it is sent. What is overtaken is overtaken by a neighbour a few places
on; what is late is sent in the last phase, after a pause of `PAUSE_WINDOWS` reorder windows, so that no event
that came out of order stands at the edge of the window. What must come of it is reckoned by
`consumer.samples.truth` from what is then really in the hub.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from consumer.events import Reason
from consumer.samples import ml_events, poison, storage_events
from consumer.samples.events import (
    Element,
    body_of,
    draw_id,
    element_bytes,
    in_other_schema,
    partition_key_of,
    properties_of,
    storage_account,
    subscription_validation,
    to_ticks,
    workspace,
)
from consumer.samples.messages import Intent, Message, Mix, Phase, Trace
from consumer.samples.stories import ACCOUNTS, START, WORKSPACES, Story, Teller

__all__ = ["EVENTS_MIN", "PAUSE_WINDOWS", "Intent", "Message", "Mix", "Phase", "Trace", "plan"]

EVENTS_MIN = 100
"""Fewer events are not enough to hold a little of everything."""
PAUSE_WINDOWS = 1.5
"""How long nothing is sent before the late events, in reorder windows."""
TYPES = (*ml_events.TYPES, *storage_events.TYPES)
TOPICS = (*WORKSPACES, *ACCOUNTS)
_STRANGE_WORKSPACES = (
    workspace("churn-prod2"),
    workspace("churn-prod", "ml-test"),
)  # the first shares a prefix
_STRANGE_ACCOUNT = storage_account("somebodyelse")


def plan(
    seed: int,
    events: int = 20_000,
    mix: Mix = Mix(),  # noqa: B008 - frozen
    *,
    start: datetime = START,
) -> Trace:
    """Plan a trace that leads to exactly `events` outcomes, `EVENTS_MIN` at least.

    `start` is the time of the first event by the producers' clocks; it must have a zone. Traces of different
    seeds are about different objects.
    """
    if events < EVENTS_MIN:
        message = f"a trace needs {EVENTS_MIN} events at least, not {events}"
        raise ValueError(message)
    rng = random.Random(seed)  # noqa: S311 - to be repeatable
    return _Planner(rng, Teller(rng, to_ticks(start)), events, mix).plan(seed)


@dataclass(slots=True)
class _Item:
    """A message while its place is being found."""

    place: float
    element: Element
    """Gives the application properties and the partition key."""
    body: bytes
    intent: Intent
    elements: int = 1
    reason: Reason | None = None
    note: str = ""
    event_kind: str = "Notification"
    delivery_count: int = 0
    redeliveries: int = 0
    """How many further messages the plan has with the same bytes."""
    is_unkeyed: bool = False


@dataclass(slots=True)
class _Life:
    """A story and the messages that tell it; None where one was withheld or joined to the one before it."""

    story: Story
    items: list[_Item | None]

    def is_fresh(self, index: int) -> bool:
        """Whether there is such an item and nothing was done to it."""
        if not 0 <= index < len(self.items):
            return False
        item = self.items[index]
        return item is not None and item.intent is Intent.FRESH


class _Planner:
    """Draws everything from one random number generator, in a fixed order."""

    def __init__(self, rng: random.Random, teller: Teller, events: int, mix: Mix) -> None:
        self._rng = rng
        self._events = events
        self._mix = mix
        self._teller = teller
        self._lives: list[_Life] = []
        self._main: list[_Item] = []
        self._late: list[_Item] = []

    def plan(self, seed: int) -> Trace:
        mix, events = self._mix, self._events
        poisons, foreign, unwanted = (
            int(events * share) for share in (mix.poison, mix.foreign, mix.unwanted)
        )
        several, repeated = int(events * mix.several), int(events * mix.repeated)
        self._tell(events - poisons - foreign - unwanted - several - repeated - mix.controls)
        self._join(several)
        self._withhold(int(events * mix.late))
        self._let_overtake(int(events * mix.overtaken))
        self._main += [item for life in self._lives for item in life.items if item is not None]
        originals = list(self._main)
        self._main += itertools.islice(self._poison(originals), poisons)
        self._main += itertools.islice(self._foreign(originals), foreign)
        self._main += itertools.islice(self._unwanted(), unwanted)
        self._main += itertools.islice(self._controls(originals), mix.controls)
        self._main += itertools.islice(self._empties(originals), mix.empties)
        # Repeats come last and fill up what is missing of the promised number.
        self._repeat(originals, events - sum(item.elements for item in (*self._main, *self._late)))
        phases = (
            Phase("steady", _messages(self._main)),
            Phase("late", _messages(self._late), PAUSE_WINDOWS),
        )
        return Trace(seed, phases, TOPICS, TYPES)

    def _somewhere(self) -> float:
        return self._rng.uniform(0, self._events)

    def _tell(self, count: int) -> None:
        """Tell stories until they have as many events as are wanted."""
        while count > 0:
            story = self._teller.tell(self._somewhere())
            story = story._replace(scenes=story.scenes[:count])
            items: list[_Item | None] = []
            for index, (place, element) in enumerate(story.scenes):
                body = body_of([element_bytes(element, is_pretty=self._rng.random() < 0.02)])
                intent = Intent.CONFLICTING if index in story.conflicts else Intent.FRESH
                items.append(_Item(place, element, body, intent))
            self._lives.append(_Life(story, items))
            count -= len(items)

    def _fresh(self) -> Iterator[tuple[_Life, int, _Item]]:
        """Every event that nothing was done to yet and that has one after it, in a drawn order."""
        spots = [
            (life, index)
            for life in self._lives
            if life.story.is_steady
            for index in range(len(life.items) - 1)
        ]
        self._rng.shuffle(spots)
        for life, index in spots:
            item = life.items[index]
            if item is not None and life.is_fresh(index) and life.is_fresh(index + 1):
                yield life, index, item

    def _join(self, count: int) -> None:
        """Put two events of an object into one array, and between them what is no event."""
        kinds = itertools.cycle(poison.ELEMENTS)
        for life, index, item in itertools.islice(self._fresh(), count):
            note, reason, spoil = next(kinds)
            after = life.story.scenes[index + 1]
            spoiled = spoil(item.element | {"id": draw_id(self._rng)})
            body = body_of([element_bytes(item.element), spoiled, element_bytes(after.element)])
            life.items[index] = _Item(after.place, item.element, body, Intent.SEVERAL, 3, reason, note)
            life.items[index + 1] = None

    def _withhold(self, count: int) -> None:
        """Keep events back for the last phase. The last of an object never is: something must be newer."""
        for life, index, item in itertools.islice(self._fresh(), count):
            life.items[index] = None
            item.intent = Intent.LATE
            self._late.append(item)

    def _let_overtake(self, count: int) -> None:
        """Move events behind the next one of their object, or the one after that."""
        for life, index, item in self._fresh():
            before = life.items[index - 1] if index else None
            if before is not None and before.intent is Intent.OVERTAKEN:
                continue  # if this one moved too, the one before it might be first again
            is_far = life.is_fresh(index + 2) and self._rng.random() < 0.3
            ahead = life.items[index + 1 + is_far]
            if count <= 0 or ahead is None:
                break
            item.place = ahead.place + self._rng.uniform(0.1, 1.5)
            item.intent = Intent.OVERTAKEN
            count -= 1

    def _repeat(self, originals: list[_Item], count: int) -> None:
        """Deliver events again: soon, much later, or in the last phase."""
        rng = self._rng
        usable = [item for item in originals if item.intent is not Intent.SEVERAL]
        withheld = list(self._late)
        for _ in range(count):
            draw = rng.random()
            item = rng.choice(withheld if draw < 0.01 and withheld else usable)
            copy = self._copy(item)
            if rng.random() < 0.6:
                copy.place = item.place + rng.uniform(0.1, 30)
            else:
                copy.place = item.place + 0.1 + rng.random() * max(self._events - item.place, 0)
            is_late = item.intent is Intent.LATE or draw > 0.97
            (self._late if is_late else self._main).append(copy)

    def _copy(self, item: _Item) -> _Item:
        """Deliver an event again, as a retry, through a second subscription, or published anew."""
        rng, element, body = self._rng, item.element, item.body
        data, draw = element["data"], rng.random()
        if isinstance(data, Mapping) and "sequencer" in data and draw < 0.6:
            element = element | {"id": draw_id(rng)}
            return _Item(0, element, body_of([element_bytes(element)]), Intent.REPUBLISHED)
        if draw > 0.95:
            element = in_other_schema(element)
            body = body_of([element_bytes(element)])
        else:
            item.redeliveries += 1
        return _Item(0, element, body, Intent.REDELIVERED, delivery_count=item.redeliveries)

    def _poison(self, originals: list[_Item]) -> Iterator[_Item]:
        for note, reason, spoil in itertools.cycle(poison.BODIES):
            element = self._rng.choice(originals).element | {"id": draw_id(self._rng)}
            item = _Item(self._somewhere(), element, spoil(element), Intent.POISON, reason=reason, note=note)
            # Whoever writes such things seldom knows of partition keys.
            item.is_unkeyed = self._rng.random() < 0.3
            yield item

    def _foreign(self, originals: list[_Item]) -> Iterator[_Item]:
        while True:
            element = self._rng.choice(originals).element
            name = "source" if "specversion" in element else "topic"
            is_storage = "/microsoft.storage/" in element[name].casefold()
            topic = _STRANGE_ACCOUNT if is_storage else self._rng.choice(_STRANGE_WORKSPACES)
            element = element | {"id": draw_id(self._rng), name: topic}
            yield _Item(self._somewhere(), element, body_of([element_bytes(element)]), Intent.FOREIGN_TOPIC)

    def _unwanted(self) -> Iterator[_Item]:
        while True:
            place = self._somewhere()
            topic = self._rng.choice(ACCOUNTS)
            blob = storage_events.Blob(topic.rsplit("/", 1)[1], "training", f"runs/{draw_id(self._rng)}", "")
            element = storage_events.directory_created(
                self._teller.stamp(topic, place), blob, self._teller.change()
            )
            yield _Item(place, element, body_of([element_bytes(element)]), Intent.UNWANTED_TYPE)

    def _controls(self, originals: list[_Item]) -> Iterator[_Item]:
        """Control events tell by the property, by the type, or by both."""
        for kind, is_typed in itertools.cycle(
            (("SubscriptionValidation", True), ("Notification", True), ("SubscriptionDeletion", False))
        ):
            element = self._rng.choice(originals).element | {"id": draw_id(self._rng)}
            if is_typed:
                element = subscription_validation(self._rng, self._rng.choice(TOPICS))
            body = body_of([element_bytes(element)])
            yield _Item(self._somewhere(), element, body, Intent.CONTROL, event_kind=kind)

    def _empties(self, originals: list[_Item]) -> Iterator[_Item]:
        while True:
            element = self._rng.choice(originals).element
            yield _Item(self._somewhere(), element, b"[]", Intent.EMPTY, 0)


def _messages(items: list[_Item]) -> tuple[Message, ...]:
    """Put items in their places and make them ready to be sent."""
    return tuple(
        Message(
            item.body,
            properties_of(item.element, delivery_count=item.delivery_count, event_kind=item.event_kind),
            None if item.is_unkeyed else partition_key_of(item.element),
            item.intent,
            item.elements,
            item.reason,
            item.note,
        )
        for item in sorted(items, key=lambda item: item.place)
    )
