"""What all connections share: the event hubs, the limits, the faults, who may come in, and the totals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from consumer.hub.entity import EventHub
from consumer.hub.faults import Faults, Peer
from consumer.hub.performatives import not_found
from consumer.hub.settings import ServerLimits
from consumer.hub.tokens import TokenPolicy


class Totals(msgspec.Struct):
    """Counts since the start."""

    connections: int = 0
    received: int = 0
    """Events that clients sent and the log has."""
    rejected: int = 0
    """Sendings that were refused."""
    delivered: int = 0
    protocol_errors: int = 0
    """Connections closed because of what the client said."""
    idle_drops: int = 0
    """Connections closed because the client said nothing."""


class Namespace:
    """The hubs and everything that their clients have in common."""

    def __init__(
        self, hubs: Iterable[EventHub], limits: ServerLimits, tokens: TokenPolicy, now_ms: Callable[[], int]
    ) -> None:
        self.hubs = {hub.name.casefold(): hub for hub in hubs}
        self.limits = limits
        self.tokens = tokens
        self.now_ms = now_ms
        self.totals = Totals()
        self.peers: set[Peer] = set()
        self.deserted = asyncio.Event()
        """Set while nobody is connected."""
        self.deserted.set()
        self.faults = Faults(lambda: list(self.peers))

    def enter(self, peer: Peer) -> None:
        """Count a connection in."""
        self.peers.add(peer)
        self.totals.connections += 1
        self.deserted.clear()

    def leave(self, peer: Peer) -> None:
        """Count a connection out; doing so twice changes nothing."""
        self.peers.discard(peer)
        if not self.peers:
            self.deserted.set()

    def hub(self, name: str) -> EventHub:
        """An event hub by its name, in any case. Raises `AmqpError` if there is none."""
        found = self.hubs.get(name.casefold())
        if found is None:
            raise not_found(name)
        return found
