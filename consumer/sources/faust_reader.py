"""A partition that is ours, read through a bounded buffer: what the two kinds of topic have in common."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import KafkaError

from consumer.sources.faust_columns import Record
from consumer.sources.faust_settings import FaustSettings

if TYPE_CHECKING:
    from faust.types import TP

    from consumer.sources.faust_app import Inlet
    from consumer.sources.faust_inquiry import Inquiry
    from consumer.sources.faust_sending import Sender

TROUBLES = (KafkaError, TimeoutError)
"""What comes of asking brokers that are away; the question is put again."""
AGAIN_S = 1.0


class Clients(NamedTuple):
    """What a reader talks to brokers through."""

    inlet: Inlet
    """Fetches, and is told where and when to."""
    inquiry: Inquiry
    sender: Sender


class Reader(ABC):
    """Takes records from the fetch, and gives them on at its own pace, in a task of its own."""

    def __init__(self, partition: TP, settings: FaustSettings, clients: Clients) -> None:
        self.partition = partition
        self.settings = settings
        self.inlet = clients.inlet
        self.inquiry = clients.inquiry
        self.moved_s = time.monotonic()
        """When something was read last, or there was nothing to read."""
        self.next_offset: int | None = None
        """Behind what was given on; None before reading has begun."""
        self.wanted_offset: int | None = None
        """Where the next fetch is to begin; None: it goes on behind the last one."""
        self._is_sought = False
        self._waiting: deque[Record] = deque()
        self._is_paused = False
        self._is_halted = False
        self._has_records = asyncio.Event()
        self._is_busy = asyncio.Lock()
        """Held where it must not be cancelled."""
        self._task: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to read."""
        self._task = tasks.create_task(
            self._run(), name=f"read {self.partition.topic}/{self.partition.partition}"
        )

    def halt(self) -> None:
        """Give nothing on any more, though the partition stays ours."""
        self._is_halted = True

    async def stop(self) -> None:
        """Give nothing on any more; what waits here is left to whoever reads next."""
        async with self._is_busy:
            if self._task is not None:
                self._task.cancel()
        if self._task is not None:
            await asyncio.wait((self._task,))
        self._waiting.clear()

    @property
    def is_held_up(self) -> bool:
        """Whether records wait here because whoever is to take them does not."""
        return self._is_paused or bool(self._waiting)

    @property
    def newest(self) -> int | None:
        """The newest offset of the partition, as the brokers said with what was fetched last."""
        try:
            end: int | None = self.inlet.highwater(self.partition)  # None until something was fetched
        except KafkaError:
            return None  # it is not ours any more
        return None if end is None else end - 1

    def deliver(self, records: Sequence[Record]) -> None:
        """Take records; when too many wait no more are fetched."""
        if self.wanted_offset is not None or not self._is_sought:
            return  # they are from where an earlier owner was
        self.moved_s = time.monotonic()
        self._waiting.extend(records)
        if len(self._waiting) >= self.settings.buffered_max and not self._is_paused:
            self._is_paused = True
            self.inlet.pause_partitions({self.partition})
        self._has_records.set()

    async def next_records(self, wait_s: float) -> list[Record]:
        """The next records, `batch_max` at most; none after `wait_s` seconds without any."""
        if not self._waiting:
            self._has_records.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._has_records.wait()
            except TimeoutError:
                return []
        if self._is_halted:
            await asyncio.sleep(wait_s)
            return []
        waiting = self._waiting
        count = min(len(waiting), self.settings.batch_max)
        records = [waiting.popleft() for _ in range(count)]
        if self._is_paused and len(waiting) <= self.settings.buffered_max // 2:
            self._is_paused = False
            self.inlet.resume_partitions({self.partition})
        return records

    def begin_at(self, offset: int) -> None:
        """Read from here on; what was fetched from elsewhere, or is being fetched, is not taken."""
        self._waiting.clear()
        self._is_paused = False
        self.wanted_offset = self.next_offset = offset
        self.inlet.pause_partitions({self.partition})

    def sought(self) -> None:
        """The fetch that follows is from where it was wanted."""
        self.wanted_offset, self._is_sought = None, True
        self.moved_s = time.monotonic()
        self.inlet.resume_partitions({self.partition})

    @abstractmethod
    async def _run(self) -> None:
        """Read until cancelled."""
