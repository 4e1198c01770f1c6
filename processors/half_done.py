"""What a processor of batches remembers of a batch that failed half-way.

A failed batch is tried again, and in the end event by event. What had its effect already must not have it
twice: an effect repeats after a crash, but not because its neighbour failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consumer.events import Event, Position

REMEMBERED_MAX = 100_000
"""Effects of unfinished batches that are remembered; beyond it the oldest are forgotten, and may repeat."""

Effect = tuple[str, Position]
"""An idempotency key, and where the event was found: two events of one identity, but with different data,
share the key."""


class HalfDone:
    """Effects that took place in batches that have not succeeded yet."""

    def __init__(self, remembered_max: int = REMEMBERED_MAX) -> None:
        self._effects: dict[Effect, None] = {}
        self._remembered_max = remembered_max

    def __len__(self) -> int:
        return len(self._effects)

    def has(self, event: Event, key: str) -> bool:
        """Whether an event had its effect."""
        return (key, event.position) in self._effects

    def left(self, events: Sequence[Event], keys: Sequence[str]) -> list[tuple[Event, str]]:
        """The events, with their keys, that had no effect yet."""
        pairs = zip(events, keys, strict=True)
        if not self._effects:
            return list(pairs)
        return [(event, key) for event, key in pairs if not self.has(event, key)]

    def note(self, event: Event, key: str) -> None:
        """Remember that an event had its effect."""
        self._effects[key, event.position] = None
        if len(self._effects) > self._remembered_max:
            del self._effects[next(iter(self._effects))]

    def forget(self, events: Iterable[Event], keys: Iterable[str]) -> None:
        """The batch succeeded: nobody asks again."""
        if self._effects:
            for event, key in zip(events, keys, strict=True):
                self._effects.pop((key, event.position), None)
