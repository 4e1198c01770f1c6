"""What producers publish: a log for every partition, made from a seed, with all that goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from property.oracle import Element, Limits, Message, Oracle, Wish

EPOCH_MS = 1_795_240_800_000
"""Log time at virtual time 0."""
WINDOW_MS = 3_000
ADMITTED = "ABDE"
"""C is not admitted; E is, and wanted by nobody."""


@dataclass(frozen=True)
class Shape:
    """How much of what."""

    partitions: int = 3
    events: int = 450
    lasts_s: float = 150.0
    duplicates: float = 0.20
    disorder: float = 0.20
    too_late: float = 0.02
    poison: float = 0.01
    arrays: float = 0.10
    objects: int = 6
    """Per partition."""


@dataclass
class PartitionTrace:
    """The messages of one partition, and when each is published (virtual seconds)."""

    messages: list[Message] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)


def make_trace(chance: random.Random, shape: Shape) -> dict[str, PartitionTrace]:
    """Make a log for every partition."""
    per_partition = shape.events // shape.partitions
    return {str(partition): _partition(chance, shape, per_partition) for partition in range(shape.partitions)}


def _partition(chance: random.Random, shape: Shape, events: int) -> PartitionTrace:
    published: list[tuple[float, Element]] = []
    counters: dict[str, int] = {}
    for identifier, at_s in enumerate(sorted(chance.uniform(0.5, shape.lasts_s) for _ in range(events))):
        if len(published) >= events:
            break
        element = _element(chance, shape, counters, identifier)
        late_s = 0.0
        draw = chance.random()
        if draw < shape.too_late:
            late_s = WINDOW_MS / 1_000 * chance.uniform(1.1, 4)
        elif draw < shape.too_late + shape.disorder:
            late_s = WINDOW_MS / 1_000 * chance.uniform(0.05, 0.9)
        published.append((at_s + late_s, element))
        if chance.random() < shape.duplicates:
            again_s = chance.choice((0.0, 0.01, 1.0, chance.uniform(0, 30)))
            published.append((at_s + late_s + again_s, element))
        if chance.random() < 0.01:  # the same identity with other data
            published.append((at_s + late_s + 0.5, element._replace(data=element.data + 1)))
    return _messages(chance, shape, sorted(published, key=lambda one: one[0]))


def _element(chance: random.Random, shape: Shape, counters: dict[str, int], identifier: int) -> Element:
    name = f"o{int(shape.objects * chance.random() ** 1.5)}"
    counters[name] = count = counters.get(name, 0) + 1
    draw = chance.random()
    what = "event"
    if draw < shape.poison:
        what = chance.choice(("poison", "junk"))
    elif draw < shape.poison + 0.02:
        what = "foreign"
    type_ = chance.choices("ABDEC", (40, 30, 20, 5, 5))[0]
    by_time = name in ("o1", "o4") and count < 59
    sequencer = None if by_time else f"{count:016x}"
    return Element(name, type_, sequencer, count if by_time else 0, identifier, identifier, what)


def _messages(chance: random.Random, shape: Shape, published: list[tuple[float, Element]]) -> PartitionTrace:
    trace = PartitionTrace()
    rest = published[::-1]
    while rest:
        at_s, element = rest.pop()
        elements = [element]
        if chance.random() < shape.arrays:
            while rest and len(elements) < 4:
                at_s, element = rest.pop()
                elements.append(element)
        time_ms = EPOCH_MS + int(at_s * 1_000) - (chance.randrange(200) if chance.random() < 0.02 else 0)
        trace.messages.append(Message(len(trace.messages), time_ms, tuple(elements)))
        trace.times_s.append(at_s)
    return trace


def judge(trace: dict[str, PartitionTrace], wishes: list[Wish]) -> dict[str, object]:
    """What must become of every partition."""
    return {
        name: Oracle(Limits(WINDOW_MS), wishes, ADMITTED).judge(partition.messages)
        for name, partition in trace.items()
    }
