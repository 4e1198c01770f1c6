"""A partition of a spread topic: every event is sent on, by its object, before its message counts as done.

One message may hold events of several objects, so each event becomes a message of its own, with its original
bytes. Sending is in order, and a chunk is done when the brokers have acknowledged all of it; so after a crash
a chunk may come twice, and the second ones are duplicates to the pipelines.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import structlog
from aiokafka.errors import KafkaError

from consumer.errors import SourceUnavailable
from consumer.events import RawBatch
from consumer.sources.faust_app import FaustError
from consumer.sources.faust_columns import MARK_BODY, ORIGIN, Origin, Record, keyed_batch
from consumer.sources.faust_reader import AGAIN_S, TROUBLES, Clients, Reader
from consumer.sources.faust_settings import FaustSettings

if TYPE_CHECKING:
    from faust.types import TP

_log = structlog.get_logger("inturn.kafka")

Keyed: TypeAlias = "list[tuple[bytes, bytes]]"
"""The events of a message: what each is placed by, and its original bytes."""
KeyEvents: TypeAlias = "Callable[[RawBatch], list[Keyed]]"
"""Says for every message of a batch which events are in it, and of which objects."""

MARKS_PER_S_MAX = 200
"""Marks of all partitions of the source, together: with many partitions each of them marks more rarely."""
_MARK_EVERY_S = 1.0


class Reports(NamedTuple):
    """Who is told what."""

    done: Callable[[TP, int], None]
    """The offset behind everything that was acknowledged."""
    sent: Callable[[int], None]
    """How many events were sent on."""
    refuse: Callable[[SourceUnavailable], None]
    """Why an event was not taken."""


class Rekeyer(Reader):
    """Sends the events of one source partition on."""

    def __init__(
        self,
        partition: TP,
        settings: FaustSettings,
        clients: Clients,
        key_events: KeyEvents,
        reports: Reports,
        counts: tuple[int, int],
    ) -> None:
        """`counts`: the partitions of the source topic, and of the re-key topic."""
        super().__init__(partition, settings, clients)
        self._producer = clients.producer
        self._key_events = key_events
        self._reports = reports
        self._targets = counts[1]
        self._mark_every_s = max(_MARK_EVERY_S, counts[0] * counts[1] / MARKS_PER_S_MAX)
        self._marked_s = 0.0
        self._marked_ms = 0
        self._reached_ms = 0
        """Everything that was enqueued before this was sent on."""

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
            first = end if self.settings.start == "latest" else begin
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
        topic, partition = self.settings.rekey_topic, self.partition.partition
        assert topic is not None
        is_event_hubs = self.settings.security.is_event_hubs
        batch = keyed_batch(str(partition), records, None, is_event_hubs=is_event_hubs)
        now_ms = time.time_ns() // 1_000_000
        sent: list[Awaitable[object]] = []
        for row, (record, events) in enumerate(zip(records, self._key_events(batch), strict=True)):
            # A producer's clock that is ahead would hold everybody's events until that time has come.
            time_ms = min(batch.enqueued_times_ms[row], now_ms)
            self._reached_ms = max(self._reached_ms, time_ms)
            others = [header for header in record.headers if header[0] != ORIGIN]
            if others and is_event_hubs:
                others = [(name, _plain(batch.properties_at(row)[name])) for name, _ in others]
            for index, (key, body) in enumerate(events):
                origin = Origin(partition, record.offset, index, time_ms)
                sent.append(await self._send(key, body, self._target(key), [*others, origin.header()]))
        await asyncio.gather(*sent)
        self._reports.sent(len(sent))

    def _target(self, key: bytes) -> int:
        return int.from_bytes(key[:8], "big") % self._targets

    async def _send(
        self, key: bytes | None, body: bytes, target: int, headers: list[tuple[str, bytes]]
    ) -> Awaitable[object]:
        topic = self.settings.rekey_topic
        assert topic is not None
        return await self._producer.send(topic, key, body, target, None, headers)

    async def _mark(self) -> None:
        """Say in every partition of the re-key topic how far this one of the source is."""
        if not self.is_held_up:
            await self._look_for_end()
        self._marked_s = time.monotonic()
        if self._reached_ms <= self._marked_ms:
            return
        self._marked_ms = self._reached_ms
        header = [Origin(self.partition.partition, -1, 0, self._reached_ms).header()]
        await asyncio.gather(
            *[await self._send(None, MARK_BODY, target, header) for target in range(self._targets)]
        )

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
