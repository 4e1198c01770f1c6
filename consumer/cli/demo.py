"""`inturn demo`: the whole way of 20,000 events on this machine, and the truth beside every number.

It starts a local Event Hubs, sends a seeded trace with the real client (late, twice, out of order, poisoned),
consumes it with the real client through the real engine, and compares what came of it with what had to come
of it, as reckoned by `consumer.samples.truth` from what is in the hub.

Exit codes: 0 every number is the truth; 1 one is not, or it took too long.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from consumer.cli.demo_report import DemoProgress, Report, print_report
from consumer.cli.event_loop import run_async
from consumer.cli.exit_codes import ExitCode
from consumer.composition import Application, compose
from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.samples.messages import Trace
from consumer.samples.recorder import Recorder
from consumer.samples.sender import send_trace, trickle
from consumer.samples.trace import EVENTS_MIN, plan
from consumer.samples.truth import Rules, Truth, reckon
from consumer.settings import Settings
from consumer.telemetry.logs import configure_logging

HUB = "demo"
WINDOW_S = 1.0
"""The reorder window: short, so that nobody waits for late events."""
IDLE_MARGIN_S = 2.0
PATIENCE_S = 100.0
"""After so long without the last outcome the demonstration has failed."""
_KEEP_RATE_PER_S = 20.0


def demo(
    *,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events.")] = 1,
    events: Annotated[int, typer.Option(min=EVENTS_MIN, max=1_000_000, help="How many.")] = 20_000,
    partitions: Annotated[int, typer.Option(min=1, max=32, help="Of the hub.")] = 4,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on gently afterwards, with the status page, until Ctrl-C.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the status page; 0: any.")] = 0,
) -> None:
    """Send events that are late, repeated and out of order, consume them, and compare with the truth."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="inturn-demo-") as folder:
        # What is put aside is in the table, and need not be said besides.
        logging = configure_logging(level="error")
        try:
            stage = Stage(console, plan(seed, events), partitions, Path(folder), port)
            report = run_async(stage.play(keep=keep))
        finally:
            logging.close()
    if not report.is_true:
        raise typer.Exit(ExitCode.FINDINGS)


@dataclass(slots=True)
class Stage:
    """A hub, a consumer and a sender in one process."""

    console: Console
    trace: Trace
    partitions: int
    folder: Path
    port: int

    async def play(self, *, keep: bool) -> Report:
        """Send, consume, compare, print; with `keep` go on until stopped."""
        hub_settings = LocalHubSettings(hubs=(HubSettings(name=HUB, partitions=self.partitions),))
        async with LocalHub(hub_settings) as hub:
            async with compose(self._settings(hub)) as application, asyncio.TaskGroup() as tasks:
                running = tasks.create_task(application.run())
                report = await self._perform(hub, application, running)
                if keep and not running.done():
                    await self._go_on(hub, application, running)
                application.engine.drain()
                await running
            return report

    async def _perform(self, hub: LocalHub, application: Application, running: asyncio.Task[None]) -> Report:
        total = self.trace.events
        await self._until_assigned(application, running)
        started_s = time.monotonic()
        with DemoProgress(self.console, len(self.trace.messages), total) as progress:
            async with asyncio.TaskGroup() as tasks:
                # In a thread with a loop of its own: producers are elsewhere in real life, too, and one that
                # never waits would keep the consumer from its turn.
                sending = partial(self._send, hub.connection_string(HUB), progress)
                tasks.create_task(asyncio.to_thread(sending))
                while not running.done() and time.monotonic() - started_s < PATIENCE_S:
                    done = sum(application.engine.status().outcomes.values())
                    progress.on_resolved(done)
                    if done >= total:
                        break
                    await asyncio.sleep(0.1)
        took_s = time.monotonic() - started_s
        await self._settle(application)
        report = Report(
            seed=self.trace.seed,
            sent=len(self.trace.messages),
            took_s=took_s,
            truth=await asyncio.to_thread(self._truth, hub),  # takes seconds on a busy machine
            status=application.engine.status(),
            handled=_recorder(application).handled,
            dead_letters=await application.dead_letters.count(),
            newest={str(n): len(hub.log(HUB, str(n))) - 1 for n in range(self.partitions)},
        )
        print_report(self.console, report)
        return report

    def _send(self, connection_string: str, progress: DemoProgress) -> None:
        asyncio.run(send_trace(self.trace, connection_string, HUB, progress.on_sent, window_s=WINDOW_S))

    async def _until_assigned(self, application: Application, running: asyncio.Task[None]) -> None:
        """Send nothing before somebody listens, so that both can be watched side by side."""
        give_up_s = time.monotonic() + 20.0
        while time.monotonic() < give_up_s and not running.done():
            if len(application.engine.status().partitions) == self.partitions:
                return
            await asyncio.sleep(0.1)

    async def _settle(self, application: Application) -> None:
        """Give the last checkpoints a moment: they follow within the checkpoint interval."""
        give_up_s = time.monotonic() + 5.0
        while time.monotonic() < give_up_s:
            partitions = application.engine.status().partitions
            if partitions and all(each.in_flight == 0 and each.lag == 0 for each in partitions):
                return
            await asyncio.sleep(0.1)

    async def _go_on(self, hub: LocalHub, application: Application, running: asyncio.Task[None]) -> None:
        assert application.admin is not None
        self.console.print(
            f"Going on with {_KEEP_RATE_PER_S:g} events a second until Ctrl-C: {application.admin.url}"
        )
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(
                trickle(
                    hub.connection_string(HUB),
                    HUB,
                    window_s=WINDOW_S,
                    rate_per_s=_KEEP_RATE_PER_S,
                    seed=self.trace.seed + 1,
                )
            )
            await asyncio.wait((running, sending), return_when=asyncio.FIRST_COMPLETED)
            sending.cancel()

    def _truth(self, hub: LocalHub) -> Truth:
        logs = {str(number): hub.log(HUB, str(number)) for number in range(self.partitions)}
        return reckon(Rules(self.trace.topics, self.trace.types, round(WINDOW_S * 1_000)), logs)

    def _settings(self, hub: LocalHub) -> Settings:
        return Settings.model_validate(
            {
                "source": {
                    "type": "eventhub",
                    "connection_string": hub.connection_string(HUB),
                    "hub": HUB,
                    "load_balancing_interval_s": 1,
                },
                "state": {"type": "sqlite", "path": self.folder / "state.sqlite"},
                "admission": {"topics": list(self.trace.topics), "types": list(self.trace.types)},
                "sequence": {"window_s": WINDOW_S, "idle_margin_s": IDLE_MARGIN_S},
                "processors": [
                    {"name": "record", "type": "consumer.samples.recorder:Recorder"},
                    {"name": "keep", "type": "archive", "with": {"path": str(self.folder / "archive")}},
                ],
                "admin": {"port": self.port},
            }
        )


def _recorder(application: Application) -> Recorder:
    target = application.processors[0].target
    assert isinstance(target, Recorder)
    return target
