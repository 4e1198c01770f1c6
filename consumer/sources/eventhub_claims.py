"""How replicas tell each other, in nothing but the owner's name, that a partition is to change hands.

The client of Azure steals what it wants: it writes itself in as the owner, and the old one finds out. What
was in flight is then done twice. Ours asks: it writes ``OLD>NEW``, the old owner finishes what is in
flight, and puts the new one in. For any other client of the group that is an owner it does not know, so
it takes it for a theft, as it always was; and what nobody renews expires, whatever is written there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

Ownership: TypeAlias = dict[str, Any]
"""As the SDK passes it around; see `consumer.stores.ownership`."""


_MARK = ">"
CLOCKS_APART_S = 10.0
"""The store's clock may differ from ours by so much, and nothing is taken from an owner that is well."""


class Title(NamedTuple):
    """Who owns a partition, and who is to have it."""

    owner: str
    """"" for nobody."""
    heir: str = ""
    """"" for nobody."""

    @classmethod
    def of(cls, ownership: Ownership) -> Title:
        """Read an ownership."""
        owner, _, heir = str(ownership["owner_id"]).partition(_MARK)
        return cls(owner, heir)

    def __str__(self) -> str:
        return f"{self.owner}{_MARK}{self.heir}" if self.heir else self.owner

    def without(self, replica: str) -> Title:
        """The title when a replica has gone."""
        if self.owner == replica:
            return Title(self.heir)
        return Title(self.owner) if self.heir == replica else self

    def among_living(self, is_dead: Callable[[str], bool]) -> Title:
        """The title when all who are dead have gone."""
        title = self
        for replica in self:
            title = title.without(replica) if is_dead(replica) else title
        return title

    def holder(self, reader: str) -> str:
        """Who counts as the owner for `reader`: whoever reads it until it is handed over, else the heir."""
        return self.owner if self.owner == reader or not self.heir else self.heir


class Ages:
    """How long ago each partition's ownership was written, by our own clock alone.

    The store's stamps are compared with our clock once, when a partition is first seen, and then not to
    the second. From then on an ownership ages from the moment at which we found it changed: a clock that
    is wrong must not make an owner that is well look dead.
    """

    def __init__(
        self, now_s: Callable[[], float] = time.monotonic, wall_s: Callable[[], float] = time.time
    ) -> None:
        self._now_s = now_s
        self._wall_s = wall_s
        self._written: dict[str, tuple[object, float]] = {}
        """By partition the version that was seen last, and when it was written, on the monotonic clock."""

    def age_s(self, ownership: Ownership) -> float:
        """Seconds since an ownership was written; call it whenever one was read."""
        partition, version = str(ownership["partition_id"]), ownership["etag"]
        known = self._written.get(partition)
        if known is None:
            told_s = self._wall_s() - float(ownership["last_modified_time"])
            known = (version, self._now_s() - max(0.0, told_s - CLOCKS_APART_S))
        elif known[0] != version:
            known = (version, self._now_s())
        self._written[partition] = known
        return self._now_s() - known[1]
