"""Decides whether the process is alive and ready, from numbers alone, and says why not in sentences.

*Alive* asks whether a restart would help: the event loop and every partition's task turn. *Ready* asks
whether the process can do its work: owning no partition is fine (a surplus replica waits for its
turn), a halted one is not. *Hints* keep nobody from working; a person should read them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from consumer.status import EngineStatus, PartitionStatus

__all__ = ["EventLoopHeartbeat", "HealthLimits", "Verdict", "hints", "judge_live", "judge_ready"]


class HealthLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long silence is normal. Beyond it the process is not alive."""

    loop_heartbeat_age_max_s: float = 10.0
    partition_heartbeat_age_max_s: float = 60.0


class Verdict(msgspec.Struct, frozen=True):
    """A decision and the sentences behind it."""

    ok: bool
    reasons: list[str]
    """Why not, one sentence each; empty when `ok`."""
    hints: list[str] = msgspec.field(default_factory=list)
    """What does not stand in the way and still wants attention."""


class EventLoopHeartbeat:
    """Shows that the event loop turns. The engine's task group runs `run`; until then its age grows."""

    def __init__(self, *, interval_s: float = 0.25, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._beaten_at = clock()

    @property
    def age_s(self) -> float:
        """Seconds since the last beat; about `interval_s` at most on a loop that turns."""
        return self._clock() - self._beaten_at

    def beat(self) -> None:
        """Say that the loop turned just now."""
        self._beaten_at = self._clock()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(self._interval_s)


def judge_live(
    status: EngineStatus, loop_heartbeat_age_s: float, limits: HealthLimits | None = None
) -> Verdict:
    """Whether the process turns; if not, restart it."""
    limits = limits or HealthLimits()
    reasons = []
    if loop_heartbeat_age_s > limits.loop_heartbeat_age_max_s:
        reasons.append(
            f"The event loop has not turned for {loop_heartbeat_age_s:.0f} s "
            f"(limit {limits.loop_heartbeat_age_max_s:g} s)."
        )
    reasons += [
        f"Partition {p.partition} has not turned for {p.heartbeat_age_s:.0f} s "
        f"(limit {limits.partition_heartbeat_age_max_s:g} s)."
        for p in status.partitions
        # Behind a supervisor a partition that stands still is a worker's, which the supervisor restarts.
        # A halted partition waits for an operator: a restart would only halt it again.
        if not status.workers
        and p.state != "halted"
        and p.heartbeat_age_s > limits.partition_heartbeat_age_max_s
    ]
    if status.state == "stopped":
        reasons.append("The engine has stopped.")
    return Verdict(not reasons, reasons)


def judge_ready(
    status: EngineStatus, loop_heartbeat_age_s: float, limits: HealthLimits | None = None
) -> Verdict:
    """Whether the process can do its work now."""
    reasons = list(judge_live(status, loop_heartbeat_age_s, limits).reasons)
    reasons += status.not_ready or _plain_reasons(status)
    if not status.ready and not reasons:
        reasons.append("The engine says that it is not ready, and not why.")
    return Verdict(not reasons, reasons, hints(status))


def _plain_reasons(status: EngineStatus) -> list[str]:
    """What the numbers say where the engine gives no reasons of its own."""
    reasons = []
    if status.state in {"starting", "draining"}:
        reasons.append(f"The engine is {status.state}.")
    reasons += [
        f"Partition {p.partition} is halted: an operator must decide; the log says what."
        for p in status.partitions
        if p.state == "halted"
    ]
    return reasons


def hints(status: EngineStatus) -> list[str]:
    """What a person should know although nothing has stopped, one sentence each."""
    found = []
    if status.dead_letters:
        found.append(f"Dead letters in the store: {status.dead_letters}; see `inturn dlq list`.")
    if status.objects_spread:
        found.append(
            f"Objects on more than one partition: {status.objects_spread}; their order is not safe. "
            "Set the delivery property PartitionKey on the Event Grid subscription."
        )
    unkeyed = _total(status, lambda p: p.unkeyed)
    if unkeyed and not status.objects_spread:
        found.append(
            f"Events without a partition key: {unkeyed}; order is safe only while the hub has one partition."
        )
    failing = [p.name for p in status.processors if p.breaker in {"open", "half_open"}]
    if failing:
        found.append(f"Breakers open: {', '.join(failing)}; their events wait until a try succeeds.")
    gaps = _total(status, lambda p: p.gaps)
    if gaps:
        found.append(f"Sequence numbers that never came: {gaps}; the hub's retention may be too short.")
    evicted = _total(status, lambda p: p.identities_evicted)
    if evicted:
        found.append(f"Identities forgotten early: {evicted}; a late duplicate could be processed twice.")
    return found


def _total(status: EngineStatus, read: Callable[[PartitionStatus], int]) -> int:
    return sum(read(partition) for partition in status.partitions)
