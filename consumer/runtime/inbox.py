"""Between the source and a partition: one batch, handed over whole or not at all."""

from __future__ import annotations

import asyncio

from consumer.events import RawBatch


class Inbox:
    """Holds one batch at most; whoever brings another one waits. That wait is the back-pressure."""

    def __init__(self) -> None:
        self._batch: RawBatch | None = None
        self._is_open = asyncio.Event()
        self._has_batch = asyncio.Event()
        self._is_free = asyncio.Event()
        self._is_closed = False
        self._is_open.set()
        self._is_free.set()

    @property
    def is_empty(self) -> bool:
        """Whether everything that was brought has been taken."""
        return self._batch is None

    def pause(self) -> None:
        """Let whoever brings a batch wait."""
        self._is_open.clear()

    def resume(self) -> None:
        """Let them in again."""
        self._is_open.set()

    def close(self) -> None:
        """Let nobody wait any more: nothing is taken from now on."""
        self._is_closed = True
        self._is_open.set()
        self._is_free.set()

    async def room(self) -> bool:
        """Wait until a batch can be put; False if none can any more. Safe to cancel."""
        while not self._is_closed and not (self._is_open.is_set() and self._batch is None):
            await self._is_open.wait()
            await self._is_free.wait()
        return not self._is_closed

    def put(self, batch: RawBatch) -> None:
        """Bring a batch, after `room` and without a wait in between."""
        self._batch = batch
        self._is_free.clear()
        self._has_batch.set()

    async def next(self) -> RawBatch:
        """Wait for a batch; it stays inside until `taken`."""
        while self._batch is None:
            self._has_batch.clear()
            await self._has_batch.wait()
        return self._batch

    def taken(self) -> None:
        """Make room for the next one."""
        self._batch = None
        self._is_free.set()
