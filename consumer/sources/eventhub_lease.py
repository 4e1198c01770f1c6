"""What is known of a partition: while it is ours, and over all the times that it was."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec
import structlog

from consumer.events import RawBatch
from consumer.sources.eventhub_internals import Opening
from consumer.sources.eventhub_watchdog import Signs
from consumer.sources.receive_guard import ReceiveGuard

_log = structlog.get_logger("inturn.eventhub")


class PartitionCounts(msgspec.Struct):
    """Totals since the start of the process."""

    received: int = 0
    """Messages that the client delivered."""
    redelivered: int = 0
    """Of those, messages that had come before and were dropped."""
    gaps: int = 0
    """Sequence numbers that never came."""


class Readings(msgspec.Struct):
    """What the source knows of its partitions, whichever client reads them at the time."""

    counts: dict[str, PartitionCounts] = {}
    newest: dict[str, int] = {}
    """The newest sequence number in the hub, as last heard."""
    asked_ms: dict[str, int] = {}
    """When the last question that was answered was asked; milliseconds since 1970, by the local clock."""
    wishes: set[str] = set()
    """Partitions of which somebody wants to know what is newest now."""
    has_wishes: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    problems: dict[str, str] = {}
    """Partitions that cannot be read until somebody acts, and why."""
    foreign: dict[str, int | None] = {}
    """Partitions whose log is not the one of their checkpoint, and that checkpoint once it is known."""
    is_stopped: bool = False
    """Nothing new is handed over any more."""

    def of(self, partition: str) -> PartitionCounts:
        """The counts of a partition."""
        return self.counts.setdefault(partition, PartitionCounts())

    def wish(self, partition: str) -> None:
        """Note that somebody wants to know what is newest in a partition now."""
        self.wishes.add(partition)
        self.has_wishes.set()

    def heard_of(self, partition: str, newest: int) -> None:
        """Take note of the hub's newest sequence number; it does not go back."""
        self.newest[partition] = max(newest, self.newest.get(partition, -1))


class Receiving(Protocol):
    """What receives a partition in place of the client's own loop."""

    is_given_up: bool
    """The client's own loop receives after all."""


class Lease:
    """A partition that is ours, from its assignment until it is revoked."""

    def __init__(self, partition: str, after: int, task: asyncio.Task[Any] | None, now_s: float) -> None:
        self.partition = partition
        self.task = task
        """The client's own task of this partition: cancelling it makes the client let go of it."""
        self.guard = ReceiveGuard(after)
        self.handing_over: asyncio.Task[Any] | None = None
        """The task in which a batch is being handed over."""
        self.is_verified = asyncio.Event()
        """The hub was asked, and the checkpoint belongs to its log."""
        self.is_lost = False
        """The hub or the store said that another owner has it."""
        self.is_over = False
        """It is being revoked: nothing is handed over any more."""
        self.is_foreign = False
        """What comes is from another log than what came before."""
        self._newest_ms: int | None = None
        self.deliveries = 0
        self.heard_s = now_s
        self.opening: Opening | None = None
        """What opens its link; None with a client that does not let us see that."""
        self.receiving: Receiving | None = None
        """What receives it; None if that is the client's own loop."""
        self._behind_since_s: float | None = None

    @property
    def path(self) -> str:
        """How it is received: fast or sdk."""
        return "sdk" if self.receiving is None or self.receiving.is_given_up else "fast"

    def signs(self, *, is_waiting_for_us: bool) -> Signs:
        """What the watchdog judges by."""
        busy = is_waiting_for_us or self.handing_over is not None
        closed_since_s = self.opening.closed_since_s if self.opening is not None else None
        # The client goes on calling while its link is being opened, even if that takes for ever.
        heard_s = self.heard_s if closed_since_s is None else min(self.heard_s, closed_since_s)
        return Signs(heard_s, self._behind_since_s, self.deliveries, busy)

    def progressed(self, newest: int | None, now_s: float) -> None:
        """Something came, or had to wait for us; from now on count again how long nothing comes."""
        self.heard_s = now_s
        self._behind_since_s = None
        self.look_at(newest, now_s)

    def look_at(self, newest: int | None, now_s: float) -> None:
        """Compare with the hub's newest sequence number; None if the hub has nothing more to give."""
        if newest is None or newest <= self.guard.last:
            self._behind_since_s = None
        elif self._behind_since_s is None:
            self._behind_since_s = now_s

    def admit(self, batch: RawBatch, counts: PartitionCounts) -> RawBatch | None:
        """The part of a batch that is new; counts the rest and what never came."""
        last = self.guard.last
        admitted = self.guard.admit(batch)
        if admitted.redelivered and self._newest_ms is not None:
            # What comes again was enqueued before; a number given anew, by a hub made anew, was not.
            self.is_foreign = any(
                number <= last and time_ms > self._newest_ms
                for number, time_ms in zip(batch.sequence_numbers, batch.enqueued_times_ms, strict=True)
            )
        if admitted.batch is not None:
            self._newest_ms = max(self._newest_ms or 0, *admitted.batch.enqueued_times_ms)
        self.deliveries += len(batch)
        counts.received += len(batch)
        counts.redelivered += admitted.redelivered
        for gap in admitted.gaps:
            counts.gaps += len(gap)
            _log.error(
                "Events are missing: retention or the hub has removed them before they were read.",
                partition=self.partition,
                first=gap.first,
                last=gap.last,
            )
        return admitted.batch
