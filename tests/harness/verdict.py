"""What became of a world's events, by an oracle (`consumer.samples.truth`) without a line of the engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from consumer.events import Position
from consumer.samples.truth import Spot, Truth
from harness.receiver import Effect


class Repeat(NamedTuple):
    """An effect that happened again."""

    before: Effect
    """The last time before."""
    again: Effect


@dataclass(slots=True)
class Verdict:
    """What was wrong, and what was only repeated."""

    expected: int = 0
    """Events that had to be handled."""
    lost: list[Position] = field(default_factory=list)
    """Events that had to be handled and were not."""
    uncalled: list[Effect] = field(default_factory=list)
    """Effects of events that are duplicates or stale by the oracle."""
    out_of_order: list[str] = field(default_factory=list)
    """First effects of an object that came after one of a later event."""
    repeats: list[Repeat] = field(default_factory=list)
    twice_behind_keys: list[str] = field(default_factory=list)
    """Events that a receiver which honours the key would have seen twice."""
    dropped_behind_keys: list[str] = field(default_factory=list)
    """Events that such a receiver would have dropped for the key of another."""

    @property
    def faults(self) -> list[str]:
        """Everything that must not be, for a person."""
        return [
            *(f"lost: {position}" for position in self.lost),
            *(f"out of order: {each}" for each in self.out_of_order),
            *(f"not to be handled: {effect}" for effect in self.uncalled),
            *(f"twice behind keys: {each}" for each in self.twice_behind_keys),
            *(f"dropped behind keys: {each}" for each in self.dropped_behind_keys),
        ]


def judge(truth: Truth, effects: Sequence[Effect]) -> Verdict:
    """Compare the effects, in the order in which they were received, with what had to come."""
    called = {position for order in truth.handled.values() for position in order}
    verdict = Verdict(expected=len(called))
    latest: dict[Position, Effect] = {}
    firsts: dict[Spot, list[Effect]] = defaultdict(list)
    for effect in effects:
        before = latest.get(effect.position)
        if before is not None:
            verdict.repeats.append(Repeat(before, effect))
        elif effect.position not in called:
            verdict.uncalled.append(effect)
        else:
            firsts[effect.spot].append(effect)
        latest[effect.position] = effect
    verdict.lost = sorted(called - latest.keys())
    for spot, found in firsts.items():
        verdict.out_of_order += _inversions(truth.handled.get(spot, []), found)
    _look_behind_keys(effects, set(truth.conflicts), verdict)
    return verdict


def _inversions(order: Sequence[Position], found: Sequence[Effect]) -> list[str]:
    """The effects that came after one which had to come later."""
    rank = {position: number for number, position in enumerate(order)}
    inversions = []
    highest: tuple[int, Effect] | None = None
    for effect in found:
        if effect.position not in rank:
            inversions.append(f"{effect}, which is no event of that object")
            continue
        here = rank[effect.position]
        if highest is not None and here < highest[0]:
            inversions.append(f"{effect} after {highest[1]}")
        else:
            highest = (here, effect)
    return inversions


def _look_behind_keys(effects: Sequence[Effect], conflicts: set[Position], verdict: Verdict) -> None:
    """See the effects as a receiver does that takes every key once."""
    taken: dict[str, Effect] = {}
    keys: dict[Position, str] = {}
    for effect in effects:
        known = keys.setdefault(effect.position, effect.key)
        if known != effect.key:
            verdict.twice_behind_keys.append(f"{effect}: {known} and {effect.key}")
        first = taken.setdefault(effect.key, effect)
        # Two events of one identity and other data are the producer's own contradiction.
        if first.position != effect.position and not {first.position, effect.position} & conflicts:
            verdict.dropped_behind_keys.append(f"{effect} for {first}: {effect.key}")
