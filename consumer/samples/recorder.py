"""A processor that remembers the order in which it was given the events of every object."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.events import Event, Position
from consumer.samples.truth import Spot


class Recorder:
    """Keeps positions, by partition and object. For demonstrations and tests: it forgets nothing."""

    def __init__(self) -> None:
        self.handled: dict[Spot, list[Position]] = {}
        self.count = 0

    async def process_batch(self, events: Sequence[Event], _context: object) -> None:
        """Note events in order."""
        self.count += len(events)
        for event in events:
            spot = Spot(event.position.partition, event.object_id.topic, event.object_id.path)
            self.handled.setdefault(spot, []).append(event.position)
