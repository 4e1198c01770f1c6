"""Look into the Event Hubs client, and only into the release that this was written for.

Besides here that is done by the fast receive path alone. Nothing depends on it: with another release these
functions find nothing, and the source then renews its links more often (D8), and lets a receiver that cannot
connect try without a pause (D5b) or hang (D6) for the seconds until the watchdog has noticed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

import azure.eventhub
from azure.eventhub.aio import EventHubConsumerClient

from consumer.sources.eventhub_watchdog import Backoff

KNOWN_RELEASE = "5.15.1"
DELIVERIES_MAX_UNSEEN = 4_000_000
"""Deliveries of a link when its tags cannot be cleared: about 400 MB of them, if the peer sends any."""


def is_known() -> bool:
    """Whether the installed client is the release that this was written for."""
    return azure.eventhub.__version__ == KNOWN_RELEASE


class Upkeep:
    """Clears away, time and again, what the receivers of a client leave behind."""

    def __init__(self) -> None:
        self._writers: set[asyncio.StreamWriter] = set()

    def tidy(self, client: EventHubConsumerClient) -> None:
        """Forget the tags of deliveries (D8); close connections that a receiver has replaced.

        The client drops a broken connection without closing it, and leaves the socket to the collector.
        """
        links = open_links(client)
        for link in links:
            tags = _reach(link, "_handler", "_link", "_received_delivery_tags")
            if isinstance(tags, set):
                tags.clear()
        writers = {writer for link in links if (writer := _writer(link)) is not None}
        for replaced in self._writers - writers:
            replaced.transport.abort()
        self._writers = writers


class Opening:
    """Opens the link of one receiver, in place of its own method."""

    def __init__(self, receiver: Any, limit_s: float) -> None:
        self._receiver = receiver
        self._open = receiver._open  # noqa: SLF001 - see the module
        self._limit_s = limit_s
        self._backoff = Backoff(first_s=0.2, limit_s=2)
        self.closed_since_s: float | None = None
        """Since when the link has been closed, in monotonic seconds; None while it is open."""
        self._tried_s = 0.0
        self._limit: asyncio.Timeout | None = None

    async def __call__(self) -> None:
        """Open it, unless it is. Raises, after a pause, what the client raises or `TimeoutError`."""
        if self._receiver.running:
            return  # it is asked before every read
        self._tried_s = time.monotonic()
        if self.closed_since_s is None:
            self.closed_since_s = self._tried_s
        try:
            async with asyncio.timeout(self._limit_s) as self._limit:
                await self._open()
        except asyncio.CancelledError:
            cut([self._receiver])  # closing leaves a connection open that was just being made
            raise
        except Exception:
            # The client would try again at once, and reads its certificates each time.
            self._limit = None
            cut([self._receiver])
            await asyncio.sleep(self._backoff.next_s())
            raise
        finally:
            self._limit = None
        self.closed_since_s = None
        self._backoff.reset()

    def abandon(self, *, after_s: float) -> None:
        """End an attempt that takes longer than `after_s` seconds, in favour of another one."""
        if self._limit is not None and time.monotonic() - self._tried_s > after_s:
            self._limit.reschedule(asyncio.get_running_loop().time())
            self._limit = None


def open_patiently(client: EventHubConsumerClient, partition: str, limit_s: float) -> Opening | None:
    """Have a partition's receiver try for `limit_s` seconds at a time, and pause after it has failed."""
    for link in open_links(client, partition):
        link._open = opening = Opening(link, limit_s)  # noqa: SLF001 - see the module
        return opening
    return None


_Receive = TypeVar("_Receive")


def receive_with(
    client: EventHubConsumerClient, partition: str, make: Callable[[Any], _Receive]
) -> _Receive | None:
    """Have a partition's receiver receive with what `make` makes for it, in place of its own method."""
    for link in open_links(client, partition):
        link.receive = receive = make(link)
        return receive
    return None


def open_links(client: EventHubConsumerClient, partition: str | None = None) -> list[Any]:
    """The receivers of a client, to be `cut` when the client has let go of them."""
    if not is_known():
        return []
    return [
        receiver
        for processor in (_reach(client, "_event_processors") or {}).values()
        for owner, receiver in (_reach(processor, "_consumers") or {}).items()
        if partition in (None, owner)
    ]


def cut(links: list[Any]) -> None:
    """Abort connections that closing has left open: those that were being made, or hang (D6)."""
    for link in links:
        writer = _writer(link)
        if writer is not None:
            writer.transport.abort()


def _writer(link: Any) -> asyncio.StreamWriter | None:
    writer = _reach(link, "_handler", "_connection", "_transport", "writer")
    return writer if isinstance(writer, asyncio.StreamWriter) else None


def _reach(start: Any, *names: str) -> Any:
    value = start
    for name in names:
        value = getattr(value, name, None)
    return value
