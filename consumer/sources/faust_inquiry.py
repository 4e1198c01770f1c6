"""Ask the brokers what they hold, on a connection of its own: a fetch that waits would hold the answer up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from consumer.sources.faust_app import IDLE_MAX_MS, client_options
from consumer.sources.faust_settings import FaustSettings

if TYPE_CHECKING:
    from faust.types import TP

_ANSWER_S = 5.0
_HANG_UP_S = 2.0
_CALM_S = 1.0
"""After a connection failed nobody tries the next one sooner."""


class Inquiry:
    """A client that belongs to no group, and is replaced when it does not answer.

    It may never find out by itself that its connection is dead. Questions raise `KafkaError` or
    `TimeoutError`, after 10 s at the latest.
    """

    def __init__(self, settings: FaustSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self._failed_s = float("-inf")
        self._connecting = asyncio.Lock()

    async def start(self) -> None:
        """Connect."""
        await self._connected()

    async def ends(self, partitions: Iterable[TP]) -> Mapping[TP, int]:
        """The offset that will come next in each partition."""
        asked = list(partitions)
        ends: Mapping[TP, int] = await self._ask(lambda client: client.end_offsets(asked))
        return ends

    async def limits(self, partition: TP) -> tuple[int, int]:
        """The earliest offset that is kept, and the one that will come next."""
        begins: Mapping[TP, int] = await self._ask(lambda client: client.beginning_offsets([partition]))
        return begins[partition], (await self.ends([partition]))[partition]

    async def offset_of(self, partition: TP, time_ms: int) -> int | None:
        """The first offset of a time or later; None: there is none yet."""
        found = (await self._ask(lambda client: client.offsets_for_times({partition: time_ms})))[partition]
        return None if found is None else int(found.offset)

    async def first(self, partition: TP, start: str | datetime, limits: tuple[int, int]) -> int:
        """The offset of the first message when told to begin at `start`; `limits` are the partition's."""
        begin, end = limits
        if not isinstance(start, datetime):
            return end if start == "latest" else begin
        found = await self.offset_of(partition, round(start.timestamp() * 1_000))
        return end if found is None else found

    async def stop(self) -> None:
        """Hang up."""
        await self._drop(self._client)

    async def _ask(self, question: Callable[[Any], Awaitable[Any]]) -> Any:
        client = await self._connected()
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await question(client)
        except (KafkaError, TimeoutError):
            await self._drop(client)
            raise

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is not None:
                return self._client
            if time.monotonic() - self._failed_s < _CALM_S:
                raise TimeoutError("a connection has just failed")
            client = AIOKafkaConsumer(
                client_id=f"{self._settings.group}-inquiry",
                group_id=None,
                enable_auto_commit=False,
                metadata_max_age_ms=IDLE_MAX_MS,
                connections_max_idle_ms=IDLE_MAX_MS,
                **client_options(self._settings),
            )
            try:
                async with asyncio.timeout(_ANSWER_S):
                    await client.start()
            except (KafkaError, TimeoutError):
                self._failed_s = time.monotonic()
                await self._drop(client)
                raise
            self._client = client
            return client

    async def _drop(self, client: Any) -> None:
        if client is None:
            return
        if self._client is client:
            self._client = None
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(_HANG_UP_S):
                await client.stop()
