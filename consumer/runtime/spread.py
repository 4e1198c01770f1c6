"""Notice objects whose events come on more than one partition: those cannot be put in order."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

_log = structlog.get_logger("inturn.engine")

_OBJECTS_MAX = 100_000
"""Objects watched for turning up on a second partition; later ones are not watched."""


class SpreadWatch:
    """Where each object was seen first, over the partitions of this process."""

    def __init__(self) -> None:
        self._partition_of: dict[bytes, str] = {}
        self._spread: set[bytes] = set()

    def __len__(self) -> int:
        """How many objects were seen on several partitions."""
        return len(self._spread)

    def see(self, partition: str, objects: Iterable[bytes]) -> None:
        """Take note of objects, by key, that are new on a partition."""
        for key in objects:
            other = self._partition_of.get(key)
            if other is None:
                if len(self._partition_of) < _OBJECTS_MAX:
                    self._partition_of[key] = partition
            elif other != partition and key not in self._spread:
                if not self._spread:
                    _log.warning(
                        "The events of one object come on several partitions: their order cannot be kept. "
                        "Set the delivery property PartitionKey on the event subscription.",
                        partitions=[other, partition],
                    )
                self._spread.add(key)
