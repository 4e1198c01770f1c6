"""The same awkward events, the same crashes: `inturn run` beside the SDK's own sample.

All read the same log, each in a consumer group of its own with its checkpoints in Azurite, are killed at the
same moments, and bring their effects to receivers that are away at the same moments. The sample is
`sdk_sample`; what it gets wrong is printed, and is no goal of ours:

* *lost*: events that had no effect and lie before the checkpoint, so that nobody will ever read them again.
  The form with a `try` loses what the receiver did not take while it was away: the error is logged, the
  checkpoint is moved on. Literally the sample loses nothing so, but
* *stuck*: events that had no effect and lie behind the checkpoint when nothing new has come for `QUIET_S`.
  An event that cannot be read raises, the partition begins again at the last checkpoint, and raises again.
* *out of order*: a first effect that came after one of a later event of the object.
* *stale*: an event that came too late to be put in order and had its effect after a later one of its object.
* *repeats*: further effects of one event: of its duplicates in the hub, and of what was read again.

A duplicate that was handled in the place of its original counts for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore
from harness.books import discrepancies
from harness.receiver import Receiver
from harness.verdict import Verdict, judge
from harness.worlds import HUB, MIX, Worker, World

from consumer.events import Outcome, Position, Reason
from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.samples.reading import read_body
from consumer.samples.trace import plan
from consumer.samples.truth import Truth

PARTITIONS = 4
FORMS = ("raises", "logs")
OURS = "inturn"
AWAY_S = 1.0
"""How long receivers take nothing, once."""
QUIET_S = 8.0
"""After so long without an event that was never handled before, the sample has no more to say."""


@dataclass
class Sample:
    """One form of the sample, and its process."""

    form: str
    world: World
    storage: str
    container: str
    receiver: Receiver = field(default_factory=Receiver)
    workers: list[Worker] = field(default_factory=list)

    async def start(self) -> None:
        log_file = self.world.folder / f"sample-{self.form}-{len(self.workers)}.log"
        place = f"{self.world.hub.connection_string()};EntityPath={HUB}"
        arguments = (place, self.form, self.storage, self.container, str(self.receiver.port), self.form)
        with log_file.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(Path(__file__).with_name("sdk_sample.py")), *arguments),
                env={"PATH": os.environ["PATH"]},
                stdout=log,
                stderr=log,
            )
        self.workers.append(Worker(process, log_file))

    async def until_quiet(self, within_s: float) -> None:
        """Wait until it handles nothing new any more."""
        give_up_s, known, since_s = time.monotonic() + within_s, 0, time.monotonic()
        while time.monotonic() < min(give_up_s, since_s + QUIET_S):
            await asyncio.sleep(0.2)
            if len(self.receiver.positions) > known:
                known, since_s = len(self.receiver.positions), time.monotonic()

    async def checkpoints(self) -> dict[str, int]:
        """The sequence number of every partition's checkpoint."""
        async with BlobCheckpointStore.from_connection_string(self.storage, self.container) as store:
            found = await store.list_checkpoints(f"127.0.0.1:{self.world.hub.port}", HUB, self.form)
        return {each["partition_id"]: int(each["sequence_number"]) for each in found}

    async def judged(self, truth: Truth) -> dict[str, int]:
        """What it got wrong."""
        spots = {position: spot for spot, order in truth.handled.items() for position in order}
        originals, effects = originals_of(self.world, truth), []
        for effect in self.receiver.effects:
            position = originals.get(effect.position, effect.position)
            effects.append(effect._replace(position=position, spot=spots.get(position, effect.spot)))
        verdict, checkpoints = judge(truth, effects), await self.checkpoints()
        lost = [each for each in verdict.lost if each.sequence_number <= checkpoints.get(each.partition, -1)]
        ends = Counter(truth.ends[each.position].outcome for each in verdict.uncalled)
        return {
            "lost": len(lost),
            "stuck": len(verdict.lost) - len(lost),
            "out-of-order": len(verdict.out_of_order),
            "stale": ends[Outcome.STALE],
            "repeats": len(verdict.repeats),
        }


def originals_of(world: World, truth: Truth) -> dict[Position, Position]:
    """For every duplicate, the event that it repeats and that has to be handled, if there is one."""
    known: dict[Any, Position] = {}
    duplicates: dict[Position, Any] = {}
    for partition, log in world.logs().items():
        for message in log:
            for index, read in enumerate(read_body(message.body)):
                if isinstance(read, Reason):
                    continue
                position = Position(partition, message.sequence_number, index)
                change = (
                    partition,
                    read.topic,
                    read.subject,
                    read.type,
                    json.dumps(read.data, sort_keys=True),
                )
                match truth.ends[position].outcome:
                    case Outcome.HANDLED:
                        known.setdefault(change, position)
                    case Outcome.DUPLICATE:
                        duplicates[position] = change
    return {position: known[change] for position, change in duplicates.items() if change in known}


@asynccontextmanager
async def contest(
    folder: Path, seed: int, blob_state: dict[str, Any]
) -> AsyncIterator[tuple[World, list[Sample]]]:
    """A hub, and all that read it."""
    hub_settings = HubSettings(name=HUB, partitions=PARTITIONS, consumer_groups=("$Default", OURS, *FORMS))
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(LocalHub(LocalHubSettings(hubs=(hub_settings,))))
        receiver = Receiver()
        await stack.enter_async_context(receiver.listening())
        world = World(folder, hub, receiver, seed)
        world.configure(state=blob_state, source={"consumer_group": OURS})
        storage, container = blob_state["connection_string"], blob_state["container"]
        samples = [Sample(form, world, storage, f"{container}-{form}") for form in FORMS]
        for sample in samples:
            await stack.enter_async_context(sample.receiver.listening())
            async with BlobCheckpointStore.from_connection_string(storage, sample.container) as store:
                await store._container_client.create_container()
        try:
            yield world, samples
        finally:
            for worker in (*world.workers, *(each for sample in samples for each in sample.workers)):
                await worker.kill()


async def restart(world: World, samples: list[Sample]) -> None:
    """Kill whoever reads, and start them again."""
    for worker in (*world.workers[-1:], *(each for sample in samples for each in sample.workers[-1:])):
        await worker.kill()
    await world.start()
    for sample in samples:
        await sample.start()


async def perform(world: World, samples: list[Sample], events: int, crashes: int, rate_per_s: float) -> int:
    """Send the trace, with a crash from time to time, and receivers that are away once.

    Gives the number of crashes.
    """
    away_until_s = 0.0
    for receiver in (world.receiver, *(sample.receiver for sample in samples)):
        receiver.refuses = lambda: time.monotonic() < away_until_s
    trace = plan(world.seed, events, MIX)
    total, sent = len(trace.messages), 0
    crash_at = [total * (number + 1) // (crashes + 1) for number in range(crashes)]
    away_at = total // (crashes + 1) // 2
    for phase in trace.phases:
        await asyncio.sleep(phase.pause_before_s(world.window_s))
        began_s = time.monotonic()
        for count, message in enumerate(phase.messages):
            await asyncio.sleep(max(0.0, began_s + count / rate_per_s - time.monotonic()))
            world.publish(message)
            sent += 1
            if crash_at and sent >= crash_at[0] and are_at_work(world, samples):
                del crash_at[0]
                await restart(world, samples)
            elif sent == away_at:
                away_until_s = time.monotonic() + AWAY_S
    return crashes - len(crash_at)


def are_at_work(world: World, samples: list[Sample]) -> bool:
    """Whether a crash would hit work: of ours, and of the form of the sample that does not get stuck."""
    at_work = [(world.receiver, world.workers[-1])]
    at_work += [(each.receiver, each.workers[-1]) for each in samples if each.form == "logs"]
    return all(
        receiver.effects
        and receiver.effects[-1].pid == worker.pid
        and receiver.effects[-1].at_s > time.time() - 0.5
        for receiver, worker in at_work
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_the_sdks_own_sample_loses_and_turns_round_what_we_do_not(
    effort, seed, figure, explain, tmp_path: Path, blob_state
):
    events = effort.pick(short=2_000, full=20_000, deep=100_000)
    crashes = effort.pick(short=1, full=5, deep=25)
    async with contest(tmp_path, seed, blob_state) as (world, samples):
        await restart(world, samples)
        await world.until_reading(world.workers[-1], PARTITIONS)
        crashed = await perform(world, samples, events, crashes, effort.pick(short=250, full=300, deep=300))
        verdict = await world.settled()
        async with asyncio.TaskGroup() as tasks:
            for sample in samples:
                tasks.create_task(sample.until_quiet(60))
        found = [await world.workers[-1].stop(), *await discrepancies(world, world.truth())]
        wrong = {sample.form: await sample.judged(world.truth()) for sample in samples}
        explain(world.trouble([*verdict.faults, *map(str, found)]))
    figure("sdk-sample-crashes", crashed, "kills", ">=", 1)
    state_figures(figure, verdict, wrong)
    figure("inturn-unaccounted", len(found) - (found[0] == 0), "events", "==", 0)


def state_figures(figure, verdict: Verdict, wrong: dict[str, dict[str, int]]) -> None:
    """Side by side."""
    figure("sdk-sample-events", verdict.expected, "events")
    for name, value in wrong["raises"].items():
        figure(f"sample-{name}", value, "events")
    for name, value in wrong["logs"].items():
        figure(f"sample-that-logs-{name}", value, "events")
    figure("inturn-lost", len(verdict.lost), "events", "==", 0)
    figure("inturn-out-of-order", len(verdict.out_of_order), "events", "==", 0)
    figure("inturn-not-called-for", len(verdict.uncalled), "events", "==", 0)
    figure("inturn-repeats", len(verdict.repeats), "events")
    behind = len(verdict.twice_behind_keys) + len(verdict.dropped_behind_keys)
    figure("inturn-repeats-behind-keys", behind, "events", "==", 0)
