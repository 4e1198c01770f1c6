"""The receiver of a world's effects: it outlives the workers and writes down what reaches it, in order."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from consumer.events import Position
from consumer.samples.truth import Spot


class Effect(NamedTuple):
    """What a worker did for one event."""

    key: str
    """The idempotency key."""
    position: Position
    spot: Spot
    """The object, and the partition on which it was found."""
    token: str
    pid: int
    """Of the worker."""
    at_s: float
    """When it was received, in seconds since 1970, as in the workers' logs."""

    def __str__(self) -> str:
        number = f"{self.position.partition}/{self.position.sequence_number}.{self.position.index}"
        return f"{number} {self.spot.path} {self.token} by {self.pid} at {self.at_s:.3f}"


def _effect(said: dict[str, Any]) -> Effect:
    return Effect(
        said["key"],
        Position(said["partition"], said["sequence_number"], said["index"]),
        Spot(said["partition"], said["topic"], said["path"]),
        said["token"],
        said["pid"],
        time.time(),
    )


class Receiver:
    """A line server for `harness.courier`."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.port = 0
        self.delay_s: Callable[[], float] = lambda: 0.0
        """How long the answer to an effect takes; the effect has happened before."""
        self.refuses: Callable[[], bool] = lambda: False
        """Whether an effect is not taken: it has not happened, and is to be tried again."""
        self.takes = asyncio.Event()
        """While it is not set nothing is answered."""
        self.takes.set()
        self.under_way: Counter[int] = Counter()
        """How many answers a worker, by its pid, waits for now."""
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def positions(self) -> set[Position]:
        """Of the events that have had their effect."""
        return {effect.position for effect in self.effects}

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Take effects for as long as the block lasts."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        try:
            yield
        finally:
            server.close()
            self.takes.set()
            for writer in list(self._writers):
                writer.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            # What a worker sent before it died counts; half a line does not.
            while (line := await reader.readline()).endswith(b"\n"):
                said = json.loads(line)
                self.under_way[said["pid"]] += 1
                try:
                    writer.write(await self._answer(said))
                finally:
                    self.under_way[said["pid"]] -= 1
        except ConnectionError:
            pass  # the worker was killed
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, said: dict[str, Any]) -> bytes:
        await self.takes.wait()
        if self.refuses():
            return b"not now\n"
        self.effects.append(_effect(said))
        delay_s = self.delay_s()
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        return b"taken\n"
