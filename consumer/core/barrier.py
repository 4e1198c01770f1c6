"""Keep what follows from a decision waiting until the decision is stored.

That an event was given up after its last attempt, or skipped because a later one waits, is not in the log. If
the next event of the object were handled before that is stored, a crash in between would try the first one
again, after the second.
"""

from __future__ import annotations

from consumer.core.flights import Flight

Key = tuple[Flight, int]
"""Ticket and processor."""


class Barrier:
    """Failures that are in the dead letters, and skips, that are not yet in a stored checkpoint."""

    def __init__(self) -> None:
        self._waiting: list[Key] = []
        self._storing: list[Key] = []

    def __bool__(self) -> bool:
        """Whether a decision waits for a write that has not begun."""
        return bool(self._waiting)

    def add(self, key: Key) -> None:
        """Note a failure whose dead letter is stored, or a skip."""
        self._waiting.append(key)

    def take(self) -> list[Key]:
        """What the write that begins now settles."""
        self._storing, self._waiting = self._waiting, []
        return self._storing

    def stored(self, *, ok: bool) -> None:
        """Note how the write ended."""
        if not ok:
            self._waiting = self._storing + self._waiting
        self._storing = []
