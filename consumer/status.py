"""What a running inturn says of itself: plain numbers, read by metrics, the status page and the CLI."""

from __future__ import annotations

import msgspec


class PartitionStatus(msgspec.Struct, frozen=True):
    """One owned partition. Counts are totals since it was assigned; ages are seconds."""

    partition: str
    state: str
    """reading, paused, draining or halted."""
    checkpoint: int
    """Sequence number; -1: nothing done."""
    last_received: int
    newest: int | None
    """The newest sequence number in the partition, if known."""
    lag: int | None
    """`newest` minus `checkpoint`."""
    in_flight: int
    held: int
    held_bytes: int
    watermark_ms: int | None
    checkpoint_age_s: float
    """Since the last successful write, or since the assignment."""
    heartbeat_age_s: float
    """Since the partition's task last turned."""
    objects: int
    identities: int
    outcomes: dict[str, int]
    """By ``outcome`` or ``outcome:reason``, as `Outcome` and `Reason` spell them."""
    ordered_by: dict[str, int]
    redelivered: int
    gaps: int
    """Sequence numbers that never came."""
    unkeyed: int
    """Events that came without a partition key: their object's order is not safe."""
    identity_conflicts: int
    incomparable: int
    identities_evicted: int
    """Identities forgotten before their time because the cap was reached."""
    released_early: int = 0
    """Held events that a limit let go before the window had passed: they may be overtaken."""
    lease_s: float = 0.0
    """How long attempts may still begin before the store is asked whether the partition is still ours."""
    epoch: int = 0
    """How many owners the partition has had."""
    internal: int = 0
    """Events that processors and rules emitted and that somebody is not done with."""
    internal_outcomes: dict[str, int] = msgspec.field(default_factory=dict)
    """emitted, unwanted (nobody names the type), and by outcome."""
    expectations: dict[str, int] = msgspec.field(default_factory=dict)
    """pending, met, missed and unwatched (there was no room), over all rules; empty: there are none."""
    receive: str = ""
    """How its events are received: fast or sdk; empty with a source that has one way only."""
    worker: str = ""
    """Which of several workers owns it."""


class ProcessorStatus(msgspec.Struct, frozen=True):
    """One processor, summed over the owned partitions. Counts are totals since the start."""

    name: str
    type: str
    delivery: str
    queued: int
    running: int
    handled: int
    attempts_failed: int
    dead_lettered: int
    stale_skipped: int
    busy_s: float
    """Time spent inside attempts."""
    last_error: str
    abandoned: int = 0
    """Attempts that go on now although they were cut off at their deadline."""
    breaker: str = ""
    """closed, open (nothing is attempted) or half_open (one event is tried); empty: it has none."""
    breaker_opened: int = 0
    breaker_waited_s: float = 0.0
    """What lanes have waited for the breaker, added up."""
    rate_waited_s: float = 0.0
    """What lanes have waited for the rate limit, added up."""
    group: str = ""
    """Its own consumer group; empty: the one that it shares with others."""
    parked: int = 0
    """Objects whose later events follow an earlier one of theirs into the dead letters."""
    refused: int = 0
    """Events of its types that its filter kept from it."""


class WorkerStatus(msgspec.Struct, frozen=True):
    """One of several worker processes, as its supervisor sees it."""

    worker: str
    """Its name: 1, 2 and so on. A process that takes the place of a dead one has the same."""
    state: str
    """starting, running, draining, silent (does not answer), waiting (to be started again) or stopped."""
    pid: int | None
    """None while there is no process."""
    restarts: int
    up_s: float
    """Since this process was started; 0 while there is none."""
    silent_s: float
    """Since it last answered."""
    last_end: str
    """How the process before this one ended; empty if there was none."""
    partitions: int = 0
    cpu_s: float = 0.0
    """Processor time used, by the processes before it too."""
    resident_bytes: int = 0


class EngineStatus(msgspec.Struct, frozen=True):
    """The whole process, or all workers together."""

    version: str
    state: str
    """starting, running, draining or stopped."""
    ready: bool
    not_ready: list[str]
    """Why not, one sentence each."""
    uptime_s: float
    source: str
    """Where events come from, for a person: no secret in it."""
    dead_letters: int | None
    """In the store; None if it could not be asked."""
    objects_spread: int
    """Objects seen on more than one partition: their order is not safe."""
    partitions: list[PartitionStatus]
    processors: list[ProcessorStatus]
    outcomes: dict[str, int] = msgspec.field(default_factory=dict)
    """By ``outcome`` or ``outcome:reason``, since the start, partitions that were given up included."""
    loop_blocks: int = 0
    """How often the event loop was held up for more than a second."""
    loop_longest_block_s: float = 0.0
    workers: list[WorkerStatus] = msgspec.field(default_factory=list)
    """The worker processes; empty if there is only this process."""


class WorkerReport(msgspec.Struct, frozen=True):
    """What a worker tells its supervisor, once or twice a second."""

    status: EngineStatus
    not_live: list[str]
    """Why the worker had better be started again, one sentence each; empty if all of it turns."""
    counters: dict[tuple[str, ...], float]
    """Everything that only rises during the life of the process, by a name of its own."""
    resident_bytes: int
