"""A processor that carries every event to a receiver in another process, and waits until it has it.

It is imported by the workers of a `harness.worlds.World`, so it knows nothing of tests. An effect has
happened exactly when the receiver has the line, whatever becomes of the worker before the answer comes.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel

from consumer.events import Event
from consumer.processor import Context

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Refused(Exception):
    """The receiver did not take it."""


class Courier:
    """Carries events one by one; as many connections as there are events under way."""

    class Settings(BaseModel):
        """Where the receiver is."""

        port: int

    def __init__(self, settings: Settings) -> None:
        self._port = settings.port
        self._idle: list[_Connection] = []

    async def __call__(self, event: Event, context: Context) -> None:
        """Bring an event; raises `Refused`, or `OSError` for a receiver that is away."""
        position = event.position
        effect = {
            "key": context.idempotency_key,
            "partition": position.partition,
            "sequence_number": position.sequence_number,
            "index": position.index,
            "topic": event.object_id.topic,
            "path": event.object_id.path,
            "token": f"{event.order_token.by}:{event.order_token.value}",
            "id": event.id,
            "pid": os.getpid(),
            "attempt": context.attempt,
        }
        async with self._connection() as (reader, writer):
            writer.write(json.dumps(effect).encode() + b"\n")
            answer = await reader.readline()
        if answer != b"taken\n":
            raise Refused(answer.decode())

    async def close(self) -> None:
        """Hang up."""
        for _, writer in self._idle:
            writer.close()

    async def open(self) -> None:
        """Nothing to do: a connection is opened when it is needed."""

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Connection]:
        connection = (
            self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        )
        try:
            yield connection
        except BaseException:
            connection[1].close()  # an answer may still be on its way
            raise
        self._idle.append(connection)
