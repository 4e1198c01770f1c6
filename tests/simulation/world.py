"""One simulated run: replicas of the real engine, a hub, stores, receivers, and whoever is against them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from property.oracle import TOPIC, TYPES
from simulation.audit import Audit
from simulation.loop import Owner, SimLoop
from simulation.nemesis import Faults, Nemesis, Plan
from simulation.operator import Operator
from simulation.processors import KINDS, Moods, make_processors
from simulation.records import Tally, Violation
from simulation.servers import SimCheckpoints, SimDeadLetters, Weather, Wire
from simulation.source import Hub, Ownership, Record, SimSource
from simulation.telling import RULE, Telling, listener_of
from simulation.trace import ADMITTED, EPOCH_MS, WINDOW_MS, PartitionTrace, Shape, judge, make_trace
from simulation.watching import Limits, watching

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.events import PartitionId
from consumer.runtime.engine import Engine, EngineParts, Reader
from consumer.runtime.lifecycle import run_engine

DRAIN_MAX_S = 60.0
_STOP_MAX_S = 60.0
_LOOK_S = 6.0
"""How long the last replica looks for something to do."""
_IN_FLIGHT_MAX = 80
_MARGIN_MS = 5_000
_MISSED_AFTER_S = 15.0
"""When all has been missed that is missed at all: the deadline, the margin, and a look at the clock."""


class Setup(NamedTuple):
    """What kind of run."""

    shape: Shape = Shape()
    plan: Plan = Plan()
    replicas: int = 3
    parks: bool = False
    """Whether processors park, and somebody redrives."""


class Outcome(NamedTuple):
    """How a run went."""

    seed: int
    violations: list[Violation]
    tally: Tally
    faults: Faults
    virtual_s: float
    steps: int
    cpu_s: float
    digest: str


class SimClock:
    """Processing time of one replica, which is wrong by a little."""

    def __init__(self, loop: SimLoop, skew_ms: int, chance: random.Random) -> None:
        self._loop = loop
        self._skew_ms = skew_ms
        self._chance = chance

    def now_ms(self) -> int:
        return EPOCH_MS + int(self._loop.time() * 1_000) + self._skew_ms

    def monotonic_s(self) -> float:
        return self._loop.time()

    def jitter(self) -> float:
        return self._chance.random()


@dataclass
class Replica:
    """A process that is started again when it has died."""

    name: str
    owner: Owner | None = None
    engine: Engine | None = None
    starts: int = 0
    is_ended: bool = True


@dataclass
class World:
    """Everything in one run."""

    seed: int
    setup: Setup
    trace: dict[str, PartitionTrace] | None = None
    replicas: list[Replica] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    is_stopping: bool = False
    """All is drained, and the replicas are being stopped."""
    is_over: bool = False

    def __post_init__(self) -> None:
        self.loop = SimLoop(self.seed)
        self.chance = random.Random(self.seed * 7_919 + 1)
        if self.trace is None:
            self.trace = make_trace(random.Random(self.seed * 7_919 + 2), self.setup.shape)
        wishes = [kind.wish for kind in KINDS]
        names = [kind.name for kind in KINDS]
        self._hash = hashlib.blake2b(digest_size=12)
        self.audit = Audit(self.loop.time, judge(self.trace, wishes), wishes, names, digest=self._note)
        self.audit.tally.events = sum(len(answer.spots()) for answer in self.audit.answers.values())
        self.hub = Hub({partition: [] for partition in self.trace})
        self.ownership = Ownership(self.loop, {partition: Record() for partition in self.trace})
        self.moods = Moods(self.seed)
        self.store_weather = Weather()
        self.letters_weather = Weather()
        self.store = SimCheckpoints(Wire(self.loop, self.chance, self.store_weather), self.audit)
        self.letters = SimDeadLetters(Wire(self.loop, self.chance, self.letters_weather), self.audit)
        self.audit.put_aside_of = self.letters.of
        self.telling = Telling(self.audit, self.trace)
        if self.setup.parks:
            self.moods.refused = 0.03
            self.audit.parking = frozenset(kind.name for kind in KINDS if not kind.blocks)
        self.nemesis = Nemesis(self, random.Random(self.seed * 7_919 + 3))

    def _note(self, *what: Any) -> None:
        self._hash.update(f"{self.loop.time():.6f} {what}".encode())

    # Replicas.

    def start(self, replica: Replica) -> None:
        """Start a replica, or start it again."""
        if self.is_over:
            return
        replica.starts += 1
        name = f"{replica.name}.{replica.starts}"
        chance = random.Random(f"{self.seed}/{name}")
        # Clocks agree where letters of several owners are put in order by them.
        skew_ms = 0 if self.setup.parks else chance.randrange(-500, 500)
        clock = SimClock(self.loop, skew_ms, chance)
        source = SimSource(self.loop, self.hub, self.ownership, replica.name, chance, clock)
        processors = make_processors(self.moods, self.audit, chance, clock)
        processors.append(listener_of(self.telling, chance))
        parts = EngineParts(
            source=source,
            checkpoints=self.store,
            dead_letters=self.letters,
            processors=processors,
            admission=Admission([TOPIC], [TYPES[letter] for letter in ADMITTED]),
            catalogue=Catalogue(),
            policy=PipelinePolicy(
                SequencerLimits(WINDOW_MS),
                idle_margin_ms=_MARGIN_MS,
                in_flight_max=_IN_FLIGHT_MAX,
                rules=(RULE,),
                owner=name,
            ),
            name_partition=lambda partition: PartitionId("simulation", "hub", "group", partition),
            source_name="the simulation",
            version="0",
            drain_timeout_s=8.0,
            reader=Reader(newest=source.newest, redelivered=source.redelivered, asked_ms=source.asked_ms),
        )
        replica.engine = engine = Engine(parts, clock)
        replica.is_ended = False

        async def main() -> None:
            try:
                await run_engine(engine, processors)
            except Exception as error:  # noqa: BLE001 - whatever ends a replica by itself is a finding
                if self.is_over:
                    return  # it is only being closed
                self.audit.complain("stuck", f"{name} has ended: {error!r}")
            replica.is_ended = True

        replica.owner = self.loop.start(name, main())

    async def stop(self, replica: Replica) -> None:
        """Stop a replica as SIGTERM does; one that is just being started again, after that."""
        while replica.owner is not None and replica.owner.is_dead:  # noqa: ASYNC110 - looking costs nothing
            await asyncio.sleep(0.1)
        owner, engine = replica.owner, replica.engine
        if owner is None or engine is None or replica.is_ended:
            return
        engine.drain()
        until_s = self.loop.time() + _STOP_MAX_S
        while not replica.is_ended and not owner.is_dead:
            if self.loop.time() > until_s:
                self.audit.complain("stuck", f"{owner} does not stop: {self.loop.unfinished(owner)}")
                return
            until_s += 0.25 if owner.is_frozen else 0
            await asyncio.sleep(0.25)
        await asyncio.sleep(0.1)
        if not owner.is_dead and self.loop.unfinished(owner):
            self.audit.complain("stuck", f"{owner} leaves {self.loop.unfinished(owner)}")

    # The run.

    def run(self) -> Outcome:
        """Run to the end."""
        cpu_s = time.process_time()
        with watching(self.audit, self.loop, Limits(_IN_FLIGHT_MAX, 40)):
            try:
                self.loop.run(self._main(), before_closing=self._is_through)
            except AssertionError as error:
                self.audit.complain("stuck", f"the simulation broke: {error!r}")
        for error in self.loop.errors:
            self.audit.complain("stuck", f"nobody caught: {error}")
        return Outcome(
            self.seed,
            self.audit.violations,
            self.audit.tally,
            self.faults,
            self.loop.time(),
            self.loop.steps,
            time.process_time() - cpu_s,
            self._hash.hexdigest(),
        )

    def _is_through(self) -> None:
        self.is_over = True

    async def _main(self) -> None:
        assert self.trace is not None
        for partition, trace in self.trace.items():
            for at_s, message in zip(trace.times_s, trace.messages, strict=True):
                self.loop.outside(at_s, self.hub.logs[partition].append, message)
        for number in range(self.setup.replicas):
            self.replicas.append(Replica(f"r{number}"))
            self.start(self.replicas[-1])
        if self.setup.parks:
            operator = Operator(
                self.letters.server, self.audit, self.moods, random.Random(self.seed * 7_919 + 4)
            )
            self.loop.start("operator", operator.work(lambda: self.is_stopping))
        await self.nemesis.rage()
        self.calm()
        await self._drained()
        await asyncio.sleep(_MISSED_AFTER_S)
        self.is_stopping = True
        for replica in self.replicas:
            await self.stop(replica)
        await self._nothing_repeats()
        self.telling.finish()
        self.audit.finish({name: len(trace.messages) - 1 for name, trace in self.trace.items()})

    def calm(self) -> None:
        """End every fault."""
        self.store_weather.calm()
        self.letters_weather.calm()
        self.moods.away.clear()
        self.moods.is_calm = True
        self.hub.is_unsteady = self.hub.is_away = False

    async def _drained(self) -> None:
        assert self.trace is not None
        last_s = max(trace.times_s[-1] for trace in self.trace.values())
        until_s = max(self.loop.time(), last_s) + DRAIN_MAX_S
        while self.loop.time() < until_s:
            stored = self.audit.stored
            if all(
                partition in stored
                and stored[partition].checkpoint.sequence_number == len(trace.messages) - 1
                for partition, trace in self.trace.items()
            ):
                return
            await asyncio.sleep(0.5)
        self.audit.complain("stuck", f"not drained {DRAIN_MAX_S:g} s after the last fault")

    async def _nothing_repeats(self) -> None:
        """After a graceful stop a new replica finds nothing to do."""
        before = self.audit.tally.effects
        last = Replica("last")
        self.start(last)
        await asyncio.sleep(_LOOK_S)
        await self.stop(last)
        if self.audit.tally.effects != before:
            self.audit.complain("repeated", "a new replica did something after all were stopped")
