"""Build the running thing from settings: the one place that knows every part."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import msgspec
import orjson
import structlog
from prometheus_client.registry import Collector

import consumer
from consumer import opening
from consumer.consumer_groups import SHARED, groups_of
from consumer.core import order_rules
from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue, Family, named, subject
from consumer.core.expectation_keys import Listed, Sought, Template
from consumer.core.expectations import Rule
from consumer.core.filters import compiled
from consumer.core.flights import Delivery, ProcessorPlan
from consumer.core.policy import PipelinePolicy
from consumer.core.retry import RetryPolicy
from consumer.core.sequencer import SequencerLimits
from consumer.events import Event, OrderedBy
from consumer.expectation_settings import ExpectationSettings
from consumer.filter_settings import FilterSettings
from consumer.opening import Origin, open_checkpoints, open_dead_letters, open_source
from consumer.processor import BatchProcessor, Processor
from consumer.processor_loading import load_processor
from consumer.processor_settings import ProcessorSettings
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.breaker import Breaker, BreakerPolicy
from consumer.runtime.clock import Clock, SystemClock
from consumer.runtime.engine import Engine, EngineParts
from consumer.runtime.engines import Engines, labelled
from consumer.runtime.gate import Gate
from consumer.runtime.keying import Aside, Keying
from consumer.runtime.lanes import CUT_OFF_S, processor_of
from consumer.runtime.lease import FENCE_AFTER_S
from consumer.runtime.lifecycle import run_engine
from consumer.runtime.rate import RatePolicy, TokenBucket
from consumer.runtime.signals import end_process, stop_signals
from consumer.settings import CatalogueRule, OrderRule, Settings
from consumer.sources import Source
from consumer.status import EngineStatus, PartitionStatus
from consumer.stores import DeadLetterStore, InspectableStore
from consumer.succession import ALONE, Succession
from consumer.telemetry.admin import AdminServer
from consumer.telemetry.health import EventLoopHeartbeat
from consumer.telemetry.loop_watchdog import LoopWatchdog
from consumer.telemetry.metrics import Metrics

_log = structlog.get_logger("inturn.lifecycle")


@dataclass(slots=True)
class Application:
    """A consumer that is put together; `run` starts it."""

    engine: Engine | Engines
    processors: list[RunningProcessor]
    checkpoints: InspectableStore
    dead_letters: DeadLetterStore
    metrics: Metrics
    heartbeat: EventLoopHeartbeat
    watchdog: LoopWatchdog
    admin: AdminServer | None

    async def run(self) -> None:
        """Run until a signal, `engine.drain`, or the end of the source.

        Raises what keeps it from running: `TemporaryError`, `ConfigurationError`, `CorruptState`.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(stop_signals(self.engine))
            if self.admin is not None:
                await stack.enter_async_context(self.admin)
                _log.info("The admin port is open.", url=self.admin.url)
            # Later a store that is away is waited for; one that never worked is most likely a wrong setting.
            await self.checkpoints.probe()
            await self.dead_letters.probe()
            async with asyncio.TaskGroup() as tasks:
                beating = tasks.create_task(self.heartbeat.run(), name="heartbeat")
                with self.watchdog.watching():
                    engine = tasks.create_task(run_engine(self.engine, self.processors), name="engine")
                    await asyncio.wait((engine,))
                beating.cancel()


class _Stores(NamedTuple):
    checkpoints: InspectableStore
    dead_letters: DeadLetterStore


@asynccontextmanager
async def _reading_of(
    settings: Settings, stores: _Stores, reading: tuple[Source, Origin] | None, succession: Succession
) -> AsyncIterator[tuple[Source, Origin]]:
    """The source, and where it reads: the one that the settings name, unless there is another."""
    async with AsyncExitStack() as stack:
        if reading is None:
            keying = keying_of(settings, stores.dead_letters)
            opened = open_source(settings.source, stores.checkpoints, keying, succession)
            reading = await stack.enter_async_context(opened)
        yield reading


@asynccontextmanager
async def compose(
    settings: Settings,
    *,
    clock: Clock | None = None,
    reading: tuple[Source, Origin] | None = None,
    succession: Succession = ALONE,
) -> AsyncIterator[Application]:
    """Put a consumer together; its stores and clients are closed when the block ends.

    `reading` takes the place of the source that the settings name, for all processors. `succession`: which
    process of a supervisor this is. Raises `ConfigurationError`.
    """
    clock = clock or SystemClock()

    def retire(group: str, partition: PartitionStatus) -> None:
        metrics.retire(labelled(group, partition))

    async with AsyncExitStack() as stack:
        checkpoints = await stack.enter_async_context(open_checkpoints(settings.state))
        dead_letters = await stack.enter_async_context(open_dead_letters(settings.dead_letters))
        stores = _Stores(checkpoints, dead_letters)
        engines: dict[str, Engine] = {}
        processors: list[RunningProcessor] = []
        collectors: list[Collector] = []
        groups = groups_of(settings) if reading is None else {SHARED: settings}
        for group, told in groups.items():
            opened = await stack.enter_async_context(_reading_of(told, stores, reading, succession))
            of_group = [running_processor(each, opened[1].group, clock) for each in told.processors]
            parts = _parts_of(told, opened, of_group, stores, partial(retire, group))
            engines[group] = Engine(parts, clock)
            collectors += opened[1].collectors
            processors += of_group
        engine = engines[SHARED] if engines.keys() == {SHARED} else Engines(engines)
        heartbeat = EventLoopHeartbeat()
        watchdog = LoopWatchdog(heartbeat, end_process=end_process, whose=processor_of)

        def status() -> EngineStatus:
            return msgspec.structs.replace(
                engine.status(), loop_blocks=watchdog.blocks, loop_longest_block_s=watchdog.longest_s
            )

        metrics = Metrics(status)
        for collector in collectors:
            metrics.registry.register(collector)
        for processor in processors:
            processor.observe = metrics.durations.observe
        admin = None
        if settings.admin.enabled:
            host, port = settings.admin.host, settings.admin.port
            admin = AdminServer(host, port, status=status, metrics=metrics, heartbeat=heartbeat)
        yield Application(engine, processors, checkpoints, dead_letters, metrics, heartbeat, watchdog, admin)


def _parts_of(
    settings: Settings,
    reading: tuple[Source, Origin],
    processors: Sequence[RunningProcessor],
    stores: _Stores,
    on_retired: Callable[[PartitionStatus], None],
) -> EngineParts:
    """What the engine of a consumer group is put together from."""
    source, origin = reading
    return EngineParts(
        source=source,
        checkpoints=stores.checkpoints,
        dead_letters=stores.dead_letters,
        processors=processors,
        admission=admission_of(settings),
        catalogue=catalogue_of(settings),
        policy=policy_of(settings),
        name_partition=origin.partition,
        source_name=origin.description,
        version=consumer.__version__,
        drain_timeout_s=settings.drain.timeout_s,
        fence_after_s=fence_after_s(settings),
        halts_on_gap=settings.source.on_gap == "halt",
        reader=origin.reader,
        on_retired=on_retired,
    )


def running_processor(
    settings: ProcessorSettings, group: str, clock: Clock | None = None, *, waits_for_target: bool = True
) -> RunningProcessor:
    """Load a processor and give it the policy it is run by. Raises `ConfigurationError`.

    `waits_for_target`: with its breaker. Without, what a person waits for fails when the target is down.
    """
    return RunningProcessor(
        plan=ProcessorPlan(
            name=settings.name,
            types=None if "*" in settings.types else settings.hub_types,
            internal_types=settings.internal_types,
            delivery=Delivery(settings.delivery),
            delivers_stale=settings.stale == "deliver",
            queue_max=settings.queue_max,
            matches=_predicate(settings.filter),
            parks=settings.on_failure_order == "park",
            parked_max=settings.parked_max,
        ),
        type=settings.type,
        # Loading checks that it can be called or takes batches.
        target=cast("Processor | BatchProcessor", load_processor(settings.type, settings.options)),
        retry=RetryPolicy(
            attempts_max=settings.retry.attempts,
            backoff_s=settings.retry.backoff_s,
            backoff_max_s=settings.retry.backoff_max_s,
            block=settings.on_failure == "block",
        ),
        group=group,
        concurrency=settings.concurrency,
        chunk_max=settings.chunk_max,
        deadline_s=settings.deadline_s,
        gate=gate_of(settings, clock or SystemClock(), has_breaker=waits_for_target),
    )


def gate_of(settings: ProcessorSettings, clock: Clock, *, has_breaker: bool = True) -> Gate:
    """The breaker and the rate limit of a processor."""
    told, rate = settings.breaker, settings.rate
    breaker = bucket = None
    if told.enabled and has_breaker:
        # A probe that was cut off at its deadline ends soon after it, or never.
        probe_max_s = settings.deadline_s + 2 * CUT_OFF_S
        breaker = Breaker(BreakerPolicy(told.failures, told.open_s, told.open_max_s, probe_max_s))
    if rate is not None:
        policy = RatePolicy(rate.events, rate.per_s, rate.burst or rate.events)
        bucket = TokenBucket(policy, clock.monotonic_s())
    return Gate(settings.name, clock, breaker, bucket)


def admission_of(settings: Settings, also: Iterable[str] = ()) -> Admission:
    """The gate: topics and types; `also` are further types."""
    topics, types = settings.admission.topics, settings.admitted_types
    return Admission(None if topics == "any" else topics, None if types is None else (*types, *also))


def keying_of(settings: Settings, store: DeadLetterStore | None = None) -> opening.Keying:
    """How a source that is not keyed by object finds out what an event's object is.

    `store`: where it puts aside what it cannot send on; None for who only looks.
    """
    find = Keying(catalogue_of(settings), admission_of(settings))
    put_aside = None if store is None else Aside(find, store, SystemClock())
    return opening.Keying(find, settings.sequence.idle_margin_s, put_aside)


def catalogue_of(settings: Settings) -> Catalogue:
    """The built-in catalogue behind the configured rules."""
    return Catalogue([_family(rule) for rule in settings.catalogue])


def fence_after_s(settings: Settings) -> float:
    """How long an owner trusts itself: less than it takes until others take its partitions."""
    told, expire_s = settings.state.fence_after_s, settings.ownership_expires_s
    if told is not None:
        return told
    return FENCE_AFTER_S if expire_s is None else min(FENCE_AFTER_S, expire_s * 5 / 6)


def policy_of(settings: Settings) -> PipelinePolicy:
    """The numbers that every pipeline goes by."""
    sequence, dedupe = settings.sequence, settings.dedupe
    admitted = settings.admission.model_dump(mode="json") | {"types": settings.admitted_types}
    return PipelinePolicy(
        sequencer=SequencerLimits(
            window_ms=round(sequence.window_s * 1_000),
            held_max=sequence.held_max,
            held_bytes_max=round(sequence.held_bytes_max_mb * 1_048_576),
            span_max=sequence.span_max,
            objects_max=dedupe.objects_max,
        ),
        idle_margin_ms=round(sequence.idle_margin_s * 1_000),
        dedupe_window_ms=round(dedupe.window_h * 3_600_000),
        identities_max=dedupe.identities_max,
        in_flight_max=settings.limits.in_flight_max,
        internal_max=settings.limits.internal_max,
        rules=tuple(rule_of(each) for each in settings.expect),
        checkpoint_interval_ms=round(settings.state.checkpoint_interval_s * 1_000),
        owner=f"{socket.gethostname()}/{os.getpid()}",
        config_hash=hashlib.sha256(orjson.dumps(admitted, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16],
    )


def rule_of(settings: ExpectationSettings) -> Rule:
    """A rule about what does not come. Raises `ConfigurationError` for a filter in a file that is wrong."""
    after, expected = settings.after, settings.expect
    keys = Listed(expected.keys) if expected.keys is not None else Template(expected.key or "")
    return Rule(
        settings.name,
        Sought(after.types, Template(after.key), _predicate(after.filter)),
        Sought(expected.types, keys, _predicate(expected.filter)),
        round(settings.within_min * 60_000),
        settings.pending_max,
    )


def _predicate(settings: FilterSettings | None) -> Callable[[Event], bool] | None:
    return None if settings is None else compiled(settings.canonical().filter())


def _family(rule: CatalogueRule) -> Family:
    types = tuple(pattern.casefold() for pattern in rule.types)
    path = subject if rule.object == "subject" else named(*_names(rule.object))
    return Family(f"configured: {', '.join(rule.types)}", types, path, tuple(_rules(rule.order)))


def _rules(order: Iterable[OrderRule]) -> Iterable[order_rules.OrderRule]:
    for each in order:
        names = _names(each.path or "")
        match each.by:
            case "sequencer":
                yield order_rules.by_sequencer(*names)
            case "sequence_number":
                yield order_rules.by_number(OrderedBy.SEQUENCE_NUMBER, *names)
            case "sync_token":
                yield order_rules.by_sync_token(*names)
            case "version":
                yield order_rules.by_version(*names)
            case "event_time":
                yield order_rules.by_event_time


def _names(path: str) -> list[str]:
    """``data.order.id`` to its keys below ``data``."""
    return path.split(".")[1:]
