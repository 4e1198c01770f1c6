"""The right to redrive a store: taken once, renewed while attempts run, given back at the end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from consumer.errors import FenceLost, StoreUnavailable, TemporaryError
from consumer.runtime.clock import Clock
from consumer.runtime.lease import Lease
from consumer.stores import DeadLetterStore

_CLAIM_S = 60
"""How long the right lasts without being renewed: so long others wait for a redrive that was killed."""
_TRUST_S = 30.0
"""How long after a renewal new attempts may begin; it is renewed after a third of it."""
_LOOK_EVERY_S = 1.0


class AnotherRedrive(TemporaryError):
    """Another redrive has the right to the store."""


class Right:
    """What attempts ask before they begin, as they ask a partition's lease."""

    def __init__(self, store: DeadLetterStore, clock: Clock) -> None:
        self._store = store
        self._owner = str(uuid.uuid4())
        self.lease = Lease("redrive", self._renew, clock, proved_s=clock.monotonic_s(), lasts_s=_TRUST_S)

    async def _renew(self) -> None:
        if not await self._store.claim(self._owner, _CLAIM_S):
            raise FenceLost("Another redrive has taken the right to the dead letters; nothing new is begun.")

    async def take(self) -> None:
        """Take it. Raises `AnotherRedrive`, `StoreUnavailable`."""
        if not await self._store.claim(self._owner, _CLAIM_S):
            raise AnotherRedrive(
                "Another redrive of these dead letters is going on. Wait for its end; for a minute, if it "
                "was killed."
            )

    async def keep(self) -> None:
        """Renew it until cancelled. Raises `FenceLost` if another has it, else `StoreUnavailable`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.lease.keep(), name="keep the right to redrive")
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                if self.lease.look(is_busy=True):
                    raise StoreUnavailable("The store has not answered for too long; nothing new is begun.")

    async def give_back(self) -> None:
        """Let the next one have it at once; if the store does not answer, it ends by itself."""
        with suppress(StoreUnavailable):
            await self._store.release(self._owner)


@asynccontextmanager
async def right_to(store: DeadLetterStore, clock: Clock) -> AsyncIterator[Right]:
    """The right to a store, for as long as the block lasts. Raises `AnotherRedrive`, `StoreUnavailable`."""
    right = Right(store, clock)
    await right.take()
    try:
        yield right
    finally:
        await right.give_back()
