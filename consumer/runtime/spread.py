"""Notice objects whose events come on more than one partition: those cannot be put in order."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from consumer.events import ObjectId

_log = structlog.get_logger("inturn.engine")

_OBJECTS_MAX = 100_000
"""Objects watched for turning up on a second partition; later ones are not watched."""


class SpreadWatch:
    """Where each object was seen first, over the partitions of this process."""

    def __init__(self) -> None:
        self._partition_of: dict[ObjectId, str] = {}
        self._spread: set[ObjectId] = set()

    def __len__(self) -> int:
        """How many objects were seen on several partitions."""
        return len(self._spread)

    def see(self, partition: str, objects: Iterable[ObjectId]) -> None:
        """Take note of objects that are new on a partition."""
        for object_id in objects:
            other = self._partition_of.get(object_id)
            if other is None:
                if len(self._partition_of) < _OBJECTS_MAX:
                    self._partition_of[object_id] = partition
            elif other != partition and object_id not in self._spread:
                if not self._spread:
                    _log.warning(
                        "The events of one object come on several partitions: their order cannot be kept. "
                        "Set the delivery property PartitionKey on the event subscription.",
                        partitions=[other, partition],
                    )
                self._spread.add(object_id)
