"""Carry out a plan: the live pipeline and processors, another source, and state of the replay's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import consumer
from consumer.composition import admission_of, catalogue_of, policy_of, running_processor
from consumer.consumer_groups import settings_of
from consumer.errors import InturnError
from consumer.events import Event
from consumer.opening import open_dead_letters, open_log
from consumer.processor import Context
from consumer.replay.ledger import Ledger, Tally
from consumer.replay.planning import NotReplayable, Plan, source_of
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.clock import SystemClock
from consumer.runtime.engine import Engine, EngineParts, Reader
from consumer.runtime.lifecycle import run_engine
from consumer.runtime.signals import stop_signals
from consumer.settings import MemoryStore as NoStore
from consumer.settings import Settings
from consumer.sources.eventhub_log import HubLog
from consumer.sources.stretch import Log, StretchSource
from consumer.stores import CheckpointStore, DeadLetterStore, InspectableStore
from consumer.stores.memory import MemoryStore
from consumer.stores.sqlite import SqliteStore


class Tried(NamedTuple):
    """What a processor would have been given."""

    processor: str
    type: str


class Counting:
    """Stands in for a processor in a dry run: counts what it would have been given, and does nothing."""

    def __init__(self, name: str, tried: Counter[Tried]) -> None:
        self._name = name
        self._tried = tried

    async def process_batch(self, events: Sequence[Event], _context: Context) -> None:
        """Count."""
        self._tried.update(Tried(self._name, event.type) for event in events)


@dataclass(slots=True)
class Run:
    """A replay that is put together; `run` carries it out, as far as it gets."""

    plan: Plan
    engine: Engine
    source: StretchSource
    checkpoints: CheckpointStore
    dead_letters: DeadLetterStore
    log: Log
    processors: Sequence[RunningProcessor]
    tally: Tally
    """What came of it, earlier runs included; complete when `run` has ended."""
    tried: Counter[Tried]
    """What the processors would have been given; only counted in a dry run."""
    ledger: Ledger | None
    """None: a dry run."""
    left: Mapping[str, int]
    """The checkpoints of partitions that were given back."""
    is_finished: bool = False

    async def run(self) -> None:
        """Read to the end of every stretch, or until a signal. Raises `TemporaryError`, `ConfigurationError`.

        What was done until then is stored, and the next run of the same plan goes on behind it.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(stop_signals(self.engine))
            await self.dead_letters.probe()
            await self._begin()
            try:
                await run_engine(self.engine, self.processors)
            except InturnError:
                await self._end()
                raise
            await self._end()

    async def _begin(self) -> None:
        self.tally.was_killed |= self.tally.is_running
        self.tally.is_running = True
        if self.ledger is not None:
            await self.ledger.write(self.plan.id, self.tally)

    async def _end(self) -> None:
        self._count()
        self.tally.is_running = False
        self.tally.was_killed |= not self.engine.was_clean or self.engine.given_up_unfinished > 0
        self.is_finished = await self._has_finished()
        if self.ledger is not None:
            await self.ledger.write(self.plan.id, self.tally, is_finished=self.is_finished)

    async def _has_finished(self) -> bool:
        """Whether everything is done and stored as such."""
        for partition, last in self.source.lasts.items():
            stored = await self.checkpoints.load(self.plan.partition(partition))
            if stored.checkpoint is None or stored.checkpoint.sequence_number < last:
                return False
        return True

    def _count(self) -> None:
        status, tally = self.engine.status(), self.tally
        _add(tally.outcomes, status.outcomes.items())
        _add(tally.handled, ((each.name, each.handled) for each in status.processors))
        _add(tally.stale, ((each.name, each.stale_skipped) for each in status.processors))
        _add(tally.dead, ((each.name, each.dead_lettered) for each in status.processors))
        tally.missing += self.log.missing if isinstance(self.log, HubLog) else 0

    @property
    def has_findings(self) -> bool:
        """Whether anything was dead-lettered, or was not there any more to be read."""
        return bool(self.tally.missing) or any(
            each.startswith("dead_lettered") for each in self.tally.outcomes
        )

    def done(self) -> int:
        """How many messages of the stretches are done, those of earlier runs among them."""
        now = {each.partition: each.checkpoint for each in self.engine.status().partitions}
        reached = {**self.left, **now}
        return sum(max(0, reached.get(each.partition, -1) - each.after) for each in self.plan.stretches)


@asynccontextmanager
async def open_run(settings: Settings, plan: Plan, path: Path | None) -> AsyncIterator[Run]:
    """Put a replay together, with its state in the file `path`; None: a dry run, which leaves nothing.

    Raises `ConfigurationError`; `NotReplayable` if the source or a processor is not the plan's any more.
    """
    async with AsyncExitStack() as stack:
        ledger = None if path is None else await _open_ledger(path, stack)
        tally = Tally() if ledger is None else (await ledger.find(plan.id)).tally
        checkpoints: InspectableStore = MemoryStore() if path is None else SqliteStore(path=path)
        stack.push_async_callback(checkpoints.close)
        place = NoStore(type="memory") if path is None else settings.dead_letters
        dead_letters = await stack.enter_async_context(open_dead_letters(place))
        read_as = settings_of(settings, plan.group) or settings
        source = source_of(read_as, [Path(each) for each in plan.paths])
        log, origin = await stack.enter_async_context(open_log(source, group=plan.reading_group))
        if (origin.namespace, origin.hub, origin.group) != (plan.namespace, plan.hub, plan.group):
            raise NotReplayable(
                f"Replay {plan.id} is of {plan.source}; the configuration names another source."
            )
        await _check(plan, log)
        tried: Counter[Tried] = Counter()
        processors = [_processor(settings, plan, name) for name in plan.processors]
        if path is None:
            for each in processors:
                each.target = Counting(each.plan.name, tried)
        reader = StretchSource(log, plan.stretches)
        left: dict[str, int] = {}
        engine = Engine(
            EngineParts(
                source=reader,
                checkpoints=checkpoints,
                dead_letters=dead_letters,
                processors=processors,
                admission=admission_of(settings),
                catalogue=catalogue_of(settings),
                policy=policy_of(settings),
                name_partition=plan.partition,
                source_name=plan.source,
                version=consumer.__version__,
                drain_timeout_s=settings.drain.timeout_s,
                # The end of the stretch is the newest message: before it, log time never follows the clock.
                reader=Reader(newest=reader.lasts.get),
                on_retired=lambda status: left.update({status.partition: status.checkpoint}),
            ),
            SystemClock(),
        )
        yield Run(
            plan, engine, reader, checkpoints, dead_letters, log, processors, tally, tried, ledger, left
        )


async def _open_ledger(path: Path, stack: AsyncExitStack) -> Ledger:
    ledger = Ledger(path)
    stack.push_async_callback(ledger.close)
    return ledger


def _processor(settings: Settings, plan: Plan, name: str) -> RunningProcessor:
    """A processor whose keys are the replay's."""
    for each in settings.processors:
        if each.name == name:
            processor = running_processor(each, plan.group)
            processor.replay_id = plan.id
            return processor
    raise NotReplayable(f"Replay {plan.id} is for the processor {name}, which is not configured any more.")


async def _check(plan: Plan, log: Log) -> None:
    """Raise `NotReplayable` if the log is not the one that the plan was made for."""
    newest = {extent.partition: extent.newest for extent in await log.extents()}
    for stretch in plan.stretches:
        if newest.get(stretch.partition, -1) < stretch.last:
            raise NotReplayable(
                f"Replay {plan.id} goes to message {stretch.last} of partition {stretch.partition}, which is "
                "not there: the hub was made anew, or a file was shortened."
            )


def _add(total: dict[str, int], counts: Iterable[tuple[str, int]]) -> None:
    for name, count in counts:
        total[name] = total.get(name, 0) + count
