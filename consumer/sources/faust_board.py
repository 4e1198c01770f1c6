"""What of the topics is ours: who reads each partition, and how far everything is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import structlog

from consumer.errors import SourceUnavailable
from consumer.sources import Intake
from consumer.sources.faust_app import Inlet
from consumer.sources.faust_columns import Record
from consumer.sources.faust_feed import Feed
from consumer.sources.faust_inquiry import Inquiry
from consumer.sources.faust_reader import Clients, Reader
from consumer.sources.faust_rekey import Rekeyer, Rekeying, Reports
from consumer.sources.faust_sending import Sender
from consumer.sources.faust_settings import FaustSettings

if TYPE_CHECKING:
    import faust
    from faust.types import TP

_log = structlog.get_logger("inturn.kafka")


class BoardParts(NamedTuple):
    """What a board is made of."""

    settings: FaustSettings
    intake: Intake
    tasks: asyncio.TaskGroup
    rekeying: Rekeying
    counts: Mapping[str, int]
    """The partitions of each topic."""
    inquiry: Inquiry
    sender: Sender
    say: Callable[[str, str | None], None]
    """Told why a partition cannot be read, and None when it can."""


class FaustBoard:
    """The partitions of this replica: the `Board` of its app."""

    def __init__(self, parts: BoardParts) -> None:
        self._parts = parts
        self.inquiry = parts.inquiry
        self.app: faust.App | None = None
        """Set as soon as there is one: the app is made with its board."""
        self.readers: dict[TP, Reader] = {}
        self.failure: SourceUnavailable | None = None
        self.has_failed = asyncio.Event()
        self.was_assigned = False
        self.rekeyed = 0
        """Events that were sent on."""
        self.put_aside = 0
        """Events that were too large for that."""
        self.is_stopped = False
        """Nothing new is handed over any more."""
        self._done: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}

    def fail(self, failure: SourceUnavailable) -> None:
        """End the source for a reason; the first one counts."""
        if self.failure is None:
            self.failure = failure
            self.has_failed.set()

    def stop(self) -> None:
        """Hand over nothing new from now on."""
        self.is_stopped = True
        for reader in self.readers.values():
            reader.halt()

    async def assigned(self, partitions: set[TP]) -> None:
        """Begin to read partitions."""
        self.was_assigned = True
        for partition in sorted(partitions):
            if partition not in self.readers and not self.is_stopped:
                reader = self.readers[partition] = self._new_reader(partition)
                reader.start(self._parts.tasks)

    async def revoked(self) -> None:
        """Give every partition back, drained."""
        readers = list(self.readers.values())
        await asyncio.gather(*(reader.stop() for reader in self.rekeyers()))
        await asyncio.gather(*(reader.give_back() for reader in readers if isinstance(reader, Feed)))
        self.readers.clear()

    def wanted(self) -> list[tuple[TP, int]]:
        """Where the next fetch of partitions is to begin, if not behind the last one."""
        readers = self.readers.items()
        return [(tp, reader.wanted_offset) for tp, reader in readers if reader.wanted_offset is not None]

    def sought(self, partition: TP, offset: int) -> None:
        """The next fetch of a partition begins there."""
        reader = self.readers.get(partition)
        if reader is not None and reader.wanted_offset == offset:
            reader.sought()

    def deliver(self, partition: TP, records: Sequence[Record]) -> None:
        """Hand records to whoever reads the partition."""
        reader = self.readers.get(partition)
        if reader is not None and not self.is_stopped:
            reader.deliver(records)

    def rekeyers(self) -> list[Rekeyer]:
        """Who sends events on."""
        return [reader for reader in self.readers.values() if isinstance(reader, Rekeyer)]

    def count_rekeyed(self, events: int) -> None:
        """Count events that were sent on."""
        self.rekeyed += events

    def count_put_aside(self, events: int) -> None:
        """Count events that were too large to be sent on."""
        self.put_aside += events

    def note_done(self, partition: TP, offset: int) -> None:
        """Everything before this offset is done."""
        self._done[partition] = max(offset, self._done.get(partition, 0))

    def done(self) -> Mapping[TP, int]:
        """What is done and not committed yet."""
        return {tp: offset for tp, offset in self._done.items() if self._committed.get(tp) != offset}

    def committed(self, offsets: Mapping[TP, int]) -> None:
        """Note what was committed."""
        self._committed.update(offsets)

    def _new_reader(self, partition: TP) -> Reader:
        parts, app = self._parts, self.app
        assert app is not None
        inlet = app.consumer
        assert isinstance(inlet, Inlet)
        clients = Clients(inlet, parts.inquiry, parts.sender)
        counts = parts.counts[parts.settings.topic], parts.counts[parts.settings.read_topic]
        if partition.topic == parts.settings.read_topic:
            return Feed(partition, parts.settings, clients, parts.intake, parts.say, counts[0])
        return Rekeyer(
            partition,
            parts.settings,
            clients,
            parts.rekeying,
            Reports(self.note_done, self.count_rekeyed, self.count_put_aside, self.fail),
            counts,
        )
