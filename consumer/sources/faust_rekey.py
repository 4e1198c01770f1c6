"""A partition of a spread topic: every event is sent on, by its object, before its message counts as done.

One message may hold events of several objects, so each event becomes a message of its own, with its original
bytes. Sending is in order, and a chunk is done when the brokers have acknowledged all of it; so after a crash
a chunk may come twice, and the second ones are duplicates to the pipelines.

An event that is too large for the topic is put aside before its message counts as done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import structlog
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from consumer.errors import SourceUnavailable
from consumer.events import RawBatch
from consumer.sources.faust_app import FaustError
from consumer.sources.faust_columns import MARK_BODY, ORIGIN, Origin, Record, keyed_batch
from consumer.sources.faust_reader import AGAIN_S, TROUBLES, Clients, Reader
from consumer.sources.faust_sending import Message
from consumer.sources.faust_settings import FaustSettings

if TYPE_CHECKING:
    from faust.types import TP

_log = structlog.get_logger("inturn.kafka")

Keyed: TypeAlias = "list[tuple[bytes, bytes]]"
"""The events of a message: what each is placed by, and its original bytes."""
KeyEvents: TypeAlias = "Callable[[RawBatch], list[Keyed]]"
"""Says for every message of a batch which events are in it, and of which objects."""
PutAside: TypeAlias = "Callable[[RawBatch, int, int, str], Awaitable[bool]]"
"""Puts the event of a row and an element aside, durably, with why it is too large; False: nobody wants it."""


class Rekeying(NamedTuple):
    """What is known of events, which a source does not know."""

    key_events: KeyEvents
    put_aside: PutAside


MARKS_PER_S_MAX = 200
"""Marks of all partitions of the source, together: with many partitions each of them marks more rarely."""
_MARK_EVERY_S = 1.0


class Reports(NamedTuple):
    """Who is told what."""

    done: Callable[[TP, int], None]
    """The offset behind everything that was acknowledged."""
    sent: Callable[[int], None]
    """How many events were sent on."""
    put_aside: Callable[[int], None]
    """How many were put aside."""
    refuse: Callable[[SourceUnavailable], None]
    """Why an event was not taken."""


class Rekeyer(Reader):
    """Sends the events of one source partition on."""

    def __init__(
        self,
        partition: TP,
        settings: FaustSettings,
        clients: Clients,
        rekeying: Rekeying,
        reports: Reports,
        counts: tuple[int, int],
    ) -> None:
        """`counts`: the partitions of the source topic, and of the re-key topic."""
        super().__init__(partition, settings, clients)
        self._sender = clients.sender
        self._rekeying = rekeying
        self._reports = reports
        self._targets = counts[1]
        self._mark_every_s = max(_MARK_EVERY_S, counts[0] * counts[1] / MARKS_PER_S_MAX)
        self._marked_s = 0.0
        self._marked_ms = 0
        self._reached_ms = 0
        """Everything that was enqueued before this was sent on."""
        self._is_putting_aside = False

    @property
    def is_held_up(self) -> bool:
        """Whether records wait here, or the store of dead letters is waited for."""
        return self._is_putting_aside or super().is_held_up

    async def _run(self) -> None:
        await self._begin()
        try:
            await self._go_on()
        except (KafkaError, FaustError) as error:
            where = (
                f"{self.settings.rekey_topic} did not take an event of partition {self.partition.partition}"
            )
            why = str(error) or type(error).__name__
            self._reports.refuse(
                SourceUnavailable(f"The topic {where}: {why}. Neither it nor what follows counts as done.")
            )

    async def _begin(self) -> None:
        while True:
            try:
                first = await self._first()
            except TROUBLES as error:
                _log.warning(
                    "A partition cannot be read yet.",
                    partition=self.partition.partition,
                    error=str(error) or type(error).__name__,
                )
                await asyncio.sleep(AGAIN_S)
            else:
                return self.begin_at(first)

    async def _go_on(self) -> None:
        while True:
            records = await self.next_records(self._mark_every_s)
            if records:
                await self._send_on(records)
                self.next_offset = records[-1].offset + 1
                self._reports.done(self.partition, self.next_offset)
            if time.monotonic() - self._marked_s >= self._mark_every_s:
                await self._mark()

    async def _first(self) -> int:
        """Where to begin: behind what the group has committed."""
        begin, end = await self.inquiry.limits(self.partition)
        committed = await self.inlet.committed_offset(self.partition)
        if committed is None:
            first = await self.inquiry.first(self.partition, self.settings.start, (begin, end))
            self._reports.done(self.partition, first)
            return first
        if committed < begin:
            _log.warning(
                "Messages were removed from the topic before they were read.",
                topic=self.partition.topic,
                partition=self.partition.partition,
                first=committed,
                last=begin - 1,
            )
        return max(committed, begin)

    async def _send_on(self, records: Sequence[Record]) -> None:
        partition = self.partition.partition
        is_event_hubs = self.settings.security.is_event_hubs
        batch = keyed_batch(str(partition), records, None, is_event_hubs=is_event_hubs)
        now_ms = time.time_ns() // 1_000_000
        messages: list[Message] = []
        places: list[tuple[int, int]] = []
        keyed = self._rekeying.key_events(batch)
        for row, (record, events) in enumerate(zip(records, keyed, strict=True)):
            # A producer's clock that is ahead would hold everybody's events until that time has come.
            time_ms = min(batch.enqueued_times_ms[row], now_ms)
            self._reached_ms = max(self._reached_ms, time_ms)
            others = [header for header in record.headers if header[0] != ORIGIN]
            if others and is_event_hubs:
                others = [(name, _plain(batch.properties_at(row)[name])) for name, _ in others]
            for index, (key, body) in enumerate(events):
                origin = Origin(partition, record.offset, index, time_ms)
                headers = [*others, origin.header()]
                messages.append(Message(key, body, self._target(key), headers))
                places.append((row, index))
        refused = await self._sender.send(messages)
        self._reports.sent(len(messages) - len(refused))
        if refused:
            await self._put_aside(batch, {places[index]: why for index, why in refused.items()})

    async def _put_aside(self, batch: RawBatch, refused: Mapping[tuple[int, int], str]) -> None:
        self._is_putting_aside = True
        try:
            for (row, element), why in sorted(refused.items()):
                if await self._rekeying.put_aside(batch, row, element, why):
                    self._reports.put_aside(1)
                    _log.warning(
                        "An event is too large to be sent on by its object; it is a dead letter.",
                        partition=batch.partition,
                        offset=batch.sequence_numbers[row],
                        element=element,
                        error=why,
                    )
        finally:
            self._is_putting_aside = False
            self.moved_s = time.monotonic()

    def _target(self, key: bytes) -> int:
        return int.from_bytes(key[:8], "big") % self._targets

    async def _mark(self) -> None:
        """Say in every partition of the re-key topic how far this one of the source is."""
        if not self.is_held_up:
            await self._look_for_end()
        self._marked_s = time.monotonic()
        if self._reached_ms <= self._marked_ms:
            return
        self._marked_ms = self._reached_ms
        header = [Origin(self.partition.partition, -1, 0, self._reached_ms).header()]
        marks = [Message(None, MARK_BODY, target, header) for target in range(self._targets)]
        for why in (await self._sender.send(marks)).values():
            raise MessageSizeTooLargeError(why)

    async def _look_for_end(self) -> None:
        """If everything that the topic had a moment ago was sent on, log time may follow the clock."""
        asked_ms = time.time_ns() // 1_000_000
        try:
            end = (await self.inquiry.ends([self.partition]))[self.partition]
        except TROUBLES:
            return  # nobody says that there is no more
        if self.next_offset == end and not self.is_held_up:
            self.moved_s = time.monotonic()
            self._reached_ms = max(self._reached_ms, asked_ms - round(self.settings.margin_s * 1_000))


def _plain(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
