"""What must become of a log, reckoned naively and independently of `consumer.core`.

Given what is in every partition of a hub, and how the consumer is configured, `reckon` says how every event
must end and in which order the events of every object must be handled. It is slow and simple where the core
is fast, and shares nothing with it but the names of outcomes and reasons.

Why it is exact although a consumer's watermark may follow the local clock on an idle partition. Say the
clock moves the watermark to *w* = now - margin, and *h* is released because *h* + window ≤ *w*. Whatever
comes afterwards was enqueued at *w* or later, as long as the margin is longer than clocks differ and
deliveries take. So it would have released *h* by its own enqueued time, before it was itself considered: the
clock brings a release forward and never changes what comes before what. And when the log ends, everything
that is held is released in order, as it will be by a clock that goes on.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from consumer.events import Outcome, Position, Reason
from consumer.samples.reading import Read, read_body, read_time, value_of


class Logged(Protocol):
    """A message as it is in a partition; the local hub's `LoggedEvent` is one."""

    @property
    def sequence_number(self) -> int:
        """Its place in the partition."""

    @property
    def enqueued_time_ms(self) -> int:
        """Log time."""

    @property
    def body(self) -> bytes:
        """As it was sent."""

    @property
    def application_properties(self) -> Mapping[Any, Any]:
        """Keys and values may be bytes, as clients give them."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How the consumer is configured."""

    topics: Sequence[str] | None
    """Resource ids; None: any."""
    types: Sequence[str] | None
    """Event types; None: any."""
    window_ms: int
    """The reorder window."""


class Spot(NamedTuple):
    """An object on a partition: there its events have an order."""

    partition: str
    topic: str
    """Case-folded."""
    path: str


class End(NamedTuple):
    """How an event must end."""

    outcome: Outcome
    reason: Reason | None = None

    def __str__(self) -> str:
        return f"{self.outcome}" if self.reason is None else f"{self.outcome}:{self.reason}"


@dataclass(frozen=True, slots=True)
class Truth:
    """What must become of a log."""

    ends: dict[Position, End] = field(default_factory=dict)
    """Of every element; a message that is wholly refused has one, at index 0."""
    handled: dict[Spot, list[Position]] = field(default_factory=dict)
    """The events of every object in the order in which they must be handled."""
    conflicts: list[Position] = field(default_factory=list)
    """Events with the identity of an earlier one but other data."""

    @property
    def outcomes(self) -> dict[str, int]:
        """How many events end how: by ``outcome`` or ``outcome:reason``, as in `PartitionStatus`."""
        return dict(sorted(Counter(map(str, self.ends.values())).items()))


def reckon(rules: Rules, partitions: Mapping[str, Sequence[Logged]]) -> Truth:
    """Reckon what must become of the messages of each partition, given in order of sequence number."""
    truth = Truth()
    for partition, messages in partitions.items():
        log = _PartitionLog(rules, partition, truth)
        for message in messages:
            log.arrive(message)
        log.end()
    return truth


class _Token(NamedTuple):
    kind: str
    value: Any


_COUNTS = ("sequencer", "sync token", "version")
"""Kinds of token that count something; the others read a clock."""


def _can_compare(left: _Token, right: _Token) -> bool:
    if left.kind != right.kind:
        return False
    return not isinstance(left.value, str) or len(left.value) == len(right.value)


class _Held(NamedTuple):
    """An event that waits. Sorts by log time, then position."""

    enqueued_time_ms: int
    position: Position
    spot: Spot
    token: _Token
    event_type: str


class _PartitionLog:
    def __init__(self, rules: Rules, partition: str, truth: Truth) -> None:
        self._rules = rules
        self._topics = None if rules.topics is None else {topic.casefold() for topic in rules.topics}
        self._types = None if rules.types is None else {type_.casefold() for type_ in rules.types}
        self._partition = partition
        self._truth = truth
        self._watermark_ms = 0
        self._seen: dict[tuple[str, ...], list[str]] = {}
        """The data, as text, that came with each identity."""
        self._held: list[_Held] = []
        """A heap: the oldest first. One that has gone out is in it until it comes to the top."""
        self._waiting: dict[Spot, list[_Held]] = {}
        """What is held of each object, in order of arrival."""
        self._last: dict[Spot, tuple[_Token, str]] = {}
        """The token and the type that went out last."""

    def arrive(self, message: Logged) -> None:
        self._watermark_ms = max(self._watermark_ms, message.enqueued_time_ms)
        while self._held and self._held[0].enqueued_time_ms + self._rules.window_ms <= self._watermark_ms:
            self._release(heapq.heappop(self._held))
        for index, element in enumerate(read_body(message.body)):
            position = Position(self._partition, message.sequence_number, index)
            end = self._consider(message, position, element)
            if end is not None:
                self._truth.ends[position] = end

    def end(self) -> None:
        while self._held:
            self._release(heapq.heappop(self._held))

    def _consider(self, message: Logged, position: Position, element: Read | Reason) -> End | None:
        """Say how an element ends; None: it is held."""
        if isinstance(element, Reason):
            return End(Outcome.DEAD_LETTERED, element)
        if _is_control(message.application_properties, element.type):
            return End(Outcome.IGNORED, Reason.CONTROL)
        if self._topics is not None and element.topic not in self._topics:
            return End(Outcome.IGNORED, Reason.TOPIC)
        if not _may_raise(element.topic, element.type):
            return End(Outcome.DEAD_LETTERED, Reason.SPOOFED_TYPE)
        if self._types is not None and element.type not in self._types:
            return End(Outcome.IGNORED, Reason.TYPE)
        path, token = _order(element, position)
        data = json.dumps(element.data, sort_keys=True)
        seen = self._seen.setdefault(_identity(element, path), [])
        if data in seen:
            return End(Outcome.DUPLICATE)
        if seen:
            self._truth.conflicts.append(position)
        seen.append(data)
        spot = Spot(self._partition, element.topic, path)
        if self._is_stale(spot, token, element.type):
            return End(Outcome.STALE)
        held = _Held(message.enqueued_time_ms, position, spot, token, element.type)
        heapq.heappush(self._held, held)
        self._waiting.setdefault(spot, []).append(held)
        return None

    def _is_stale(self, spot: Spot, token: _Token, event_type: str) -> bool:
        """Whether a later event went out.

        At the same point of a count, a twin of the same type is late too. At the same tick of a clock, or
        of another type, it is another event.
        """
        if spot not in self._last:
            return False
        last, last_type = self._last[spot]
        if not _can_compare(token, last) or token.value > last.value:
            return False
        return token.value < last.value or (token.kind in _COUNTS and event_type == last_type)

    def _release(self, due: _Held) -> None:
        """Let an event go out, and before it what waits of the same object with a smaller token."""
        waiting = self._waiting[due.spot]
        if due not in waiting:
            return  # it went out before a later one of its object
        before = [
            held
            for held in waiting
            if _can_compare(held.token, due.token) and held.token.value < due.token.value
        ]
        for held in (*sorted(before, key=lambda held: held.token.value), due):
            waiting.remove(held)
            if self._is_stale(held.spot, held.token, held.event_type):
                self._truth.ends[held.position] = End(Outcome.STALE)
                continue
            self._last[held.spot] = (held.token, held.event_type)
            self._truth.ends[held.position] = End(Outcome.HANDLED)
            self._truth.handled.setdefault(held.spot, []).append(held.position)
        for held in list(waiting):
            if self._is_stale(held.spot, held.token, held.event_type):  # a twin of what just went out
                waiting.remove(held)
                self._truth.ends[held.position] = End(Outcome.STALE)


def _is_control(properties: Mapping[Any, Any], event_type: str) -> bool:
    for key, value in properties.items():
        if _text(key) == "aeg-event-type" and _text(value).casefold() != "notification":
            return True
    return event_type in (
        "microsoft.eventgrid.subscriptionvalidationevent",
        "microsoft.eventgrid.subscriptiondeletedevent",
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _may_raise(topic: str, event_type: str) -> bool:
    """A type of Microsoft's must belong to the resource provider in the topic."""
    if not event_type.startswith("microsoft."):
        return True
    _, found, rest = topic.partition("/providers/")
    return bool(found) and event_type.startswith(rest.split("/")[0] + ".")


def _sequencer(data: Any) -> str | None:
    """The sequencer, case-folded; nothing but zeros stands for none."""
    value = value_of(data, "sequencer")
    return value.casefold() if isinstance(value, str) and value.strip("0") else None


def _identity(event: Read, path: str) -> tuple[str, ...]:
    etag = value_of(event.data, "etag")
    bare = etag.removeprefix("W/").strip('"') if isinstance(etag, str) else ""
    if bare:
        return ("etag", event.topic, path, event.type, bare)
    sequencer = _sequencer(event.data)
    if sequencer is not None:
        return ("sequencer", event.topic, path, event.type, sequencer)
    return ("id", event.topic, event.id, event.type, event.subject)


_ENDED = ("completed", "finished", "failed", "canceled", "cancelled")


def _order(event: Read, position: Position) -> tuple[str, _Token]:
    """The object's path within its topic, and where the event stands in its order."""
    sequencer = _sequencer(event.data)
    if sequencer is not None:
        return event.subject, _Token("sequencer", sequencer)
    by_time = (
        _Token("arrival", (position.sequence_number, position.index))
        if event.ticks is None
        else _Token("event time", event.ticks)
    )
    match event.type.split("."):
        case ["microsoft", "machinelearningservices", "runcompleted" | "runstatuschanged" as name]:
            if event.ticks is not None:
                has_ended = (
                    name == "runcompleted" or str(value_of(event.data, "runStatus")).casefold() in _ENDED
                )
                by_time = _Token("status", (int(has_ended), event.ticks))
            return _path(event, "runId", "runs/"), by_time
        case ["microsoft", "machinelearningservices", "modelregistered"]:
            version = str(value_of(event.data, "modelVersion"))
            is_number = version.isascii() and version.isdecimal()
            return _path(event, "modelName", "models/"), (
                _Token("version", int(version)) if is_number else by_time
            )
        case ["microsoft", "machinelearningservices", "datasetdriftdetected"]:
            window_end = value_of(event.data, "endTime")
            end_ticks = read_time(window_end) if isinstance(window_end, str) else None
            if end_ticks is not None and event.ticks is not None:
                by_time = _Token("window end", (end_ticks, event.ticks))
            return _path(event, "dataDriftId", "drift/"), by_time
        case ["microsoft", "appconfiguration", *_]:
            _, found, number = str(value_of(event.data, "syncToken")).rpartition("sn=")
            is_number = bool(found) and number.isascii() and number.isdecimal()
            return event.subject, _Token("sync token", int(number)) if is_number else by_time
        case _:
            return event.subject, by_time


def _path(event: Read, name: str, prefix: str) -> str:
    """What the data names; the subject where it names nothing."""
    value = value_of(event.data, name)
    return f"{prefix}{value}" if isinstance(value, str) and value else event.subject
