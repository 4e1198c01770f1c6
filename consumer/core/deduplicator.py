"""Recognise an event that was there before.

An identity is remembered when its event is *resolved*, not when it is seen: remembering earlier would
turn an event that was seen and then lost in a crash into a duplicate of itself. What comes meanwhile
waits for the one in flight.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import NamedTuple

import orjson

from consumer.events import Event


class Fingerprint(NamedTuple):
    """An identity and the data that came with it, as digests."""

    identity: bytes
    """16 bytes."""
    data: bytes
    """8 bytes."""


def fingerprint(event: Event) -> Fingerprint:
    """Digest an event's identity and data. The order of keys in the data does not matter."""
    # With the lengths, since a part may hold whatever could stand between the parts.
    identity = "".join(f"{len(part)}:{part}" for part in event.identity).encode()
    data = orjson.dumps(event.data, option=orjson.OPT_SORT_KEYS)
    return Fingerprint(
        hashlib.blake2b(identity, digest_size=16).digest(), hashlib.blake2b(data, digest_size=8).digest()
    )


class Deduplicator:
    """The identities of a partition that were resolved within the window of log time.

    The hard cap evicts the oldest before its time and counts it: from then on a late duplicate may pass.
    """

    def __init__(self, *, window_ms: int, identities_max: int) -> None:
        self._window_ms = window_ms
        self._identities_max = identities_max
        self._resolved: OrderedDict[Fingerprint, int] = OrderedDict()
        """Fingerprint to enqueued time, in order of resolution."""
        self._known: dict[bytes, int] = {}
        """How many fingerprints share an identity: more than one is a conflict."""
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._resolved)

    def is_duplicate(self, print_: Fingerprint) -> bool:
        """Whether the same identity with the same data was resolved."""
        return print_ in self._resolved

    def is_conflict(self, print_: Fingerprint) -> bool:
        """Whether the same identity was resolved with other data only."""
        return print_.identity in self._known and print_ not in self._resolved

    def remember(self, print_: Fingerprint, enqueued_time_ms: int) -> None:
        """Note a resolved event."""
        if print_ not in self._resolved:
            self._known[print_.identity] = self._known.get(print_.identity, 0) + 1
        self._resolved[print_] = enqueued_time_ms
        self._resolved.move_to_end(print_)
        while len(self._resolved) > self._identities_max:
            self._forget_oldest()
            self.evicted += 1

    def expire(self, watermark_ms: int) -> None:
        """Forget what is older than the window."""
        limit = watermark_ms - self._window_ms
        while self._resolved and next(iter(self._resolved.values())) < limit:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        print_, _ = self._resolved.popitem(last=False)
        count = self._known[print_.identity] - 1
        if count:
            self._known[print_.identity] = count
        else:
            del self._known[print_.identity]

    def dump(self) -> list[tuple[bytes, bytes, int]]:
        """Everything that is remembered, oldest first, for a snapshot."""
        return [(print_.identity, print_.data, time) for print_, time in self._resolved.items()]

    def load(self, entries: list[tuple[bytes, bytes, int]]) -> None:
        """Take over what `dump` gave."""
        for identity, data, time in entries:
            self.remember(Fingerprint(identity, data), time)
