"""Run a case: the live engine over messages in memory, with processors that only say what they would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

import consumer
from consumer.cases.comparing import Told
from consumer.cases.model import Case, Step
from consumer.composition import admission_of, catalogue_of, policy_of, running_processor
from consumer.core.flights import ProcessorPlan
from consumer.core.retry import RetryPolicy
from consumer.errors import BadData, ConfigurationError
from consumer.events import DeadLetter, Event, PartitionId, RawBatch
from consumer.processor import INTERNAL, Context, Previewer
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.clock import SystemClock
from consumer.runtime.engine import Engine, EngineParts, Reader
from consumer.runtime.lifecycle import run_engine
from consumer.settings import Settings
from consumer.sources.memory import MemorySource
from consumer.stores.memory import MemoryDeadLetters, MemoryStore

_PARTITION = "0"
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_GROUP = "inturn test"
_CARRIER = "InturnTest.Emission"
"""The type of an event that has an internal one emitted."""
_ANY_GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/test"
_MESSAGE_BYTES_MAX = 1_048_576


async def run_case(settings: Settings, case: Case) -> Told:
    """Have everything of a case happen, in log time, and tell what came of it. Nothing goes out.

    Raises `ConfigurationError` for a file that cannot be read.
    """
    batch = _batch(settings, case)
    given: dict[str, list[dict[str, Any]]] = {each.name: [] for each in settings.processors}
    processors = [running_processor(each, _GROUP) for each in settings.processors]
    for processor in processors:
        processor.target = _Previewing(processor.target, given[processor.plan.name])
        processor.retry = RetryPolicy(attempts_max=1, backoff_s=0)
        processor.concurrency = 1  # so that events of different objects are told in one order, too
    processors.append(_emitting())
    dead_letters = MemoryDeadLetters()
    engine = Engine(
        EngineParts(
            source=MemorySource({_PARTITION: [batch]}),
            checkpoints=MemoryStore(),
            dead_letters=dead_letters,
            processors=processors,
            admission=admission_of(settings, also=(_CARRIER,)),
            catalogue=catalogue_of(settings),
            policy=policy_of(settings),
            name_partition=lambda partition: PartitionId("test", "cases", _GROUP, partition),
            source_name="cases",
            version=consumer.__version__,
            # The last message is the newest: before it, log time never follows the clock.
            reader=Reader(newest=lambda _: batch.sequence_numbers[-1]),
        ),
        SystemClock(),
    )
    await run_engine(engine, ())
    outcomes = Counter(engine.status().outcomes)
    outcomes["handled"] -= sum(
        step.type is not None and step.type.startswith(INTERNAL) for step in case.events
    )
    outcomes["ignored:control"] -= sum(step.wait_s is not None for step in case.events)
    letters = [letter async for letter in dead_letters.letters()]
    return Told(given, [_letter(letter) for letter in letters], _by_outcome(outcomes))


class _Previewing:
    """Stands in for a processor: notes what it is given, and what it says it would do."""

    def __init__(self, target: object, given: list[dict[str, Any]]) -> None:
        self._target = target
        self._given = given

    async def __call__(self, event: Event, context: Context) -> None:
        if event.type == _CARRIER:
            return  # of our making: who takes every type would not get the internal event either
        told = _told(event)
        if isinstance(self._target, Previewer):
            effect = self._target.preview(event, context)
            if effect is None:
                return
            told["effect"] = effect
        self._given.append(told)


class _Emitting:
    """Has internal events emitted as a processor would."""

    async def __call__(self, event: Event, context: Context) -> None:
        context.emit(event.data["type"], event.subject, event.data["data"])


def _emitting() -> RunningProcessor:
    plan = ProcessorPlan("inturn-test", types=(_CARRIER,))
    return RunningProcessor(plan, "inturn-test", _Emitting(), RetryPolicy(attempts_max=1), _GROUP)


def _told(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {
        "type": event.type,
        "subject": event.subject,
        "id": event.id,
        "topic": event.topic,
        "stale": event.stale,
    }
    try:
        told["data"] = event.data
    except BadData:
        told["data"] = None
    return told


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "reason": letter.reason.value,
        "processor": letter.processor,
        "error": letter.error,
        "id": letter.event_id,
        "type": letter.event_type,
        "subject": letter.subject,
    }


def _by_outcome(counts: Mapping[str, int]) -> dict[str, int]:
    """Without the reasons."""
    total: Counter[str] = Counter()
    for name, count in counts.items():
        total[name.partition(":")[0]] += count
    return {name: count for name, count in total.items() if count}


# What happens, as messages.


def _batch(settings: Settings, case: Case) -> RawBatch:
    time = _BEGIN
    bodies: list[bytes] = []
    times_ms: list[int] = []
    kinds: list[str] = []
    for number, step in enumerate(case.events, start=1):
        time += timedelta(seconds=step.after_s + (step.wait_s or 0.0))
        bodies.append(_body(settings, step, number, time))
        times_ms.append(round(time.timestamp() * 1_000))
        kinds.append("Notification" if step.wait_s is None else "TimePasses")
    numbers = list(range(len(bodies)))
    return RawBatch(
        partition=_PARTITION,
        bodies=bodies,
        sequence_numbers=numbers,
        offsets=[str(number) for number in numbers],
        enqueued_times_ms=times_ms,
        partition_keys=["case"] * len(bodies),
        properties_at=lambda row: {"aeg-event-type": kinds[row]},
        newest_sequence_number=numbers[-1],
    )


def _body(settings: Settings, step: Step, number: int, time: datetime) -> bytes:
    if step.file is not None:
        return _content(step)
    is_internal = step.type is not None and step.type.startswith(INTERNAL)
    element: dict[str, Any] = {
        "id": step.id or str(number),
        "subject": step.subject,
        "data": {"type": step.type, "data": step.data} if is_internal else step.data,
    }
    kind = _CARRIER if is_internal or step.type is None else step.type
    topic = step.topic or _topic(settings.admission.topics, kind)
    written = _written(step.time or time)
    if step.schema_ == "cloudevents":
        element |= {"specversion": "1.0", "source": topic, "type": kind, "time": written}
    else:
        element |= {"topic": topic, "eventType": kind, "eventTime": written, "dataVersion": ""}
    return orjson.dumps([element])


def _content(step: Step) -> bytes:
    assert step.file is not None
    try:
        with step.file.open("rb") as file:
            return file.read(_MESSAGE_BYTES_MAX + 1).strip()
    except OSError as error:
        raise ConfigurationError(f"{step.file}: cannot be read: {error.strerror}") from None


def _topic(topics: str | Sequence[str], kind: str) -> str:
    if not isinstance(topics, str):
        return topics[0]
    # Where any topic goes, one that may raise the type: Microsoft's types come from their own provider.
    provider = ".".join(kind.split(".")[:2])
    return f"{_ANY_GROUP}/providers/{provider}/things/test"


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
