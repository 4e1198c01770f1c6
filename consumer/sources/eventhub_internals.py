"""The only place that looks into the Event Hubs client, and only into the release it was written for.

Nothing depends on it: with another release these functions find nothing, and the source then renews its
links more often (D8) and leaves a connection that hangs to the system (D6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import azure.eventhub
from azure.eventhub.aio import EventHubConsumerClient

KNOWN_RELEASE = "5.15.1"
DELIVERIES_MAX_UNSEEN = 4_000_000
"""Deliveries of a link when its tags cannot be cleared: about 400 MB of them, if the peer sends any."""


def is_known() -> bool:
    """Whether the installed client is the release that this was written for."""
    return azure.eventhub.__version__ == KNOWN_RELEASE


def clear_delivery_tags(client: EventHubConsumerClient) -> int:
    """Forget the tags of deliveries, which receivers keep and never need; gives how many there were (D8)."""
    cleared = 0
    for _, handler in _handlers(client):
        tags = _reach(handler, "_link", "_received_delivery_tags")
        if isinstance(tags, set):
            cleared += len(tags)
            tags.clear()
    return cleared


def transports(client: EventHubConsumerClient, partition: str | None = None) -> list[asyncio.WriteTransport]:
    """The connections of receivers, to be aborted if closing the receivers leaves them open (D6)."""
    found = []
    for owner, handler in _handlers(client):
        writer = _reach(handler, "_connection", "_transport", "writer")
        if partition in (None, owner) and isinstance(writer, asyncio.StreamWriter):
            found.append(writer.transport)
    return found


def _handlers(client: EventHubConsumerClient) -> Iterator[tuple[str, Any]]:
    if not is_known():
        return
    for processor in list((_reach(client, "_event_processors") or {}).values()):
        for partition, consumer in list((_reach(processor, "_consumers") or {}).items()):
            yield partition, _reach(consumer, "_handler")


def _reach(start: Any, *names: str) -> Any:
    value = start
    for name in names:
        value = getattr(value, name, None)
    return value
