"""Ask the brokers what they hold, on a connection of its own: a fetch that waits would hold the answer up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer

from consumer.sources.faust_app import IDLE_MAX_MS, client_options
from consumer.sources.faust_settings import FaustSettings

if TYPE_CHECKING:
    from faust.types import TP

_REQUEST_MS = 4_000
"""After this the client gives a connection up; if others gave up first, a dead one would stay."""
_ANSWER_S = 10.0


class Inquiry:
    """A client that belongs to no group. Everything raises `KafkaError` or `TimeoutError` after 10 s."""

    def __init__(self, settings: FaustSettings) -> None:
        """Needs a running event loop, to which it belongs."""
        self._client = AIOKafkaConsumer(
            client_id=f"{settings.group}-inquiry",
            group_id=None,
            enable_auto_commit=False,
            request_timeout_ms=_REQUEST_MS,
            metadata_max_age_ms=IDLE_MAX_MS,
            connections_max_idle_ms=IDLE_MAX_MS,
            **client_options(settings),
        )

    async def start(self) -> None:
        """Connect."""
        async with asyncio.timeout(_ANSWER_S):
            await self._client.start()

    async def ends(self, partitions: Iterable[TP]) -> Mapping[TP, int]:
        """The offset that will come next in each partition."""
        async with asyncio.timeout(_ANSWER_S):
            ends: Mapping[TP, int] = await self._client.end_offsets(list(partitions))
            return ends

    async def limits(self, partition: TP) -> tuple[int, int]:
        """The earliest offset that is kept, and the one that will come next."""
        async with asyncio.timeout(_ANSWER_S):
            begins = await self._client.beginning_offsets([partition])
        return begins[partition], (await self.ends([partition]))[partition]

    async def offset_of(self, partition: TP, time_ms: int) -> int | None:
        """The first offset of a time or later; None: there is none yet."""
        async with asyncio.timeout(_ANSWER_S):
            found = (await self._client.offsets_for_times({partition: time_ms}))[partition]
        return None if found is None else int(found.offset)

    async def stop(self) -> None:
        """Hang up."""
        await self._client.stop()
