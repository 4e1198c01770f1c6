"""What a partition is run with, besides its pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from consumer.runtime.lease import Lease
from consumer.runtime.writers import CheckpointWriter, DeadLetterWriter


class PartitionStores(NamedTuple):
    """Where a partition is written to, and the right to."""

    checkpoints: CheckpointWriter
    dead_letters: DeadLetterWriter
    lease: Lease


class PartitionReading(NamedTuple):
    """What the source knows of a partition, besides what it hands over."""

    newest: Callable[[], int | None] = lambda: None
    redelivered: Callable[[], int] = lambda: 0
    asked_ms: Callable[[], int | None] = lambda: None
    ask: Callable[[], None] = lambda: None
