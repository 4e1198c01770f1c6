"""The way out of a connection: frames are gathered, and written once in a turn of the event loop.

Links that have something to deliver take turns, a bounded piece each, and none while the client
does not take what is there already.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from consumer.hub import performatives as p

LINGER_S = 5.0
"""How long a closing connection may take to hand over what was written; then it is reset."""


class Deliverer(Protocol):
    """Whatever has things to deliver when its turn comes."""

    def deliver(self) -> bool:
        """Send a bounded piece; says whether there is more that may go."""


class Outlet:
    """Writes to one client."""

    def __init__(self, transport: asyncio.Transport, write_buffer_bytes_max: int) -> None:
        transport.set_write_buffer_limits(high=write_buffer_bytes_max)
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []
        self._ready: dict[Deliverer, None] = {}
        self._turn: asyncio.Handle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._full = False
        self._closed = False
        self.frozen = False
        """Nothing is written and nobody has a turn, until `thaw`."""
        self.said_at_s = self._loop.time()

    def send(self, channel: int, body: bytes) -> None:
        """Put a frame out."""
        self._waiting.append(p.frame(channel, body))
        self._plan_turn()

    def send_raw(self, parts: list[bytes]) -> None:
        """Put out what is framed already."""
        self._waiting += parts
        self._plan_turn()

    def schedule(self, deliverer: Deliverer) -> None:
        """Give a turn to somebody who has something to deliver; asking twice is one turn."""
        self._ready[deliverer] = None
        self._plan_turn()

    def fill_up(self) -> None:
        """The client does not take what is there: no more turns."""
        self._full = True

    def drain(self) -> None:
        """The client takes again."""
        self._full = False
        self._plan_turn()

    def thaw(self) -> None:
        """Go on after `frozen` was set."""
        self.frozen = False
        self._plan_turn()

    def _plan_turn(self) -> None:
        if self._turn is None and not self.frozen and not self._closed:
            self._turn = self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        if self.frozen or self._closed:
            return
        if not self._full:
            ready, self._ready = self._ready, {}
            for deliverer in ready:
                if deliverer.deliver():
                    self._ready[deliverer] = None
        self.flush()
        if self._ready and not self._full:
            self._plan_turn()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting and not self.frozen and not self._closed:
            parts, self._waiting = self._waiting, []
            self.said_at_s = self._loop.time()
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        """Write what waits, then close; a client that does not take it is reset after a while."""
        self.flush()
        if not self._closed:
            self._closed = True
            self._transport.close()
            self._linger = self._loop.call_later(LINGER_S, self._transport.abort)

    def gone(self) -> None:
        """The connection does not exist any more."""
        self._closed = True
        self._ready.clear()
        self._waiting.clear()
        for handle in (self._turn, self._linger):
            if handle is not None:
                handle.cancel()
