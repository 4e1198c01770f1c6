"""One processor and one event, or one chunk of events, until there is a verdict.

This is the processor boundary: whatever a processor raises ends here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import structlog

from consumer.core.flights import ProcessorPlan
from consumer.core.idempotency import idempotency_key
from consumer.core.retry import RetryPolicy
from consumer.core.stimuli import Verdict
from consumer.errors import BadData
from consumer.events import Event, Reason
from consumer.processor import BatchProcessor, Context, Emission, NotYet, Processor, Reject, Retry
from consumer.runtime.breaker import Patience
from consumer.runtime.clock import Clock
from consumer.runtime.deadline import Deadline
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

    def key_of(self, event: Event) -> str:
        """The idempotency key of the processor's effect for an event."""
        return idempotency_key(self.group, self.plan.name, event, self.replay_id)


class Turn:
    """What the attempts of one lane need, and what is seen of them from outside."""

    __slots__ = ("clock", "deadline", "emitted", "epoch", "is_closing", "lease", "started_s")

    def __init__(self, lease: Lease, clock: Clock, epoch: int) -> None:
        self.lease = lease
        self.clock = clock
        self.epoch = epoch
        self.deadline = Deadline()
        self.started_s: float | None = None
        """When the attempt began that runs now."""
        self.emitted: Sequence[Emission] = ()
        """What the attempt wants emitted that has just succeeded."""
        self.is_closing = False
        """Nothing more is begun: who would begin waits to be cut off."""

    @property
    def may_begin(self) -> bool:
        """Whether an attempt may begin now."""
        return not self.is_closing and self.lease.is_valid

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


class _Fault(NamedTuple):
    """A failed attempt."""

    kind: str
    """As the durations are labelled: failed, timeout, retry, not_yet or rejected."""
    error: str
    after_s: float | None = None
    reason: Reason | None = None
    """Why no further attempt can help, if it is not the processor who says so."""

    @property
    def is_final(self) -> bool:
        """Whether no further attempt can help."""
        return self.kind == "rejected"

    @property
    def is_put_off(self) -> bool:
        """Whether nothing has failed: it only has to wait."""
        return self.kind == "not_yet"


class _Trouble:
    """What one event, or one chunk, has gone through that has no verdict yet."""

    def __init__(self, processor: RunningProcessor) -> None:
        self._gate = processor.gate
        self._retry = processor.retry
        self._patience = Patience(processor.retry.attempts_max)
        self._put_off_left_s = PUT_OFF_MAX_S

    def wait_s(self, fault: _Fault, permit: int, jitter: float) -> float | None:
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
    gate, attempts, permit = processor.gate, 0, 0
    trouble: _Trouble | None = None
    while True:
        if not turn.may_begin:
            await turn.hold()
        if not gate.is_calm:
            permit = await _enter(gate, turn, len(events))
        attempts += 1
        try:
            fault = await _attempt(processor, events, attempts, turn)
            if fault is not None and not fault.is_final and _is_cancelled():
                # It made a fault of our cutting it off: nobody will tell us again, and no event is to blame.
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            gate.withdrawn(permit)
            raise
        if fault is None:
            if not gate.is_calm:
                gate.succeeded()
            processor.counts.handled += len(events)
            return Ending(Verdict.HANDLED, emitted=turn.emitted) if turn.emitted else HANDLED
        trouble = trouble or _Trouble(processor)
        wait_s = trouble.wait_s(fault, permit, turn.clock.jitter())
        if wait_s is None:
            break
        await asyncio.sleep(wait_s)
        permit = 0
    if len(events) > 1:
        return None
    if not fault.is_final:
        gate.gave_up()
    reason = fault.reason or (Reason.REJECTED if fault.is_final else Reason.RETRIES_SPENT)
    processor.counts.dead_lettered += 1
    return Ending(Verdict.FAILED, reason, fault.error, attempts)


async def _enter(gate: Gate, turn: Turn, count: int) -> int:
    """Wait until an attempt may begin, by the gate and still by the lease; gives the gate's permit."""
    while True:
        permit = await gate.enter(turn.lease.partition, count)
        if turn.may_begin:
            return permit
        gate.withdrawn(permit, unused=count)
        await turn.hold()


async def _attempt(
    processor: RunningProcessor, events: Sequence[Event], attempt: int, turn: Turn
) -> _Fault | None:
    name, replay_id = processor.plan.name, processor.replay_id
    context = Context(name, attempt, events, processor.key_of, replay_id, turn.epoch)
    counts = processor.counts
    counts.running += 1
    turn.started_s = started_s = turn.clock.monotonic_s()
    fault: _Fault | None = None
    try:
        fault = await _call(processor, events, context, turn.deadline)
    finally:
        turn.started_s = None
        counts.running -= 1
        took_s = turn.clock.monotonic_s() - started_s
        counts.busy_s += took_s
    if fault is None:
        turn.emitted = context.emitted
        processor.observe(processor.plan.name, "handled", took_s, len(events))
        return None
    processor.observe(processor.plan.name, fault.kind, took_s, len(events))
    if fault.is_put_off:
        _log.debug("An event is put off.", processor=processor.plan.name, until=fault.error)
        return fault
    counts.attempts_failed += 1
    counts.last_error = fault.error
    _log.warning(
        "An attempt failed.",
        processor=processor.plan.name,
        attempt=attempt,
        events=len(events),
        partition=events[0].position.partition,
        sequence_number=events[0].position.sequence_number,
        error=fault.error,
    )
    return fault


async def _call(
    processor: RunningProcessor, events: Sequence[Event], context: Context, deadline: Deadline
) -> _Fault | None:
    process_batch = processor.process_batch
    is_over = False
    try:
        deadline.begin(processor.deadline_s)
        try:
            if process_batch is None:
                await cast("Processor", processor.target)(events[0], context)
            else:
                await process_batch(events, context)
        finally:
            is_over = deadline.end()
    except Reject as verdict:
        return _Fault("rejected", _describe(verdict, "rejected by the processor"))
    except BadData as flaw:  # found only now, by the first who asked for the data
        return _Fault("rejected", _describe(flaw), reason=flaw.reason)
    except NotYet as request:
        return _Fault("not_yet", _describe(request, "it has to wait"), request.after_s)
    except Retry as request:
        return _Fault("retry", _describe(request, "the processor asked for it again"), request.after_s)
    except (TimeoutError, asyncio.CancelledError) as error:
        return _interrupted(error, processor.deadline_s if is_over else None)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the processor boundary
        return _Fault("failed", _describe(error))
    return None


def _interrupted(error: TimeoutError | asyncio.CancelledError, deadline_s: float | None) -> _Fault:
    """Tell our deadline (None: it was not over) from the processor's own ones, and from being cancelled."""
    # Being cancelled ourselves is not the processor's fault; a cancellation of its own is.
    if isinstance(error, asyncio.CancelledError) and _is_cancelled():
        raise error
    if deadline_s is not None:
        return _Fault("timeout", f"no result within the deadline of {deadline_s:g} s")
    return _Fault("failed", _describe(error, "the processor was cancelled from inside"))


def _is_cancelled() -> bool:
    """Whether this task is to end, by whatever its processor made of that."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _describe(error: BaseException, otherwise: str = "") -> str:
    """One line for a person: what was raised, without a trace."""
    if isinstance(error, (Reject, Retry, BadData)):
        return (str(error) or otherwise)[:1_000]
    text = f"{type(error).__name__}: {error}" if str(error) else otherwise or type(error).__name__
    return " ".join(text.split())[:1_000]
