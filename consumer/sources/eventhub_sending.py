"""Send messages to a hub, in batches of one partition key.

The client says that a batch was taken or that it was not; an attempt that is cut off leaves its link in a
state that nobody knows. Such a client is closed, and the next call makes a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import structlog
from azure.core.exceptions import AzureError
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.exceptions import EventHubError

from consumer.errors import SourceUnavailable
from consumer.sources.eventhub_client import CLOSE_TIMEOUT_S, make_sending_client, within
from consumer.sources.eventhub_errors import explain
from consumer.sources.eventhub_settings import Address, EventHubSettings

SEND_TIMEOUT_S = 30.0
"""For one batch, connecting included; then the hub counts as away."""

_log = structlog.get_logger("inturn.eventhub")


class Message(Protocol):
    """What is sent."""

    @property
    def body(self) -> bytes:
        """As it is."""

    @property
    def properties(self) -> Mapping[str, str | int]:
        """Application properties."""

    @property
    def partition_key(self) -> str:
        """Messages of one key go to one partition, in order."""


class HubSender:
    """Sends to one hub, one batch at a time."""

    def __init__(self, settings: EventHubSettings, address: Address) -> None:
        self._settings = settings
        self._address = address
        self._client: EventHubProducerClient | None = None
        self._turn = asyncio.Lock()

    async def send(self, messages: Sequence[Message]) -> None:
        """Send messages. Raises `SourceUnavailable`; then any part of them may have been sent."""
        by_key: dict[str, list[Message]] = {}
        for message in messages:
            by_key.setdefault(message.partition_key, []).append(message)
        async with self._turn:
            for key, group in by_key.items():
                try:
                    await within(SEND_TIMEOUT_S, lambda key=key, group=group: self._send_group(key, group))  # type: ignore[misc]
                except (EventHubError, AzureError, OSError, TimeoutError, ValueError) as error:
                    await self._give_up()
                    said = str(explain(error, self._settings, self._address))
                    raise SourceUnavailable(said.replace("Data Receiver", "Data Sender")) from error
                except BaseException:
                    await self._give_up()
                    raise

    async def _send_group(self, key: str, group: Sequence[Message]) -> None:
        if self._client is None:
            self._client = make_sending_client(self._settings, self._address)
        client = self._client
        batch = await client.create_batch(partition_key=key)
        for message in group:
            data = _data_of(message)
            try:
                batch.add(data)
            except ValueError:  # the batch is full
                await client.send_batch(batch)
                batch = await client.create_batch(partition_key=key)
                batch.add(data)
        await client.send_batch(batch)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._give_up()

    async def _give_up(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            await within(CLOSE_TIMEOUT_S, client.close)
        except (TimeoutError, EventHubError, SourceUnavailable):
            _log.debug("A client of the hub could not be closed in time.")


def _data_of(message: Message) -> EventData:
    data = EventData(message.body)
    data.content_type = "application/json"
    data.properties = cast("dict[str | bytes, Any]", dict(message.properties))
    return data
