"""A world on Apache Kafka: a topic over which the events of every object are spread, and `inturn run`.

Workers write what they do into one file, line by line, so that the file has the order in which it happened.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from harness.kafka import make_topic
from harness.processes import ROOT
from harness.worlds import Worker

TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/spread"
INTERVAL_S = 0.5
"""Between two checkpoints of a partition."""
RECORDER = """
import json, os, time
from pathlib import Path

class Recorder:
    def __init__(self):
        self._file = os.open("effects.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    async def process_batch(self, events, context):
        hold = Path("hang")
        if hold.exists():
            import asyncio
            await asyncio.sleep(3_600)
        now, pid = time.time(), os.getpid()
        lines = [
            json.dumps([each.object_id.path, int(each.order_token.value, 16), each.id, pid, now])
            for each in events
        ]
        os.write(self._file, "".join(f"{line}\\n" for line in lines).encode())
"""


def event(number: int, objects: int) -> bytes:
    """Event `number` of all: its object, and its place among that object's events, follow from it."""
    subject = f"/blobServices/default/containers/c/blobs/object-{number % objects}"
    body = {
        "id": str(number),
        "topic": TOPIC,
        "subject": subject,
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-11-21T06:30:00.0000000Z",
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {"api": "PutBlob", "sequencer": f"{number + 1:032x}", "url": "https://spread/" + "x" * 400},
    }
    return json.dumps([body], separators=(",", ":")).encode()  # as Event Grid writes it


class Effect(NamedTuple):
    """What a worker did for one event."""

    path: str
    token: int
    id: str
    pid: int
    at_s: float


@dataclass
class Outcome:
    """What became of the events."""

    lost: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    repeats: list[tuple[Effect, Effect]] = field(default_factory=list)
    """What was done before, and again."""

    def __str__(self) -> str:
        shown = self.lost[:10], self.out_of_order[:10], self.repeats[:10]
        counts = len(self.lost), len(self.out_of_order), len(self.repeats)
        return "lost {}, out of order {}, repeated {}: ".format(*counts) + str(shown)


class KafkaWorld:
    """See the module; made by `open_kafka_world`."""

    def __init__(self, folder: Path, bootstrap: str, *, told: str | None = None, seed: int = 1) -> None:
        """`bootstrap` is where the test reaches the broker, `told` where workers do."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.bootstrap, self.told = folder, bootstrap, told or bootstrap
        self.rng = random.Random(seed)
        self.topic = f"spread-{uuid.uuid4().hex[:8]}"
        self.rekey_topic = f"{self.topic}-by-object"
        self.workers: list[Worker] = []
        (folder / "recorder.py").write_text(RECORDER)

    def make_topics(self, partitions: int = 4, **config: str) -> None:
        """`config` is that of the re-key topic."""
        make_topic(self.bootstrap, self.topic, partitions, message_timestamp_type="LogAppendTime")
        make_topic(self.bootstrap, self.rekey_topic, partitions, **config)

    def configure(self, **source: Any) -> None:
        """Write the configuration; `source` replaces single settings of it."""
        retry = {"attempts": 1_000, "backoff_s": 0.2, "backoff_max_s": 1}
        processor = {
            "name": "record",
            "type": "recorder:Recorder",
            "deadline_s": 5,
            "chunk_max": 50,
            "retry": retry,
        }
        settings = {
            "source": {
                "type": "kafka",
                "bootstrap": self.told,
                "topic": self.topic,
                "group": self.topic,
                "placement": "spread",
                "rekey_topic": self.rekey_topic,
                "session_timeout_s": 6,
                "security": {"tls": False},
                **source,
            },
            "state": {"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": INTERVAL_S},
            "admission": {"topics": [TOPIC]},
            "sequence": {"window_s": 1, "idle_margin_s": 1, "held_max": 100_000},
            "processors": [processor],
            "admin": {"enabled": False},
            "logging": {"format": "json"},
        }
        (self.folder / "inturn.yaml").write_text(json.dumps(settings))

    async def start(self, engine: str = "faust") -> Worker:
        """Start an `inturn run`."""
        log_file = self.folder / f"worker-{len(self.workers)}.log"
        with log_file.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "consumer", "run", "--engine", engine),
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}{os.pathsep}{self.folder}"},
                stdout=log,
                stderr=log,
            )
        worker = Worker(process, log_file)
        self.workers.append(worker)
        return worker

    async def until_assigned(self, worker: Worker, within_s: float = 60.0) -> None:
        """Wait until a worker has a partition."""
        async with asyncio.timeout(within_s):
            while not worker.owned():
                assert not worker.has_ended, worker.tail()
                await asyncio.sleep(0.05)

    async def send(self, first: int, count: int, *, objects: int = 500, per_s: float | None = None) -> None:
        """Send events, each to a partition at random; `per_s` a second, else as fast as can be."""
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=2) as producer:
            began_s = time.monotonic()
            for number in range(first, first + count):
                await producer.send(self.topic, event(number, objects), partition=self.rng.randrange(4))
                if per_s is not None and number % 50 == 0:
                    await asyncio.sleep(max(0.0, began_s + (number - first) / per_s - time.monotonic()))
            await producer.flush()

    def effects(self) -> list[Effect]:
        """Everything that was done, in order."""
        file = self.folder / "effects.jsonl"
        if not file.exists():
            return []
        return [Effect(*json.loads(line)) for line in file.read_text().split("\n")[:-1]]

    def done(self) -> int:
        """How many different events have had their effect."""
        return len({effect.id for effect in self.effects()})

    async def someone_at_work(self, workers: Sequence[Worker]) -> Worker:
        """Wait until one of the workers has an effect."""
        since_s = time.time()
        async with asyncio.timeout(60):
            while True:
                recent = {effect.pid for effect in self.effects() if effect.at_s >= since_s}
                found = [worker for worker in workers if worker.pid in recent]
                if found:
                    return self.rng.choice(found)
                await asyncio.sleep(0.1)

    async def until_done(self, count: int, within_s: float = 90.0, poll_s: float = 0.3) -> None:
        """Wait for so many different effects, or for so long: then the outcome says what is missing."""
        give_up_s = time.monotonic() + within_s
        while self.done() < count and time.monotonic() < give_up_s:  # noqa: ASYNC110 - others write the file
            await asyncio.sleep(poll_s)

    def outcome(self, count: int) -> Outcome:
        """Judge what was done, of the events 0 to `count`."""
        outcome = Outcome()
        latest: dict[str, Effect] = {}
        highest: dict[str, Effect] = {}
        for effect in self.effects():
            before = latest.get(effect.id)
            latest[effect.id] = effect
            if before is not None:
                outcome.repeats.append((before, effect))
                continue
            higher = highest.get(effect.path)
            if higher is not None and effect.token < higher.token:
                outcome.out_of_order.append(f"{effect} after {higher}")
            else:
                highest[effect.path] = effect
        outcome.lost = [str(number) for number in range(count) if str(number) not in latest]
        return outcome

    def digest(self) -> str:
        """What order the events of every object had, in a word."""
        orders: dict[str, list[int]] = defaultdict(list)
        for effect in self.effects():
            orders[effect.path].append(effect.token)
        return hashlib.sha256(json.dumps(sorted(orders.items())).encode()).hexdigest()

    async def committed_lag(self) -> int:
        """How far the group's commits are behind the end of the source topic, by the broker."""
        partitions = [TopicPartition(self.topic, number) for number in range(4)]
        async with AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=self.topic, enable_auto_commit=False
        ) as consumer:
            ends = await consumer.end_offsets(partitions)
            return sum([ends[each] - (await consumer.committed(each) or 0) for each in partitions])

    def explain(self, outcome: object) -> str:
        """For a person: what came of it, and what the last workers said."""
        return "\n".join([str(outcome), *(worker.tail() for worker in self.workers[-3:])])


@asynccontextmanager
async def open_kafka_world(
    folder: Path,
    bootstrap: str,
    *,
    told: str | None = None,
    seed: int = 1,
    topics: dict[str, str] | None = None,
) -> AsyncIterator[KafkaWorld]:
    """A world with topics of its own; who lives in it at the end is killed."""
    world = KafkaWorld(folder, bootstrap, told=told)
    world.make_topics(**(topics or {}))
    world.configure()
    try:
        yield world
    finally:
        for worker in world.workers:
            await worker.kill()


def bound_on_repeats(effects: Sequence[Effect], killed: Sequence[Worker], latency_s: float = 1.0) -> int:
    """How many effects may repeat: those of the last interval and latency before each kill."""
    ends = {worker.pid: worker.ended_s or 0.0 for worker in killed}
    return sum(
        effect.at_s >= ends[effect.pid] - INTERVAL_S - latency_s for effect in effects if effect.pid in ends
    )
