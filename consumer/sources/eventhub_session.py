"""One client of Event Hubs from its making to its end, and the partitions it reads meanwhile.

The client calls us (a partition begins, a batch is there, a partition ends) and is watched from the side.
A session ends when it is told to, or when the client has to be replaced; the source then makes another.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from azure.eventhub import CloseReason, EventData
from azure.eventhub.aio import CheckpointStore, EventHubConsumerClient, PartitionContext
from azure.eventhub.exceptions import EventHubError

from consumer.errors import (
    FenceLost,
    InturnError,
    SourceUnavailable,
    StoreUnavailable,
)
from consumer.events import Checkpoint, RawBatch
from consumer.sources import Intake
from consumer.sources.amqp_columns import Columns
from consumer.sources.eventhub_batches import batch_of_columns, raw_batch, told_newest
from consumer.sources.eventhub_client import ANSWER_TIMEOUT_S, make_client, receiving
from consumer.sources.eventhub_credentials import paced_credential
from consumer.sources.eventhub_errors import explain, one_line
from consumer.sources.eventhub_inquiry import Inquiry
from consumer.sources.eventhub_internals import cut, open_links, open_patiently, receive_with
from consumer.sources.eventhub_lease import Lease, Readings
from consumer.sources.eventhub_ownership import OwnershipLedger, Tempo
from consumer.sources.eventhub_paths import Path
from consumer.sources.eventhub_patrol import Patrol
from consumer.sources.eventhub_settings import PREFETCH_MAX, Address, EventHubSettings
from consumer.sources.eventhub_watchdog import HEARTBEAT_S

_LETTING_GO_S = 5.0
"""A receiver that the client has not let go of after this is stuck, and the client is replaced."""
_HALTED_INTERVALS = 3
"""A partition that somebody has to see to is tried again after so many load balancing intervals."""
_STOLEN = "amqp:link:stolen"

_log = structlog.get_logger("inturn.eventhub")


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What a session works with; all of it outlives the session."""

    settings: EventHubSettings
    address: Address
    store: CheckpointStore
    intake: Intake
    inquiry: Inquiry
    readings: Readings
    path: Path = "sdk"
    """How partitions are received."""
    monotonic_s: Callable[[], float] = time.monotonic


class Session:
    """A client and its leases."""

    def __init__(self, parts: SessionParts) -> None:
        self._parts = parts
        self._intake = parts.intake
        self._readings = parts.readings
        self._now_s = parts.monotonic_s
        self.ledger = OwnershipLedger(
            parts.store,
            lambda partition: parts.inquiry.resolve(partition, parts.settings.start),
            Tempo.of(parts.settings.load_balancing_interval_s),
            succession=parts.settings.succession,
        )
        self.credential = paced_credential(parts.settings)
        self.leases: dict[str, Lease] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._over = asyncio.Event()
        self._is_closing = False
        self._never = asyncio.Event()
        self._patrol = Patrol(parts, self)
        self.client: EventHubConsumerClient | None = None
        self.broken: SourceUnavailable | None = None
        """Why the client has to be replaced; None if the session was told to end."""
        self._bug: Exception | None = None

    def end(self) -> None:
        """Give every partition back, in good order, and end."""
        self._over.set()

    def fail(self, why: SourceUnavailable) -> None:
        """End, and have the client replaced."""
        self.broken = self.broken or why
        self._over.set()

    async def run(self) -> None:
        """Read until `end` or `fail`. Raises what nobody foresaw, as it must end the process."""
        settings = self._parts.settings
        self.client = make_client(
            settings, self._parts.address, self.credential, self.ledger, self.ledger.tempo.expire_s
        )
        try:
            async with receiving(
                self.client,
                on_event_batch=self._on_batch,
                max_batch_size=settings.batch_max,
                max_wait_time=HEARTBEAT_S,
                prefetch=min(settings.prefetch, PREFETCH_MAX),
                track_last_enqueued_event_properties=True,
                starting_position="-1",
                starting_position_inclusive=False,
                on_error=self._on_error,
                on_partition_initialize=self._on_initialize,
                on_partition_close=self._on_close,
            ):
                try:
                    await self._watch()
                finally:
                    await self._give_up_all()
        finally:
            await self.ledger.give_back()
        if self._bug is not None:
            raise self._bug

    async def _watch(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            patrol = tasks.create_task(self._patrol.run())
            await self._over.wait()
            patrol.cancel()

    async def _give_up_all(self) -> None:
        """Drain every partition; ownership is kept and renewed meanwhile."""
        self._is_closing = True
        is_orderly = self._over.is_set()
        async with asyncio.TaskGroup() as tasks:
            for lease in list(self.leases.values()):
                tasks.create_task(self.give_up(lease, lost=not is_orderly))

    # A partition's life.

    async def give_up(self, lease: Lease, *, lost: bool) -> None:
        """Revoke a partition and make the client let go of it."""
        await self._revoke(lease, lost=lost)
        if not lost:
            await self.ledger.release(lease.partition)
        if lease.task is not None:
            lease.task.cancel()

    async def renew(self, lease: Lease) -> None:
        """Give a partition up and have the client take it again at its next turn."""
        client, task = self.client, lease.task
        assert client is not None
        links = open_links(client, lease.partition)
        await self.give_up(lease, lost=False)
        if task is not None:
            await asyncio.wait((task,), timeout=_LETTING_GO_S)
        cut(links)
        if task is None or not task.done():
            self.fail(
                SourceUnavailable(f"Partition {lease.partition}: the client does not let go of its link.")
            )

    async def _revoke(self, lease: Lease, *, lost: bool) -> None:
        async with self._locks[lease.partition]:
            if self.leases.get(lease.partition) is not lease:
                return
            lease.is_over = True
            # Only then forgotten: if this is cancelled, the end of the session revokes it once more.
            await self._intake.revoked(lease.partition, lost=lost)
            del self.leases[lease.partition]
            if lease.handing_over is not None:
                lease.handing_over.cancel()

    async def _until_drained(self, partition: str) -> None:
        """Wait until a revocation is through: the client releases what it lets go of, at once."""
        async with self._locks[partition]:
            return

    async def _on_initialize(self, context: PartitionContext) -> None:
        partition = context.partition_id
        if self._is_closing or self._readings.is_stopped:
            raise asyncio.CancelledError
        earlier = self.leases.get(partition)
        if earlier is not None:
            # D12: the client did not say that it had closed it. It is ours again, so nothing is lost.
            await self._revoke(earlier, lost=False)
        try:
            async with self._locks[partition]:
                after = await self._assign(partition)
                if self._is_closing:
                    await self._intake.revoked(partition, lost=False)
                    raise asyncio.CancelledError
                self.leases[partition] = Lease(
                    partition, after.sequence_number, asyncio.current_task(), self._now_s()
                )
        except InturnError as error:
            _log.warning(
                "A partition could not be taken; it is tried again at the next turn.",
                partition=partition,
                error=one_line(error),
            )
            if isinstance(error, StoreUnavailable):
                self.ledger.failed(f"partition {partition} cannot be taken: {one_line(error)}")
            if not isinstance(error, FenceLost | StoreUnavailable):
                # Somebody has to act. Meanwhile it stays ours, lest every replica tries in turn.
                await asyncio.sleep(_HALTED_INTERVALS * self._parts.settings.load_balancing_interval_s)
            # The client would read on after any other error. This makes it close and release the partition.
            raise asyncio.CancelledError from error
        except Exception as error:  # a bug: the client would log it and try again for ever
            self._bug = self._bug or error
            self._over.set()
            raise asyncio.CancelledError from error
        self._readings.problems.pop(partition, None)
        assert self.client is not None
        lease = self.leases[partition]
        lease.opening = open_patiently(self.client, partition, ANSWER_TIMEOUT_S)
        if self._parts.path == "fast":
            self._receive_fast(lease)
        self._patrol.verify(lease)

    def _receive_fast(self, lease: Lease) -> None:
        from consumer.sources.eventhub_receive import FastReceive  # noqa: PLC0415 - not with every client

        def heard() -> None:
            lease.heard_s = self._now_s()

        def make(receiver: Any) -> FastReceive:
            return FastReceive(receiver, take=lambda columns: self._take(lease, columns), heard=heard)

        assert self.client is not None
        lease.receiving = receive_with(self.client, lease.partition, make)

    async def _assign(self, partition: str) -> Checkpoint:
        told = None
        if partition in self._readings.problems:
            # It was found not to belong to the hub's log: this time it is looked at first.
            told = await self._parts.inquiry.partition(partition)
        try:
            after = await self._intake.assigned(partition, start=self.ledger.start_of(partition))
        except asyncio.CancelledError:
            await self._intake.revoked(partition, lost=True)
            raise
        problem = None
        foreign = self._readings.foreign
        if partition in foreign:
            # Until an operator has moved the checkpoint it stays that of another log.
            foreign[partition] = after.sequence_number if foreign[partition] is None else foreign[partition]
            if foreign[partition] == after.sequence_number:
                problem = self._readings.problems[partition]
            else:
                del foreign[partition]
        if problem is None and told is not None and after.sequence_number > told.newest:
            problem = self._readings.problems[partition]
        if problem is None and self.ledger.begin_of(partition).sequence_number > after.sequence_number:
            # The client would begin too late: what it has read is from before the state was mended.
            await self._intake.revoked(partition, lost=False)
            raise FenceLost(f"Partition {partition}: its checkpoint was moved back while it was being taken.")
        if problem is not None:
            await self._intake.revoked(partition, lost=False)
            raise SourceUnavailable(f"Partition {partition}: {problem}.")
        return after

    async def _on_close(self, context: PartitionContext, reason: CloseReason) -> None:
        lease = self.leases.get(context.partition_id)
        if lease is None:
            await self._until_drained(context.partition_id)
            return
        lost = lease.is_lost
        if reason is CloseReason.OWNERSHIP_LOST and not lost and not self._is_closing:
            lost = await self._has_another_owner(lease.partition)
        await self._revoke(lease, lost=lost)

    async def _has_another_owner(self, partition: str) -> bool:
        # The client gives the same reason for a callback that failed. Who owns the partition knows the store.
        try:
            await self.ledger.look()
            return partition in self.ledger.taken()
        except StoreUnavailable:
            return True

    async def _on_error(self, context: PartitionContext | None, error: Exception) -> None:
        if context is None:
            # Ours come from the store, which says itself what is wrong with it.
            is_ours = isinstance(error, InturnError)
            told = error if is_ours else explain(error, self._parts.settings, self._parts.address)
            self.ledger.failed(f"partitions cannot be shared out: {one_line(told)}")
            _log.warning(
                "Partitions could not be shared out; it is tried again at the next turn.",
                error=one_line(told),
            )
            return
        lease = self.leases.get(context.partition_id)
        if isinstance(error, FenceLost) or (isinstance(error, EventHubError) and _STOLEN in str(error)):
            _log.info("Another owner has taken a partition.", partition=context.partition_id)
            if lease is not None:
                lease.is_lost = True
            return
        _log.warning(
            "A partition's receiver has failed; it is opened anew.",
            partition=context.partition_id,
            error=one_line(error),
        )

    # Batches.

    async def _on_batch(self, context: PartitionContext, events: list[EventData]) -> None:
        lease = self.leases.get(context.partition_id)
        if lease is None or lease.is_over:
            # The partition was given up while the client was busy with it. This makes it let go.
            await self._until_drained(context.partition_id)
            raise asyncio.CancelledError
        lease.heard_s = self._now_s()
        if self._intake.is_lost(lease.partition):
            # Said here as well, because nothing may come any more for which `received` could say it.
            raise FenceLost(f"Partition {lease.partition} was given up and is to be taken anew.")
        if events:
            told = context.last_enqueued_event_properties or {}
            batch = raw_batch(lease.partition, events, None)
            await self._hand_over(lease, batch, told.get("sequence_number"))

    async def _take(self, lease: Lease, columns: Columns) -> None:
        """Take what the fast path has received, and wait until it is handed over."""
        if lease.is_over or self.leases.get(lease.partition) is not lease:
            await self._until_drained(lease.partition)
            raise asyncio.CancelledError
        lease.heard_s = self._now_s()
        newest = told_newest(columns)
        await self._hand_over(lease, batch_of_columns(lease.partition, columns, newest), newest)

    async def _hand_over(self, lease: Lease, raw: RawBatch, newest: int | None) -> None:
        if raw.sequence_numbers[-1] > lease.guard.last:
            lease.is_verified.set()  # the hub has more than the checkpoint: there is no need to ask it
        lease.handing_over = asyncio.current_task()
        try:
            await lease.is_verified.wait()
        finally:
            lease.handing_over = None
        if newest is not None:
            self._readings.heard_of(lease.partition, newest)
        raw = msgspec.structs.replace(raw, newest_sequence_number=self._readings.newest.get(lease.partition))
        batch = lease.admit(raw, self._readings.of(lease.partition))
        lease.progressed(newest, self._now_s())
        if lease.is_foreign:
            self._patrol.halt(lease, "sequence numbers came again with later events: the hub was made anew")
            await self._never.wait()
        if batch is None:
            return
        if self._readings.is_stopped:
            # Until the client is closed, which cancels this. Not handed over, so it comes again.
            await self._never.wait()
        lease.handing_over = asyncio.current_task()
        try:
            await self._intake.received(batch)
        finally:
            lease.handing_over = None
            lease.progressed(newest, self._now_s())
