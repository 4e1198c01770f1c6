"""Where events come from: the contract, and one file for each technology.

A source calls an *intake*; the intake never calls back. The order of calls for a partition is
``assigned``, any number of ``received``, ``revoked``; then it may be assigned again.
"""

from __future__ import annotations

from typing import Protocol

from consumer.events import Checkpoint, RawBatch


class Intake(Protocol):
    """What a source gives its batches to; implemented by the engine."""

    async def assigned(self, partition: str, *, start: Checkpoint | None = None) -> Checkpoint:
        """Take a partition: load and fence its state, then say after which event to read.

        `start` is where to begin if nothing is stored yet: None means at the earliest event, and a
        source that was told to start elsewhere resolves that place to a checkpoint first. What comes
        back is the stored checkpoint, else `start`, else `NOTHING_DONE`. Events at or before it may
        still be delivered: they are skipped.

        Raises `FenceLost` if another owner was faster, `StoreUnavailable`, `CorruptState`.
        """

    async def received(self, batch: RawBatch) -> None:
        """Hand over a batch; waits while the partition is paused. That wait is the back-pressure.

        Safe to cancel: the batch is either accepted whole or not at all. A batch for a partition
        that is not assigned is dropped. Raises `FenceLost` if the stored state turned out to be another
        owner's, or could not be asked for too long: the partition is to be revoked as lost, and may be
        assigned anew. Raises `EventsLost` if events are missing and the partition is to halt: it is to be
        revoked, not as lost; `assigned` then refuses it until an operator has moved the checkpoint.
        """

    async def revoked(self, partition: str, *, lost: bool) -> None:
        """Give a partition up.

        With `lost` another owner has it already: in-flight work is cancelled and nothing is written.
        Without, in-flight work is finished and checkpointed first, within the drain time-out.
        """

    async def ended(self, partition: str) -> None:
        """Say that the partition has no more events, ever; only finite sources do, before ``revoked``.

        What is held is released, since nothing can come before it any more.
        """

    def is_paused(self, partition: str) -> bool:
        """Whether the partition is paused, so that silence is our own doing."""

    def is_lost(self, partition: str) -> bool:
        """Whether the partition is to be revoked as lost, as `received` would say if it were called."""


class Source(Protocol):
    """Reads partitions into an intake."""

    async def run(self, intake: Intake) -> None:
        """Read until the end of a finite source, or until `close`.

        Heals what can heal by itself (with a back-off, and an upper limit on it) and reports it in the
        log. Raises `SourceUnavailable` only if it never got through, `ConfigurationError` if what it
        was told cannot work.
        """

    def stop(self) -> None:
        """Take nothing new from now on: no `received` call begins after this one returns.

        Partitions stay owned, so that what is in flight can be finished and checkpointed.
        """

    async def close(self) -> None:
        """Release every partition, so that others can take them at once; ends `run`."""
