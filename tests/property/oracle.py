"""What must become of a log, reckoned naively: it shares no line with the core that it judges.

The events of these tests are Storage events. One with a sequencer is ordered by it, one without by its event
time, and the two cannot be compared. Everything is a list that is searched from the front.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a"
FOREIGN = TOPIC.replace("accounts/a", "accounts/ab").replace("Accounts/a", "Accounts/ab")
TYPES = {letter: f"Microsoft.Storage.Type{letter}" for letter in "ABCDE"}

Spot = tuple[int, int]
"""Sequence number and index in the message."""


class Element(NamedTuple):
    """One event as it is published, or what only looks like one."""

    object: str = "x"
    type: str = "A"
    sequencer: str | None = None
    """Ordered by this if it is there, else by `second`."""
    second: int = 0
    id: int = 0
    data: int = 0
    what: str = "event"
    """event, foreign (another topic), poison (no id), or junk (not an object)."""

    def written(self) -> Any:
        if self.what == "junk":
            return 7
        data: dict[str, Any] = {"n": self.data}
        if self.sequencer is not None:
            data["sequencer"] = self.sequencer
        written = {
            "id": f"id-{self.id}",
            "topic": FOREIGN if self.what == "foreign" else TOPIC,
            "subject": self.object,
            "eventType": TYPES[self.type],
            "eventTime": f"2026-01-01T00:00:{self.second:02}Z",
            "data": data,
        }
        if self.what == "poison":
            del written["id"]
        return written


class Message(NamedTuple):
    """A message in the hub."""

    number: int
    time_ms: int
    elements: tuple[Element, ...]

    @property
    def body(self) -> bytes:
        return json.dumps([element.written() for element in self.elements], separators=(",", ":")).encode()


@dataclass(frozen=True)
class Limits:
    """How the reorder window is limited."""

    window_ms: int
    held_max: int = 10**6
    held_bytes_max: int = 10**9
    span_max: int = 10**6


@dataclass(frozen=True)
class Wish:
    """What one processor wants."""

    types: str
    in_turn: bool = True
    stale: bool = False
    """Whether it wants what came too late."""
    latest: bool = False


@dataclass
class Waiting:
    """A held event."""

    spot: Spot
    element: Element
    since_ms: int
    size: int


@dataclass
class Answer:
    """What must become of a log."""

    fixed: dict[Spot, str] = field(default_factory=dict)
    """Events whose outcome no processor decides: ``outcome`` or ``outcome:reason``."""
    given: dict[tuple[int, Spot], bool] = field(default_factory=dict)
    """Which processor is given which event, and whether as one that came too late."""
    skipped: set[tuple[int, Spot]] = field(default_factory=set)
    """Which processor does not want an event because it came too late."""
    objects: dict[Spot, str] = field(default_factory=dict)
    """What each event that a processor is given is about."""
    order: dict[str, list[Spot]] = field(default_factory=dict)
    """The events of an object in their turn, stale ones left out."""

    def spots(self) -> set[Spot]:
        given = {spot for _, spot in self.given} | {spot for _, spot in self.skipped}
        return set(self.fixed) | given


class Oracle:
    """Goes through a log once."""

    def __init__(self, limits: Limits, wishes: list[Wish], admitted: str) -> None:
        self.limits = limits
        self.wishes = wishes
        self.admitted = admitted
        self.answer = Answer()
        self.waiting: list[Waiting] = []
        self.last: dict[str, Element] = {}
        self.seen: list[tuple[Any, ...]] = []
        self.time_ms = 0

    def judge(self, log: list[Message]) -> Answer:
        for message in log:
            self.time_ms = max(self.time_ms, message.time_ms)
            while self.waiting and self._must_go(message.number):
                self._release(self.waiting[0])
            for index, element in enumerate(message.elements):
                self._arrive((message.number, index), element)
        while self.waiting:
            self._release(self.waiting[0])
        return self.answer

    def _must_go(self, number: int) -> bool:
        oldest = self.waiting[0]
        return (
            oldest.since_ms + self.limits.window_ms <= self.time_ms
            or len(self.waiting) > self.limits.held_max
            or sum(one.size for one in self.waiting) > self.limits.held_bytes_max
            or number - oldest.spot[0] > self.limits.span_max
        )

    def _arrive(self, spot: Spot, element: Element) -> None:
        fixed = self._fixed(element)
        if fixed is not None:
            self.answer.fixed[spot] = fixed
            return
        self.answer.objects[spot] = element.object
        wanting = [index for index, wish in enumerate(self.wishes) if element.type in wish.types]
        for index in wanting:
            if not self.wishes[index].in_turn:
                self.answer.given[index, spot] = self._is_late(element)
        if not any(self.wishes[index].in_turn for index in wanting):
            return
        if self._is_late(element):
            self._too_late(spot, element)
            return
        size = len(json.dumps(element.written(), separators=(",", ":")))
        self.waiting.append(Waiting(spot, element, self.time_ms, size))

    def _fixed(self, element: Element) -> str | None:
        if element.what == "junk":
            return "dead_lettered:not_an_object"
        if element.what == "poison":
            return "dead_lettered:missing_field"
        if element.what == "foreign":
            return "ignored:topic"
        if element.type not in self.admitted or not any(element.type in wish.types for wish in self.wishes):
            return "ignored:type"
        same = (
            ("by sequencer", element.object, element.type, element.sequencer)
            if element.sequencer is not None
            else ("by id", element.object, element.type, element.id)
        )
        if (same, element.data, element.sequencer) in self.seen:
            return "duplicate"
        self.seen.append((same, element.data, element.sequencer))
        return None

    def _is_late(self, element: Element) -> bool:
        last = self.last.get(element.object)
        if last is None or (element.sequencer is None) is not (last.sequencer is None):
            return False
        if element.sequencer is None or last.sequencer is None:
            return element.second < last.second
        if len(element.sequencer) != len(last.sequencer):
            return False
        if element.sequencer == last.sequencer:
            return element.type == last.type
        return element.sequencer < last.sequencer

    def _too_late(self, spot: Spot, element: Element) -> None:
        for index, wish in enumerate(self.wishes):
            if wish.in_turn and element.type in wish.types:
                if wish.stale:
                    self.answer.given[index, spot] = True
                else:
                    self.answer.skipped.add((index, spot))

    def _release(self, due: Waiting) -> None:
        before = [one for one in self.waiting if _goes_before(one.element, due.element)]
        before.sort(
            key=lambda one: (one.element.sequencer or "", 0 if due.element.sequencer else one.element.second)
        )
        for one in (*before, due):
            self.waiting.remove(one)
            if self._is_late(one.element):
                self._too_late(one.spot, one.element)
                continue
            self.last[one.element.object] = one.element
            self.answer.order.setdefault(one.element.object, []).append(one.spot)
            for index, wish in enumerate(self.wishes):
                if wish.in_turn and one.element.type in wish.types:
                    self.answer.given[index, one.spot] = False
        for twin in [one for one in self.waiting if one.element.object == due.element.object]:
            if self._is_late(twin.element):  # it has the very sequencer of what just went out
                self.waiting.remove(twin)
                self._too_late(twin.spot, twin.element)


def _goes_before(one: Element, due: Element) -> bool:
    if one.object != due.object:
        return False
    if one.sequencer is None or due.sequencer is None:
        return one.sequencer is due.sequencer and one.second < due.second
    return len(one.sequencer) == len(due.sequencer) and one.sequencer < due.sequencer
