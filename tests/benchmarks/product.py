"""The product at work: put together by the application's own composition, and run as the application runs."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import consumer
from benchmarks.running import Finish
from benchmarks.work import BATCH, DEDUPE_WINDOW_MS, PROCESSORS, QUEUE_EVENTS, WINDOW_MS, Batch, Log, Tally
from consumer.composition import Application, compose
from consumer.core.pipeline import Pipeline
from consumer.events import Event, Outcome, RawBatch
from consumer.opening import Origin
from consumer.processor import Context
from consumer.settings import Settings
from consumer.sources.memory import MemorySource
from consumer.telemetry.logs import configure_logging

TALLIES: list[Tally] = []
"""Of the processors of this process, in the order in which they were made."""
CHECKPOINT_INTERVAL_S = 0.1
"""The shortest that can be configured: a run takes less than the default of a second."""
_PROPERTIES = {"aeg-event-type": "Notification", "aeg-subscription-name": "INTURN", "aeg-delivery-count": "0"}


class Counting:
    """What a processor does here."""

    def __init__(self) -> None:
        self.tally = Tally()
        TALLIES.append(self.tally)

    async def process_batch(self, events: Sequence[Event], _context: Context) -> None:
        """Count."""
        self.tally.take([event.id for event in events])


def settings_for(
    log: Log, state: dict[str, Any], source: dict[str, Any] | None = None, *, lanes: int = 1
) -> Settings:
    """The configuration of a run: the defaults, but for what is said here."""
    processor = {
        "type": "benchmarks.product:Counting",
        "types": log.types,
        "concurrency": lanes,
        "chunk_max": BATCH,
        "queue_max": QUEUE_EVENTS,
    }
    return Settings.model_validate(
        {
            "source": source or {"type": "file", "paths": ["the memory is read instead"]},
            "state": state,
            "dead_letters": {"type": "memory"},
            "admission": {"topics": log.topics},
            "sequence": {"window_s": WINDOW_MS / 1_000},
            "dedupe": {"window_h": DEDUPE_WINDOW_MS / 3_600_000},
            "processors": [processor | {"name": name} for name in PROCESSORS],
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


def in_memory(log: Log, _folder: Path, _checkpoints: int) -> Callable[[], Coroutine[Any, Any, Finish]]:
    """The work in memory, with as many tasks as the others have: one for each processor and partition."""
    return _ready(log, settings_for(log, {"type": "memory"}))


def in_memory_with_eight_lanes(
    log: Log, _folder: Path, _checkpoints: int
) -> Callable[[], Coroutine[Any, Any, Finish]]:
    """The same as it is configured by default."""
    return _ready(log, settings_for(log, {"type": "memory"}, lanes=8))


def durable(log: Log, folder: Path, _checkpoints: int) -> Callable[[], Coroutine[Any, Any, Finish]]:
    """The work with its state in SQLite."""
    state = {
        "type": "sqlite",
        "path": str(folder / "state.sqlite"),
        "checkpoint_interval_s": CHECKPOINT_INTERVAL_S,
    }
    return _ready(log, settings_for(log, state))


def _ready(log: Log, settings: Settings) -> Callable[[], Coroutine[Any, Any, Finish]]:
    configure_logging(level="warning")
    source = MemorySource(
        {str(index): [raw(batch) for batch in batches] for index, batches in enumerate(log.partitions)}
    )

    async def run() -> Finish:
        TALLIES.clear()
        origin = Origin("memory", "events", "$Default", "the memory")
        async with compose(settings, reading=(source, origin)) as application:
            stored = _counted(application)
            await application.run()
            status = application.engine.status()
            assert application.engine.was_clean
            assert sum(status.outcomes.values()) == log.events, status.outcomes
            assert status.outcomes[Outcome.HANDLED] == log.delivered, status.outcomes
            # Each partition's first write says whose it is, before there is anything to store.
            return Finish(TALLIES, len(stored) - len(log.partitions), build())

    return run


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
    form = "source" if str(module.__file__).endswith(".py") else "compiled"
    return f"inturn {consumer.__version__}, {form}, Python {platform.python_version()}"
