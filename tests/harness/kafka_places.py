"""A place on Apache Kafka to run a consumer at, in the process of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from consumer.composition import Application, compose
from consumer.config_file import load_settings
from consumer.events import NOTHING_DONE, Checkpoint, Event, RawBatch
from consumer.processor import Context
from consumer.sources.faust_rekey import Rekeying
from harness.kafka_worlds import TOPIC

OBJECTS = 10
EVENTS = 200
PATIENCE_S = 40.0


class Memory:
    """What the processors of a test were given, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []


MEMORY = Memory()


async def remember(event: Event, context: Context) -> None:
    """The processor of a place."""
    MEMORY.events.append(event)


class Place:
    """Two topics, and the configuration of who reads them."""

    def __init__(self, bootstrap: str, folder: Path, topic: str, rekey_topic: str) -> None:
        self.bootstrap, self.folder, self.topic, self.rekey_topic = bootstrap, folder, topic, rekey_topic

    async def send(self, *bodies: bytes, keyed: bool = False) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
            for number, body in enumerate(bodies):
                partition = number % OBJECTS % 4 if keyed else number % 4
                await producer.send(self.topic, body, partition=partition)
            await producer.flush()

    @asynccontextmanager
    async def running(self, **source: Any) -> AsyncIterator[Application]:
        """Run what is configured, from its start to its stop."""
        spread = {"placement": "spread", "rekey_topic": self.rekey_topic}
        usual = {"type": "kafka", "bootstrap": self.bootstrap, "topic": self.topic, "group": self.topic}
        told = usual | {"security": {"tls": False}, "connect_timeout_s": 3} | (source or spread)
        settings = {
            "source": told,
            "state": {"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 0.1},
            "admission": {"topics": [TOPIC]},
            "sequence": {"window_s": 0.2, "idle_margin_s": 0.5},
            "processors": [{"name": "memory", "type": f"{__name__}:remember"}],
            "admin": {"enabled": False},
        }
        (self.folder / "inturn.yaml").write_text(json.dumps(settings))
        composed = compose(load_settings(self.folder / "inturn.yaml", {}))
        async with composed as application, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(application.run())
            try:
                yield application
            finally:
                application.engine.drain()
                await asyncio.wait((running,))

    async def committed(self, topic: str) -> list[int | None]:
        async with AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=self.topic, enable_auto_commit=False
        ) as consumer:
            return [await consumer.committed(TopicPartition(topic, number)) for number in range(4)]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.02)


def orders(events: list[Event]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for each in events:
        found.setdefault(each.object_id.path, []).append(int(str(each.order_token.value), 16))
    return found


class Counting:
    """An intake that takes everything, while its events are set."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.has_all = asyncio.Event()
        """All twenty."""
        self.takes = asyncio.Event()
        self.takes.set()
        self.releases = asyncio.Event()
        self.releases.set()

    async def assigned(self, partition: str, *, start: Checkpoint | None = None) -> Checkpoint:
        return NOTHING_DONE

    async def received(self, batch: RawBatch) -> None:
        await self.takes.wait()
        self.bodies += [body for body in batch.bodies if body != b"[]"]
        if len(self.bodies) >= 20:
            self.has_all.set()

    async def revoked(self, partition: str, *, lost: bool) -> None:
        await self.releases.wait()

    async def ended(self, partition: str) -> None: ...

    def is_paused(self, partition: str) -> bool:
        return not self.takes.is_set()

    def is_lost(self, partition: str) -> bool:
        return False


def by_one_key() -> Rekeying:
    async def put_aside(batch: RawBatch, row: int, element: int, why: str) -> bool:
        raise AssertionError(why)

    return Rekeying(lambda batch: [[(b"key", body)] for body in batch.bodies], put_aside)
