"""A redrive in memory: letters of real events, processors that say what they were given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.flights import ProcessorPlan
from consumer.core.retry import RetryPolicy
from consumer.events import DeadLetter, Event, PartitionId, Position, Reason
from consumer.processor import Context, Reject
from consumer.redrive.adoption import Adopter, Rules
from consumer.redrive.pace import Pace
from consumer.redrive.previewing import Proposal, Rehearsal
from consumer.redrive.right import right_to
from consumer.redrive.running import Redrive, Report
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.clock import SystemClock
from consumer.stores import LetterFilter
from consumer.stores.memory import MemoryDeadLetters

TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
TYPE = "Microsoft.MachineLearningServices.ModelRegistered"
PARTITION = PartitionId("contoso.servicebus.windows.net", "models", "$Default", "0")


def body(model: str, version: int, **changes: Any) -> bytes:
    """A ModelRegistered event."""
    element = {
        "id": f"{model}-{version}",
        "topic": TOPIC,
        "subject": f"models/{model}:{version}",
        "eventType": TYPE,
        "eventTime": "2026-01-01T00:00:00Z",
        "data": {"modelName": model, "modelVersion": version},
    }
    return json.dumps(element | changes).encode()


def letter(model: str, version: int, **changes: Any) -> DeadLetter:
    """A letter of the processor deploy; the first version of a model failed, the later ones are parked."""
    known: dict[str, Any] = {
        "key": f"{model}-{version}",
        "partition": PARTITION,
        "position": Position("0", version, 0),
        "reason": Reason.RETRIES_SPENT if version == 1 else Reason.PARKED,
        "error": "The target is down.",
        "original": body(model, version),
        "enqueued_time_ms": 1_000 + version,
        "dead_lettered_at_ms": 2_000 + version,
        "processor": "deploy",
        "attempts": 5,
        "event_id": f"{model}-{version}",
        "event_type": TYPE,
        "topic": TOPIC,
        "subject": f"models/{model}:{version}",
        "object_path": f"models/{model}",
    }
    return DeadLetter(**known | changes)


def undecoded(original: bytes, **changes: Any) -> DeadLetter:
    """A letter of bytes that could not be decoded when they were put aside."""
    known = {
        "key": "raw",
        "processor": None,
        "object_path": "",
        "reason": Reason.TOO_DEEP,
        "error": "too deep",
        "attempts": 0,
        "event_id": "",
        "event_type": "",
        "topic": "",
        "subject": "",
    }
    return letter("fraud", 1, original=original, **known | changes)


class Target:
    """Notes what it handles, and fails at what it is told to."""

    def __init__(self) -> None:
        self.handled: list[tuple[str, str]] = []
        """Ids and idempotency keys."""
        self.events: list[Event] = []
        self.broken: set[str] = set()
        self.refused: set[str] = set()
        self.attempts = 0
        self.at_once = self.at_once_most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.before: Callable[[Event], Any] | None = None
        """Called, and waited for, before each attempt."""

    async def __call__(self, event: Event, context: Context) -> None:
        self.attempts += 1
        self.at_once += 1
        self.at_once_most = max(self.at_once, self.at_once_most)
        try:
            if self.before is not None:
                await self.before(event)
            await self.gate.wait()
            if event.id in self.refused:
                raise Reject("no model of ours")
            if event.id in self.broken:
                raise RuntimeError("still down")
            self.events.append(event)
            self.handled.append((event.id, context.idempotency_key))
        finally:
            self.at_once -= 1

    @property
    def ids(self) -> list[str]:
        return [id_ for id_, _ in self.handled]


@dataclass
class Bench:
    """A store, processors, and a redrive of them."""

    store: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    targets: dict[str, Target] = field(default_factory=lambda: {"deploy": Target()})
    plans: dict[str, dict[str, Any]] = field(default_factory=dict)
    retry: RetryPolicy = field(
        default_factory=lambda: RetryPolicy(attempts_max=2, backoff_s=0, backoff_max_s=0)
    )
    redrive: Redrive | None = None

    @property
    def deploy(self) -> Target:
        return self.targets["deploy"]

    def make(self, kind: type[Redrive] = Redrive, where: LetterFilter | None = None, **pace: Any) -> Any:
        clock, catalogue = SystemClock(), Catalogue([])
        plans = {
            name: ProcessorPlan(name, **{"parks": True, **self.plans.get(name, {})}) for name in self.targets
        }
        processors = {
            name: RunningProcessor(plan, "test", self.targets[name], self.retry, "")
            for name, plan in plans.items()
        }
        rules = Rules(Admission(None, None), list(plans.values()))
        adopter = Adopter(catalogue, lambda _group: rules)
        self.redrive = kind(
            self.store, processors, adopter, catalogue, where or LetterFilter(), Pace(clock, **pace), clock
        )
        return self.redrive

    async def run(self, where: LetterFilter | None = None, **pace: Any) -> Report:
        redrive = self.make(where=where, **pace)
        async with right_to(self.store, SystemClock()) as right:
            await redrive.run(right.lease)
        return redrive.report

    async def rehearse(self, where: LetterFilter | None = None) -> list[Proposal]:
        found: list[Proposal] = []
        await self.make(Rehearsal, where).rehearse(found.append)
        return found

    async def kept(self) -> list[DeadLetter]:
        return [each async for each in self.store.letters()]

    async def keys(self) -> list[str]:
        return [each.key for each in await self.kept()]

    async def put(self, *letters: DeadLetter) -> None:
        await self.store.put(letters)
