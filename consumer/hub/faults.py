"""Failures on demand, for tests: what a hub can do to its clients, switched on and off in the process.

A lasting fault is a context manager and has a `clear`; where a hub or a partition is named it
concerns only that one. There is no network port for any of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Protocol, Self

from consumer.hub.addresses import Address
from consumer.hub.entity import STOLEN
from consumer.hub.performatives import AmqpError


def busy() -> AmqpError:
    """What an overloaded service says."""
    return AmqpError(
        "com.microsoft:server-busy", "The server is busy. Please retry the operation. (injected)"
    )


EVERYTHING = Address("")


class Kind(StrEnum):
    """What a lasting fault does."""

    STALL = "stall"
    """Nothing is sent or read any more; the connection stays."""
    MUTE = "mute"
    """New connections are accepted and never answered, not even after the fault is cleared."""
    REFUSE = "refuse"
    """New connections are closed at once."""
    BUSY = "busy"
    """Sends are rejected and receivers detached as the service does when it is overloaded."""
    DENY_TOKENS = "deny_tokens"
    """Every token is answered with 401."""
    SLOW = "slow"
    """Receivers get so many events a second and no more."""


class Fault:
    """A lasting fault; it ends with `clear` or with its ``with`` block."""

    def __init__(
        self, kind: Kind, scope: Address, ended: Callable[[Fault], None], rate_per_s: float = 0
    ) -> None:
        self.kind = kind
        self.scope = scope
        self.rate_per_s = rate_per_s
        self._ended = ended

    def concerns(self, address: Address) -> bool:
        """Whether what is at `address` suffers from it."""
        return _within(address, self.scope)

    def clear(self) -> None:
        """End it; doing so twice changes nothing."""
        self._ended(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


class Link(Protocol):
    """What faults must know of a link to an event hub."""

    @property
    def address(self) -> Address:
        """The hub, group and partition."""

    @property
    def client_receives(self) -> bool:
        """Whether events go to the client, not from it."""

    def end(self, error: AmqpError) -> None:
        """Detach it."""


class Peer(Protocol):
    """What faults must know of a connection."""

    def entity_links(self) -> Iterable[Link]:
        """Its links to event hubs."""

    def abort(self) -> None:
        """Reset it."""

    def reconsider(self) -> None:
        """Look again at whether it is stalled, after faults changed."""


class Faults:
    """Everything a test can do to the clients of a running hub."""

    def __init__(self, peers: Callable[[], Iterable[Peer]]) -> None:
        self._peers = peers
        self.active: list[Fault] = []

    def drop_connections(self, hub: str = "", partition: str | None = None) -> int:
        """Reset the connections that have a link there (all, if nothing is named); gives their number."""
        scope = Address(hub, None, partition)
        hit = [peer for peer in self._peers() if not hub or self._touches(peer, scope)]
        for peer in hit:
            peer.abort()
        return len(hit)

    def detach(
        self, condition: str, description: str = "injected", *, hub: str = "", group: str | None = None,
        partition: str | None = None,
    ) -> int:  # fmt: skip
        """Detach links with a condition; gives their number."""
        scope = Address(hub, group, partition)
        hit = [link for peer in self._peers() for link in peer.entity_links() if _within(link.address, scope)]
        for link in hit:
            link.end(AmqpError(condition, description))
        return len(hit)

    def steal(self, hub: str, partition: str, group: str | None = None) -> int:
        """Detach receivers as if another one with a higher epoch had come; gives their number."""
        scope = Address(hub, group, partition)
        links = [link for peer in self._peers() for link in peer.entity_links() if link.client_receives]
        hit = [link for link in links if _within(link.address, scope)]
        for link in hit:
            link.end(AmqpError(STOLEN, "A receiver with a higher epoch was created. (injected)"))
        return len(hit)

    def stall(self, hub: str = "", partition: str | None = None) -> Fault:
        """Freeze the connections that have a link there, now or later: TCP stays, nothing moves."""
        return self._begin(Kind.STALL, Address(hub, None, partition))

    def mute(self) -> Fault:
        """Accept new connections and never say anything on them."""
        return self._begin(Kind.MUTE)

    def refuse(self) -> Fault:
        """Close new connections as soon as they are made; see also `LocalHub.pause_listening`."""
        return self._begin(Kind.REFUSE)

    def busy(self, hub: str = "", partition: str | None = None) -> Fault:
        """Reject what is sent there and detach who receives there, with ``com.microsoft:server-busy``."""
        fault = self._begin(Kind.BUSY, Address(hub, None, partition))
        for peer in self._peers():
            for link in list(peer.entity_links()):
                if link.client_receives and fault.concerns(link.address):
                    link.end(busy())
        return fault

    def deny_tokens(self) -> Fault:
        """Answer every token with 401."""
        return self._begin(Kind.DENY_TOKENS)

    def slow(self, events_per_s: float, hub: str = "", partition: str | None = None) -> Fault:
        """Deliver at most so many events a second on each link there."""
        return self._begin(Kind.SLOW, Address(hub, None, partition), events_per_s)

    def clear(self) -> None:
        """End all lasting faults."""
        self.active = []
        self._changed()

    def has(self, kind: Kind, address: Address | None = None) -> Fault | None:
        """The fault of a kind that concerns an address (any address, if None), if there is one."""
        for fault in self.active:
            if fault.kind is kind and (address is None or fault.concerns(address)):
                return fault
        return None

    def has_everywhere(self, kind: Kind) -> bool:
        """Whether a fault of a kind is there that names no hub and no partition."""
        return any(fault.kind is kind and fault.scope == EVERYTHING for fault in self.active)

    def _begin(self, kind: Kind, scope: Address = EVERYTHING, rate_per_s: float = 0) -> Fault:
        fault = Fault(kind, scope, self._end, rate_per_s)
        self.active.append(fault)
        self._changed()
        return fault

    def _end(self, fault: Fault) -> None:
        if fault in self.active:
            self.active.remove(fault)
            self._changed()

    def _changed(self) -> None:
        for peer in self._peers():
            peer.reconsider()

    @staticmethod
    def _touches(peer: Peer, scope: Address) -> bool:
        return any(_within(link.address, scope) for link in peer.entity_links())


def _within(address: Address, scope: Address) -> bool:
    """Whether an address lies in a scope; what the scope leaves open matches everything."""
    return (
        (not scope.hub or address.hub.casefold() == scope.hub.casefold())
        and (scope.group is None or (address.group or "").casefold() == scope.group.casefold())
        and (scope.partition is None or address.partition == scope.partition)
    )
