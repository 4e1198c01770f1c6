"""A world: a hub, a receiver, a flow of awkward events, and workers that are `inturn run` as users run it.

The hub and the receiver live in the test's own process and outlive the workers, which are processes that can
be killed, frozen and stopped. What becomes of the events is judged by `harness.verdict`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.hub.server import LoggedEvent
from consumer.samples.messages import Message, Mix
from consumer.samples.trace import TOPICS, TYPES, plan
from consumer.samples.truth import Rules, Truth, reckon
from harness.processes import ROOT
from harness.receiver import Receiver
from harness.verdict import Verdict, judge

HUB = "events"
WINDOW_S = 0.5
TRACE_EVENTS = 600
"""How many events are told of one set of objects, until others come."""
MIX = Mix(repeated=0.2, overtaken=0.2, late=0.02, poison=0.02)
SETTLES_WITHIN_S = 120.0
"""How long a test waits for what comes at once when the machine is not crowded."""
LOG_TAIL_LINES = 30
FAULTS_SHOWN_MAX = 20


class Worker:
    """One `inturn run`."""

    def __init__(self, process: asyncio.subprocess.Process, log_file: Path) -> None:
        self.process = process
        self.log_file = log_file
        self.started_s = time.time()
        self.ended_s: float | None = None
        """When it was found to have ended, in seconds since 1970, as in the log."""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        return self.process.returncode is not None

    @property
    def errors(self) -> str:
        """Standard error: the log, and what is said at the end."""
        return self.log_file.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The complete lines of the log."""
        return [json.loads(line) for line in self.errors.split("\n")[:-1] if line.startswith("{")]

    def logged(self, sentence: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == sentence]

    async def kill(self) -> None:
        """SIGKILL, and wait until it is dead: from then on it has no effect."""
        if not self.has_ended:
            self.process.kill()
            await self.process.wait()
        self._note_end()

    def owned(self) -> set[str]:
        """The partitions that it has, by its log."""
        owned: set[str] = set()
        for line in self.log:
            match line["event"]:
                case "A partition was assigned.":
                    owned.add(line["partition"])
                case "A partition was drained." | "A partition was lost to another owner.":
                    owned.discard(line["partition"])
        return owned

    def assignments(self) -> list[tuple[str, float]]:
        """The partitions that it was assigned, and when, in seconds since 1970."""
        return [
            (line["partition"], datetime.fromisoformat(line["timestamp"]).timestamp())
            for line in self.logged("A partition was assigned.")
        ]

    def assigned_s(self, partition: str, after_s: float) -> float | None:
        """When it was first assigned a partition after a time; None: never."""
        return min(
            (at_s for name, at_s in self.assignments() if name == partition and at_s > after_s), default=None
        )

    def hears_sigterm(self) -> bool:
        """Whether it has set a handler: until then a signal ends it as the system likes."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except FileNotFoundError:
            return True  # it has ended
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def stop(self, number: int = signal.SIGTERM, within_s: float = 60.0) -> int:
        """Ask it to stop; gives the exit code."""
        if not self.has_ended:
            self.process.send_signal(number)
        async with asyncio.timeout(within_s):
            code = await self.process.wait()
        self._note_end()
        return code

    def _note_end(self) -> None:
        self.ended_s = self.ended_s or time.time()

    def tail(self) -> str:
        """The end of its log, without what fails and is tried again, and without what the SDK says of it."""
        noise = ("An attempt failed.", "EventProcessor instance")
        lines = [line for line in self.errors.splitlines() if not any(each in line for each in noise)]
        return "\n".join([f"Worker {self.pid}, {self.process.returncode}:", *lines[-LOG_TAIL_LINES:]])


class World:
    """See the module; made by `open_world`."""

    def __init__(self, folder: Path, hub: LocalHub, receiver: Receiver, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.hub = hub
        self.receiver = receiver
        self.seed = seed
        self.rng = random.Random(seed)
        self.workers: list[Worker] = []
        """All that were ever started."""
        self.window_s = WINDOW_S
        self.flows = asyncio.Event()
        """While it is not set, no event comes."""
        self.flows.set()

    def configure(self, name: str = "inturn.yaml", **sections: Any) -> str:
        """Write a configuration; what is given for a section replaces single settings of it."""
        usual: dict[str, Any] = {
            "source": {
                "type": "eventhub",
                "hub": HUB,
                "connection_string": self.hub.connection_string(),
                "load_balancing_interval_s": 1,
            },
            "state": {"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 0.5},
            "admission": {"topics": list(TOPICS), "types": list(TYPES)},
            "sequence": {"window_s": self.window_s, "idle_margin_s": 5},
            "admin": {"enabled": False},
        }
        courier = {
            "name": "post",
            "type": "harness.courier:Courier",
            "with": {"port": self.receiver.port},
            "retry": {"backoff_s": 0.1, "backoff_max_s": 1, "attempts": 1_000},
            # Open for no longer than a retry waits: a receiver that is back is to be noticed as soon.
            "breaker": {"open_s": 0.1, "open_max_s": 1},
        }
        processor = courier | sections.pop("processor", {})
        for section, values in sections.items():
            is_whole = "type" in values
            usual[section] = values if is_whole else usual.get(section, {}) | values
        (self.folder / name).write_text(json.dumps(usual | {"processors": [processor]}))
        return name

    async def start(self, config: str = "inturn.yaml") -> Worker:
        """Start a worker; see `until_reading` for when it is at work."""
        log_file = self.folder / f"worker-{len(self.workers)}.log"
        with log_file.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "consumer", "run", "-c", config),
                cwd=self.folder,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
                },
                stdout=log,
                stderr=log,
            )
        worker = Worker(process, log_file)
        self.workers.append(worker)
        return worker

    async def until(
        self, condition: Callable[[], Any], what: str, within_s: float = SETTLES_WITHIN_S
    ) -> None:
        """Wait for something that comes about in another process."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():  # noqa: ASYNC110 - another process sets no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"Not within {within_s:g} s: {what}\n{self.tails()}") from None

    async def until_reading(self, worker: Worker, partitions: int = 1) -> None:
        """Wait until a worker was assigned so many partitions."""
        await self.until(
            lambda: len(worker.logged("A partition was assigned.")) >= partitions or worker.has_ended,
            f"worker {worker.pid} is assigned {partitions} partitions",
        )

    def at_work(self, since_s: float) -> set[int]:
        """The pids of the workers that have had an effect since then."""
        recent = itertools.takewhile(lambda effect: effect.at_s >= since_s, reversed(self.receiver.effects))
        return {effect.pid for effect in recent}

    # The flow of events.

    @asynccontextmanager
    async def fed(self, rate_per_s: float) -> AsyncIterator[None]:
        """Let events flow into the hub for as long as the block lasts."""
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(self._feed(rate_per_s))
            try:
                yield
            finally:
                feeding.cancel()

    async def _feed(self, rate_per_s: float) -> None:
        for number in range(self.rng.randrange(1 << 30), 1 << 31):
            trace = plan(number, TRACE_EVENTS, MIX, start=datetime.now(UTC))
            for phase in trace.phases:
                await asyncio.sleep(phase.pause_before_s(self.window_s))
                began_s = time.monotonic()
                for count, message in enumerate(phase.messages):
                    await asyncio.sleep(max(0.0, began_s + count / rate_per_s - time.monotonic()))
                    await self.flows.wait()
                    self.publish(message)

    def publish(self, message: Message) -> None:
        """Put a message into the hub."""
        self.hub.publish(
            HUB, message.body, partition_key=message.partition_key, properties=message.properties
        )

    # What came of it.

    def truth(self) -> Truth:
        """What must become of everything that is in the hub."""
        rules = Rules(topics=TOPICS, types=TYPES, window_ms=int(self.window_s * 1_000))
        return reckon(rules, self.logs())

    def logs(self) -> dict[str, list[LoggedEvent]]:
        """What is in the hub, by partition."""
        partitions = self.hub.settings.hubs[0].partitions
        return {str(number): self.hub.log(HUB, str(number)) for number in range(partitions)}

    async def settled(self, within_s: float = SETTLES_WITHIN_S) -> Verdict:
        """Wait until every event that has to be handled was handled, or for so long, and judge."""
        truth = self.truth()
        called = {position for order in truth.handled.values() for position in order}
        try:
            async with asyncio.timeout(within_s):
                while called - self.receiver.positions:  # noqa: ASYNC110 - effects set no event
                    await asyncio.sleep(0.2)
        except TimeoutError:
            pass  # the verdict says what is missing
        return judge(truth, self.receiver.effects)

    def trouble(self, faults: Sequence[str]) -> str:
        """For a person: what is wrong in this world, and what its last workers said."""
        if not faults:
            return f"World {self.seed} is well."
        more = [f"and {len(faults) - FAULTS_SHOWN_MAX} more"] if len(faults) > FAULTS_SHOWN_MAX else []
        return "\n".join([f"World {self.seed}:", *faults[:FAULTS_SHOWN_MAX], *more, self.tails()])

    def tails(self) -> str:
        """The ends of the logs of the last workers, and where all of them are."""
        return "\n".join([*(worker.tail() for worker in self.workers[-3:]), f"All logs: {self.folder}"])


@asynccontextmanager
async def open_world(folder: Path, seed: int, partitions: int = 4) -> AsyncIterator[World]:
    """Open a world in a folder of its own; whoever lives in it at the end is killed."""
    settings = LocalHubSettings(hubs=(HubSettings(name=HUB, partitions=partitions),))
    receiver = Receiver()
    async with LocalHub(settings) as hub, receiver.listening():
        world = World(folder, hub, receiver, seed)
        try:
            yield world
        finally:
            for worker in world.workers:
                await worker.kill()
