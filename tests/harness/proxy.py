"""A TCP proxy that can do to connections what networks do: cut, freeze, slow, half-close and refuse them.

Faults concern the connections that exist and those that come, until `heal`; only `reset` and `half_close`
are done once. The proxy runs in the loop of whoever made it. Of a connection, OUT is the way from the
client to the server, and IN the way back.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto

_CHUNK_BYTES = 16 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time


class Way(Enum):
    """A direction."""

    OUT = auto()
    IN = auto()


BOTH = (Way.OUT, Way.IN)


@dataclass(eq=False)
class _Connection:
    """The two sides of a proxied connection; `writers` by the way that leads to them."""

    writers: dict[Way, asyncio.StreamWriter]
    passed_bytes: int = 0
    is_dead: bool = False
    """Nothing passes any more, not even after the fault is healed."""
    deaf: set[Way] = field(default_factory=set)
    """Ways that were closed from the proxy's side; what comes there is dropped."""
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self) -> None:
        for writer in self.writers.values():
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with suppress(OSError):  # closed already
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()
        self.is_over.set()


class FaultProxy:
    """Stands between clients and a server on this machine; made by `open_proxy`."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        """May be changed, for a server that came back on another port."""
        self.port = 0
        self.accepted = 0
        """Connections, since the start."""
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._open = {way: asyncio.Event() for way in BOTH}
        self._is_for_good = False
        self._latency_s = 0.0
        self._bytes_per_s: float | None = None
        self._cut_after_bytes: int | None = None
        for gate in self._open.values():
            gate.set()

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    # Faults.

    def reset(self) -> int:
        """Reset every connection, on both sides; gives how many."""
        hit = list(self._connections)
        for connection in hit:
            connection.reset()
        return len(hit)

    def black_hole(self, ways: Iterable[Way] = BOTH, *, for_good: bool = False) -> None:
        """Accept, keep open, and pass nothing on.

        What came meanwhile is passed on after `heal`, as after a cable was pulled; with `for_good` the
        connections of that time stay dead, as behind a firewall that has forgotten them.
        """
        self._is_for_good = for_good
        for way in ways:
            self._open[way].clear()
        if for_good:
            for connection in self._connections:
                connection.is_dead = True

    def half_close(self, way: Way = Way.IN) -> int:
        """Say on every connection that nothing more comes that way; the other stays. Gives how many."""
        hit = 0
        for connection in self._connections:
            writer = connection.writers.get(way)
            if writer is not None and way not in connection.deaf and not writer.is_closing():
                connection.deaf.add(way)
                writer.write_eof()
                hit += 1
        return hit

    def slow(self, *, latency_s: float = 0.0, bytes_per_s: float | None = None) -> None:
        """Delay what passes, each way, and limit how much does on each connection."""
        self._latency_s = latency_s
        self._bytes_per_s = bytes_per_s

    def cut_after(self, passed_bytes: int) -> None:
        """Reset each connection when so many more bytes, of both ways, have passed."""
        self._cut_after_bytes = passed_bytes
        for connection in self._connections:
            connection.passed_bytes = 0

    def refuse(self) -> None:
        """Close the port; connections that exist stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def heal(self) -> None:
        """End every lasting fault."""
        self._latency_s, self._bytes_per_s, self._cut_after_bytes = 0.0, None, None
        self._is_for_good = False
        for gate in self._open.values():
            gate.set()
        await self.listen()

    async def listen(self) -> None:
        """Open the port, the same one as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Refuse, reset, and wait until every connection has ended."""
        self.refuse()
        while self._connections:
            self.reset()
            for gate in self._open.values():
                gate.set()
            await asyncio.sleep(0.01)

    # What passes.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection({Way.IN: writer})
        connection.is_dead = self._is_for_good
        self._connections.add(connection)
        try:
            await self._passable(connection, Way.OUT)
            server, to_server = await asyncio.open_connection("127.0.0.1", self.target_port)
            connection.writers[Way.OUT] = to_server
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass_on(connection, Way.OUT, reader))
                tasks.create_task(self._pass_on(connection, Way.IN, server))
        except OSError:
            pass  # the server refuses
        finally:
            connection.reset()
            self._connections.discard(connection)

    async def _pass_on(self, connection: _Connection, way: Way, reader: asyncio.StreamReader) -> None:
        writer = connection.writers[way]
        try:
            while chunk := await reader.read(self._chunk_bytes()):
                await self._passable(connection, way)
                if self._latency_s or self._bytes_per_s:
                    await asyncio.sleep(self._latency_s + len(chunk) / (self._bytes_per_s or float("inf")))
                if way in connection.deaf:
                    continue
                connection.passed_bytes += len(chunk)
                if self._cut_after_bytes is not None and connection.passed_bytes > self._cut_after_bytes:
                    connection.reset()
                    return
                writer.write(chunk)
                await writer.drain()
            if way not in connection.deaf and not writer.is_closing():
                writer.write_eof()
        except OSError:
            connection.reset()

    def _chunk_bytes(self) -> int:
        # A slow connection is not one that delivers much at a time, seldom.
        return _CHUNK_BYTES if self._bytes_per_s is None else max(1, int(self._bytes_per_s / 10))

    async def _passable(self, connection: _Connection, way: Way) -> None:
        """Wait while nothing may pass; for ever on a dead connection, until it is reset."""
        await self._open[way].wait()
        if connection.is_dead:
            await connection.is_over.wait()


@asynccontextmanager
async def open_proxy(target_port: int, port: int = 0) -> AsyncIterator[FaultProxy]:
    """A proxy before a port of this machine, for as long as the block lasts; `port` is its own, 0: any."""
    proxy = FaultProxy(target_port)
    proxy.port = port
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
