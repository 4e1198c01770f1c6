"""One processor and one event, or one chunk of events, until there is a verdict.

This is the processor boundary: whatever a processor raises ends here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from consumer.core.flights import ProcessorPlan
from consumer.core.idempotency import idempotency_key
from consumer.core.retry import RetryPolicy
from consumer.core.stimuli import Verdict
from consumer.events import Event, Reason
from consumer.processor import BatchProcessor, Context, Emission, Processor
from consumer.runtime.breaker import Patience
from consumer.runtime.clock import Clock
from consumer.runtime.deadline import Deadline
from consumer.runtime.faults import Fault, fault_of, is_cancelled
from consumer.runtime.gate import Gate
from consumer.runtime.lease import Lease

_log = structlog.get_logger("inturn.processor")

Observer = Callable[[str, str, float, int], None]
"""Told after every attempt: processor, result, seconds, number of events."""


@dataclass(slots=True)
class ProcessorCounts:
    """What one processor did, over all partitions, since the start."""

    queued: int = 0
    running: int = 0
    handled: int = 0
    attempts_failed: int = 0
    dead_lettered: int = 0
    busy_s: float = 0.0
    strays: list[float] = field(default_factory=list)
    """When the attempts began that go on now although they were cut off, on the monotonic clock."""
    last_error: str = ""


@dataclass(slots=True)
class RunningProcessor:
    """A processor with the policy that it is run by."""

    plan: ProcessorPlan
    type: str
    target: Processor | BatchProcessor
    retry: RetryPolicy
    group: str
    """The consumer group, a part of every idempotency key."""
    replay_id: str = ""
    """A part of every key as well, so that receivers do not take a replay for a repetition; "": live."""
    concurrency: int = 8
    chunk_max: int = 100
    """Events that a batch processor is given at once."""
    deadline_s: float = 30.0
    """For one attempt; then it is cancelled and counts as failed."""
    observe: Observer = lambda _processor, _result, _seconds, _count: None
    counts: ProcessorCounts = field(default_factory=ProcessorCounts)
    gate: Gate = field(default_factory=Gate)
    """Breaker and rate limit, over all partitions; as it comes it has neither."""

    @property
    def takes_batches(self) -> bool:
        """Whether it is given chunks."""
        return self.process_batch is not None

    @property
    def process_batch(self) -> Callable[[Sequence[Event], Context], Awaitable[None]] | None:
        """What is given chunks, if anything is."""
        # Not by `isinstance`: to ask a protocol costs as much as all the rest of an attempt.
        return getattr(self.target, "process_batch", None)

    @property
    def process_single(self) -> Processor:
        """What is given single events, if nothing is given chunks."""
        return self.target  # type: ignore[return-value] # there is no `process_batch`

    def key_of(self, event: Event) -> str:
        """The idempotency key of the processor's effect for an event."""
        return idempotency_key(self.group, self.plan.name, event, self.replay_id)


class Turn:
    """What the attempts of one lane need, and what is seen of them from outside."""

    __slots__ = ("clock", "deadline", "epoch", "is_closing", "lease", "started_s", "took_s")

    def __init__(self, lease: Lease, clock: Clock, epoch: int) -> None:
        self.lease = lease
        self.clock = clock
        self.epoch = epoch
        self.deadline = Deadline()
        self.started_s: float | None = None
        """When the attempt began that runs now."""
        self.took_s = 0.0
        """How long the attempt took that ended last."""
        self.is_closing = False
        """Nothing more is begun: who would begin waits to be cut off."""

    @property
    def may_begin(self) -> bool:
        """Whether an attempt may begin now."""
        return self.clock.monotonic_s() < self.lease.expires_s and not self.is_closing

    def begin(self, processor: RunningProcessor, events: Sequence[Event], attempt: int) -> Context:
        """Begin an attempt, here and now; gives what the processor is told."""
        processor.counts.running += 1
        self.started_s = self.clock.monotonic_s()
        self.deadline.begin(processor.deadline_s)
        name, replay_id = processor.plan.name, processor.replay_id
        return Context(name, attempt, events, processor.key_of, replay_id, self.epoch)

    def end(self, counts: ProcessorCounts) -> bool:
        """End the attempt; tells whether it was cut off at its deadline."""
        is_over = self.deadline.end()
        assert self.started_s is not None, "ended without a beginning"
        self.took_s = took_s = self.clock.monotonic_s() - self.started_s
        self.started_s = None
        counts.running -= 1
        counts.busy_s += took_s
        return is_over

    async def hold(self) -> None:
        """Return when an attempt may begin; never, if none is to begin any more."""
        await self.lease.hold()
        if self.is_closing:
            await asyncio.Event().wait()


class Ending(NamedTuple):
    """How it ended for one event."""

    verdict: Verdict
    reason: Reason | None = None
    error: str = ""
    attempts: int = 1
    emitted: Sequence[Emission] = ()


HANDLED = Ending(Verdict.HANDLED)

PUT_OFF_MAX_S = 86_400.0
"""How long an event may be put off in all; then that counts as failed attempts: none waits for ever."""
_PUT_OFF_LEAST_S = 0.1
"""The shortest wait: who says `NotYet` at once, and again, is not to keep a core busy."""


class _Trouble:
    """What one event, or one chunk, has gone through that has no verdict yet."""

    def __init__(self, processor: RunningProcessor) -> None:
        self._gate = processor.gate
        self._retry = processor.retry
        self._patience = Patience(processor.retry.attempts_max)
        self._put_off_left_s = PUT_OFF_MAX_S

    def wait_s(self, fault: Fault, permit: int, jitter: float) -> float | None:
        """Take note of a failed attempt; gives how long to wait before the next one, None: there is none."""
        if fault.is_final:
            self._gate.withdrawn(permit)
            return None
        if fault.is_put_off and self._put_off_left_s:
            self._gate.withdrawn(permit)
            wait_s = min(max(fault.after_s or 0.0, _PUT_OFF_LEAST_S), self._put_off_left_s)
            self._put_off_left_s -= wait_s
            return wait_s
        self._gate.failed(permit, self._patience, fault.error)
        return self._retry.wait_s(self._patience.spent, jitter, fault.after_s)


async def run_attempts(processor: RunningProcessor, events: Sequence[Event], turn: Turn) -> Ending | None:
    """Attempt until there is a verdict on all events together; None: they are to be tried one by one.

    What a chunk cannot do together costs only the bad event if each is tried alone. Never raises, but for
    being cancelled itself. No attempt begins while the partition may be another owner's, or is given up.
    """
    gate, single, process_batch = processor.gate, processor.process_single, processor.process_batch
    attempts = permit = 0
    trouble: _Trouble | None = None
    while True:
        if not turn.may_begin:
            await turn.hold()
        if not gate.is_calm:
            permit = await _enter(gate, turn, len(events))
        attempts += 1
        context = turn.begin(processor, events, attempts)
        is_over = False
        try:
            try:
                if process_batch is None:
                    await single(events[0], context)
                else:
                    await process_batch(events, context)
            finally:  # one frame for all of it: this is what most attempts cost
                is_over = turn.end(processor.counts)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            fault = fault_of(error, processor.deadline_s if is_over else None)
            if fault is None:  # it is we who are cancelled
                gate.withdrawn(permit)
                raise
        else:
            return _handled(processor, len(events), turn.took_s, context.emitted)
        _note_fault(processor, fault, events, attempts, turn.took_s)
        if not fault.is_final and is_cancelled():
            # It made a fault of our cutting it off: nobody will tell us again, and no event is to blame.
            gate.withdrawn(permit)
            raise asyncio.CancelledError
        trouble = trouble or _Trouble(processor)
        wait_s = trouble.wait_s(fault, permit, turn.clock.jitter())
        if wait_s is None:
            return _given_up(processor, fault, attempts) if len(events) == 1 else None
        await asyncio.sleep(wait_s)
        permit = 0


async def _enter(gate: Gate, turn: Turn, count: int) -> int:
    """Wait until an attempt may begin, by the gate and still by the lease; gives the gate's permit."""
    while True:
        permit = await gate.enter(turn.lease.partition, count)
        if turn.may_begin:
            return permit
        gate.withdrawn(permit, unused=count)
        await turn.hold()


def _handled(processor: RunningProcessor, count: int, took_s: float, emitted: Sequence[Emission]) -> Ending:
    processor.observe(processor.plan.name, "handled", took_s, count)
    if not processor.gate.is_calm:
        processor.gate.succeeded()
    processor.counts.handled += count
    return Ending(Verdict.HANDLED, emitted=emitted) if emitted else HANDLED


def _given_up(processor: RunningProcessor, fault: Fault, attempts: int) -> Ending:
    if not fault.is_final:
        processor.gate.gave_up()
    reason = fault.reason or (Reason.REJECTED if fault.is_final else Reason.RETRIES_SPENT)
    processor.counts.dead_lettered += 1
    return Ending(Verdict.FAILED, reason, fault.error, attempts)


def _note_fault(
    processor: RunningProcessor, fault: Fault, events: Sequence[Event], attempt: int, took_s: float
) -> None:
    processor.observe(processor.plan.name, fault.kind, took_s, len(events))
    if fault.is_put_off:
        _log.debug("An event is put off.", processor=processor.plan.name, until=fault.error)
        return
    processor.counts.attempts_failed += 1
    processor.counts.last_error = fault.error
    _log.warning(
        "An attempt failed.",
        processor=processor.plan.name,
        attempt=attempt,
        events=len(events),
        partition=events[0].position.partition,
        sequence_number=events[0].position.sequence_number,
        error=fault.error,
    )
