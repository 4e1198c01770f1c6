"""A partition with a pipeline: its records go to the intake, from the checkpoint on that the intake has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from consumer.errors import EventsLost, FenceLost, InturnError
from consumer.events import Checkpoint
from consumer.sources import Intake
from consumer.sources.faust_columns import LogTime, keyed_batch, rekeyed_batch
from consumer.sources.faust_reader import AGAIN_S, TROUBLES, Clients, Reader
from consumer.sources.faust_settings import FaustSettings

if TYPE_CHECKING:
    from faust.types import TP

_log = structlog.get_logger("inturn.kafka")

_LOOK_S = 1.0
"""How soon it is noticed that the intake has given the partition up."""
_AGAIN_MAX_S = 15.0


class Feed(Reader):
    """One partition of the topic that pipelines read."""

    def __init__(
        self,
        partition: TP,
        settings: FaustSettings,
        clients: Clients,
        intake: Intake,
        say: Callable[[str, str | None], None],
        source_partitions: int,
    ) -> None:
        """`say` is told why the partition cannot be read, and None when it can.

        `source_partitions`: of the source topic, if this is a partition of a re-key topic.
        """
        super().__init__(partition, settings, clients)
        self.name = str(partition.partition)
        self._intake = intake
        self._say = say
        self._source_partitions = source_partitions
        self._is_assigned = False
        self._is_handing_over = False

    @property
    def is_held_up(self) -> bool:
        """Whether the intake does not take what it is given, or more waits here."""
        return self._is_handing_over or super().is_held_up

    async def give_back(self) -> None:
        """Finish what is in flight and store it; the partition may go to another replica."""
        await self.stop()
        await self._revoke(lost=False)

    async def _run(self) -> None:
        wait_s = AGAIN_S
        while True:
            try:
                await self._read()
            except FenceLost:
                await self._revoke(lost=True)
            except EventsLost as error:
                await self._revoke(lost=False)
                self._say(self.name, str(error))
            except (InturnError, *TROUBLES) as error:
                why = str(error) or type(error).__name__
                self._say(self.name, why)
                _log.warning("A partition cannot be read yet.", partition=self.name, error=why)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _AGAIN_MAX_S)

    async def _revoke(self, *, lost: bool) -> None:
        if self._is_assigned:
            self._is_assigned = False
            self.inlet.pause_partitions({self.partition})
            await self._intake.revoked(self.name, lost=lost)

    async def _read(self) -> None:
        first, end = await self.inquiry.limits(self.partition)
        async with self._is_busy:  # a partition that is half assigned cannot be given back
            checkpoint = await self._assign((first, end))
        if checkpoint.sequence_number >= end:
            await self._revoke(lost=False)
            raise _MadeAnew(
                f"the checkpoint {checkpoint.sequence_number} is beyond the newest message {end - 1}: "
                "the topic was made anew, or the checkpoint belongs to another one"
            )
        self._say(self.name, None)
        self.begin_at(max(checkpoint.sequence_number + 1, first))
        log_time = LogTime(self._source_partitions)
        is_event_hubs = self.settings.security.is_event_hubs
        while True:
            records = await self.next_records(_LOOK_S)
            if not records:
                if self._intake.is_lost(self.name):
                    raise FenceLost(f"Partition {self.name} has another owner.")
                continue
            if self.settings.rekey_topic is None:
                batch = keyed_batch(self.name, records, self.newest, is_event_hubs=is_event_hubs)
            else:
                batch = rekeyed_batch(self.name, records, self.newest, log_time)
            self._is_handing_over = True
            try:
                await self._intake.received(batch)
            finally:
                self._is_handing_over = False
            self.next_offset = records[-1].offset + 1

    async def _assign(self, limits: tuple[int, int]) -> Checkpoint:
        start = None
        if self.settings.rekey_topic is None and self.settings.start != "earliest":
            first = await self.inquiry.first(self.partition, self.settings.start, limits)
            start = Checkpoint(first - 1, str(first - 1))
        checkpoint = await self._intake.assigned(self.name, start=start)
        self._is_assigned = True
        return checkpoint


class _MadeAnew(InturnError):
    """What is stored does not belong to what is there."""
