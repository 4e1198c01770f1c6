"""The product at work: put together by the application's own composition, and run as the application runs."""

from __future__ import annotations

import asyncio
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import consumer
from benchmarks.running import Finish, Options, Run
from benchmarks.work import (
    BATCH,
    DEDUPE_WINDOW_MS,
    PROCESSORS,
    QUEUE_EVENTS,
    WINDOW_MS,
    Batch,
    Course,
    Log,
    Tally,
)
from consumer.composition import Application, compose
from consumer.core.pipeline import Pipeline
from consumer.events import Event, Outcome, RawBatch
from consumer.opening import Origin
from consumer.processor import Context
from consumer.settings import Settings
from consumer.sources.memory import MemorySource
from consumer.telemetry.logs import configure_logging

CHECKPOINT_INTERVAL_S = 0.1
"""The shortest that can be configured: a run takes less than the default of a second."""
_PROPERTIES = {"aeg-event-type": "Notification", "aeg-subscription-name": "INTURN", "aeg-delivery-count": "0"}


class Counting:
    """What a processor does here."""

    tallies: ClassVar[Iterator[Tally]] = iter(())
    """One for each processor of the run: processors are made from a configuration."""

    def __init__(self) -> None:
        self.tally = next(Counting.tallies)

    async def process_batch(self, events: Sequence[Event], _context: Context) -> None:
        """Count."""
        self.tally.take([event.id for event in events])


class Timing:
    """Notes how long events took to come here."""

    took_ms: ClassVar[list[float]] = []
    messages: ClassVar[int] = 0
    """How many there will be; then the run ends."""
    on_end: ClassVar[Callable[[], None]]

    async def process_batch(self, events: Sequence[Event], _context: Context) -> None:
        """Look at the clock."""
        now_ns = time.monotonic_ns()
        self.took_ms.extend([(now_ns - event.data["sentAtNs"]) / 1e6 for event in events])
        if len(self.took_ms) >= self.messages:
            Timing.on_end()


def counting(log: Log, lanes: int = 1) -> list[dict[str, Any]]:
    """The configuration of the three processors."""
    processor = {
        "type": "benchmarks.product:Counting",
        "types": log.types,
        "concurrency": lanes,
        "chunk_max": BATCH,
        "queue_max": QUEUE_EVENTS,
    }
    return [processor | {"name": name} for name in PROCESSORS]


def settings_for(
    log: Log,
    processors: list[dict[str, Any]],
    state: dict[str, Any] | None = None,
    source: dict[str, Any] | None = None,
) -> Settings:
    """The configuration of a run: the defaults, but for what is said here."""
    return Settings.model_validate(
        {
            "source": source or {"type": "file", "paths": ["the memory is read instead"]},
            "state": state or {"type": "memory"},
            "dead_letters": {"type": "memory"},
            "admission": {"topics": log.topics},
            "sequence": {"window_s": WINDOW_MS / 1_000},
            "dedupe": {"window_h": DEDUPE_WINDOW_MS / 3_600_000},
            "processors": processors,
            "admin": {"enabled": False},
        }
    )


def raw(batch: Batch) -> RawBatch:
    """A batch as a source hands it over."""
    return RawBatch(
        str(batch.partition),
        batch.bodies,
        batch.sequence_numbers,
        [str(number) for number in batch.sequence_numbers],
        batch.enqueued_times_ms,
        list(batch.partition_keys),
        lambda _: _PROPERTIES,
    )


def memory_source(log: Log) -> MemorySource:
    """A source that reads the log."""
    return MemorySource(
        {str(index): [raw(batch) for batch in batches] for index, batches in enumerate(log.partitions)}
    )


def in_memory(log: Log, _options: Options, course: Course) -> Run:
    """The work in memory, with as many tasks as the others have: one for each processor and partition."""
    return _from_memory(log, settings_for(log, counting(log)), course)


def in_memory_with_eight_lanes(log: Log, _options: Options, course: Course) -> Run:
    """The same as it is configured by default."""
    return _from_memory(log, settings_for(log, counting(log, lanes=8)), course)


def durable(log: Log, options: Options, course: Course) -> Run:
    """The work with its state in SQLite."""
    state = {
        "type": "sqlite",
        "path": f"{options.folder}/state.sqlite",
        "checkpoint_interval_s": CHECKPOINT_INTERVAL_S,
    }
    return _from_memory(log, settings_for(log, counting(log), state), course)


def _from_memory(log: Log, settings: Settings, course: Course) -> Run:
    _get_ready(course)
    source = memory_source(log)

    async def run() -> Finish:
        origin = Origin("memory", "events", "$Default", "the memory")
        async with compose(settings, reading=(source, origin)) as application:
            saved = _counted(application)
            course.begin()  # again: what was imported and opened is left out
            await application.run()
            course.end()
            status = application.engine.status()
            assert application.engine.was_clean
            assert sum(status.outcomes.values()) == log.events, status.outcomes
            assert status.outcomes[Outcome.HANDLED] == log.delivered, status.outcomes
            # Each partition's first write says whose it is, before there is anything to store.
            return Finish(len(saved) - len(log.partitions), build())

    return run


def from_the_hub(log: Log, options: Options, course: Course) -> Run:
    """The work behind the Event Hubs source with its default settings; everything is in the hub already."""
    _get_ready(course)
    course.begin_with_first()
    settings = settings_for(log, counting(log), source=_hub(options))

    async def run() -> Finish:
        async with compose(settings) as application:
            course.on_end = application.engine.drain
            await application.run()
            return Finish(build=build())

    return run


def latency(log: Log, options: Options, course: Course) -> Run:
    """How long events take from the hub to a processor that gets them on arrival."""
    _get_ready(course)
    ended = asyncio.Event()
    Timing.took_ms, Timing.messages, Timing.on_end = [], options.messages, ended.set
    timing = {"name": "timing", "type": "benchmarks.product:Timing", "types": log.types}
    settings = settings_for(log, [timing | {"delivery": "on_arrival"}], source=_hub(options))

    async def run() -> Finish:
        async with compose(settings) as application, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(application.run())
            await ended.wait()
            application.engine.drain()
            await running
        return Finish(build=build(), latencies_ms=Timing.took_ms)

    return run


def _get_ready(course: Course) -> None:
    Counting.tallies = iter(course.tallies)
    configure_logging(level="warning")


def _hub(options: Options) -> dict[str, Any]:
    return {"type": "eventhub", "hub": "events", "connection_string": options.connection_string}


def _counted(application: Application) -> list[None]:
    """Count the writes of checkpoints; the list grows by one for each."""
    save, saved = application.checkpoints.save, []

    async def counted(*arguments: Any) -> str:
        fence = await save(*arguments)
        saved.append(None)
        return fence

    # The store is the composition's own; it is asked what it was asked to do, and does it.
    setattr(application.checkpoints, "save", counted)  # noqa: B010 - an instance's method, on purpose
    return saved


def build() -> str:
    """Which form of the product this is: compiled or not, the Python, the version."""
    module = sys.modules[Pipeline.__module__]
    form = "interpreted" if str(module.__file__).endswith(".py") else "compiled"
    return f"inturn {consumer.__version__}, {form}, Python {platform.python_version()}"
