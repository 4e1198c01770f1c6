"""A replay releases what the live run released, in the same order, with the same outcomes.

The log is complete before anybody reads it, and its times lie in the past. So the live run, too, goes by log
time alone until its very end, where the clock releases what is held as the end of a stretch does: nothing of
what is compared depends on how fast either of them was. The awkward trace is spread over log time at random,
and the reorder window is so short that many events come in at its edge: with 18 ms instead of 20 ms the
digest is another one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import sqlite3
import sys
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.replay.ledger import Ledger
from consumer.samples.messages import Trace
from consumer.samples.trace import plan
from consumer.samples.truth import Rules, reckon

PARTITIONS = 4
WINDOW_S = 0.02
PATIENCE_S = 400.0
RECORD = """
import json

class Record:
    async def process_batch(self, events, context):
        with open(f"{context.processor}-{context.replay_id or 'live'}.jsonl", "a") as file:
            for event in events:
                place = event.position
                position = [place.partition, *event.object_id, place.sequence_number, place.index]
                file.write(json.dumps([*position, event.stale, event.is_latest]) + "\\n")
"""
PROCESSORS = (
    {"name": "turn", "type": "record:Record"},
    {"name": "late", "type": "record:Record", "stale": "deliver", "types": ["Microsoft.Storage.*"]},
    {"name": "models", "type": "record:Record", "types": ["Microsoft.MachineLearningServices.*"]},
    {"name": "alert", "type": "record:Record", "delivery": "on_arrival"},
)
"""Not `latest`: what a busy lane skips depends on how busy it is."""


def fill(hub: LocalHub, trace: Trace, seed: int) -> None:
    """Put a trace into the hub, spread over log time that has passed."""
    rng = random.Random(seed)
    messages = [message for phase in trace.phases for message in phase.messages]
    late_from = len(trace.phases[0].messages)
    time_ms = time.time_ns() // 1_000_000 - 4 * len(messages) - 60_000
    for number, message in enumerate(messages):
        time_ms += rng.choice((0, 0, 1, 2, 3, 5, 8)) + (1_000 if number == late_from else 0)
        if rng.random() < 0.001:
            time_ms += round(WINDOW_S * 1_000)
        hub.publish(
            "events",
            message.body,
            partition_key=message.partition_key,
            properties=message.properties,
            enqueued_time_ms=time_ms,
        )


def turns_of(folder: Path, run: str) -> dict[tuple[str, ...], list[tuple[int, int]]]:
    """What the processor "turn" was given, by object, in order."""
    orders = defaultdict(list)
    for line in (folder / f"turn-{run}.jsonl").read_text().splitlines():
        partition, topic, path, number, index, *_ = json.loads(line)
        orders[partition, topic, path].append((number, index))
    return dict(orders)


def truth_of(hub: LocalHub, trace: Trace) -> dict[tuple[str, ...], list[tuple[int, int]]]:
    """What it has to be given, reckoned from the log."""
    rules = Rules(trace.topics, trace.types, round(WINDOW_S * 1_000))
    truth = reckon(rules, {str(number): hub.log("events", str(number)) for number in range(PARTITIONS)})
    return {
        tuple(spot): [(position.sequence_number, position.index) for position in order]
        for spot, order in truth.handled.items()
    }


class Digest(NamedTuple):
    """What was done, in order for every processor and object."""

    effects: int
    repeats: int
    """Effects that were there already; they change nothing of the others."""
    positions: str
    flags: str
    """With what the events said of themselves."""
    stale: int


def digest(folder: Path, run: str) -> Digest:
    effects = repeats = late = 0
    plain, flagged = hashlib.sha256(), hashlib.sha256()
    for processor in PROCESSORS:
        orders: dict[tuple[str, ...], dict[tuple[int, int], tuple[bool, bool]]] = defaultdict(dict)
        for line in (folder / f"{processor['name']}-{run}.jsonl").read_text().splitlines():
            partition, topic, path, number, index, stale, is_latest = json.loads(line)
            order = orders[partition, topic, path]
            effects += 1
            late += stale
            repeats += (number, index) in order
            order.setdefault((number, index), (stale, is_latest))
        for spot in sorted(orders):
            plain.update(repr((processor["name"], spot, list(orders[spot]))).encode())
            flagged.update(repr((processor["name"], spot, list(orders[spot].items()))).encode())
    return Digest(effects, repeats, plain.hexdigest(), flagged.hexdigest(), late)


class Runs:
    """A folder in which consumers and replays of the hub run."""

    def __init__(self, folder: Path, hub: LocalHub, trace: Trace, group: str = "$Default") -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "record.py").write_text(RECORD)
        source = {
            "type": "eventhub",
            "connection_string": hub.connection_string(),
            "hub": "events",
            "consumer_group": group,
            "load_balancing_interval_s": 1,
        }
        settings = {
            "source": source,
            "state": {"type": "sqlite", "path": "state.sqlite"},
            "admission": {"topics": list(trace.topics), "types": list(trace.types)},
            "sequence": {"window_s": WINDOW_S, "idle_margin_s": 2},
            "processors": PROCESSORS,
            "admin": {"port": 0},
            "logging": {"format": "json"},
        }
        (folder / "inturn.yaml").write_text(json.dumps(settings))
        self._total = trace.events

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        with (self.folder / "log.txt").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "consumer", *arguments),
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(self.folder)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def live(self, kill_after: int | None = None) -> dict[str, int]:
        """Consume everything; killed once on the way, if wanted. Gives the outcomes of the last process."""
        if kill_after is not None:
            doomed = await self.start("run")
            await self.until_done(kill_after, "live", doomed)
            doomed.kill()
            await doomed.wait()
        process = await self.start("run")
        try:
            outcomes = await asyncio.wait_for(self._until_through(), PATIENCE_S)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0, self.log()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return outcomes

    async def _until_through(self) -> dict[str, int]:
        """Wait until every partition is done to its end."""
        while True:
            await asyncio.sleep(0.2)
            opened = [line for line in self._whole_log().splitlines() if '"The admin port is open."' in line]
            if not opened:
                continue
            url = json.loads(opened[-1])["url"]
            try:
                status = await asyncio.to_thread(_ask, f"{url}/status")
            except OSError:
                continue  # the one that was killed
            lags = [each["lag"] for each in status["partitions"]]
            if len(lags) == PARTITIONS and not any(lags) and None not in lags:
                return status["outcomes"]

    async def replay(self, name: str, *, stop_after: int | None = None) -> dict[str, int]:
        """Replay everything; stopped once on the way, if wanted. Gives the outcomes."""
        process = await self.start("replay", "--from", "earliest", "--id", name, "--yes")
        if stop_after is not None:
            await self.until_done(stop_after, name, process)
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 75, self.log()
            process = await self.start("replay", "--resume", name)
        # 1: what is poison is dead-lettered.
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 1, self.log()
        ledger = Ledger(self.folder / "inturn-replays.sqlite")
        entry = await ledger.find(name)
        await ledger.close()
        assert entry.finished_ms is not None
        return entry.tally.outcomes

    async def until_done(self, effects: int, run: str, process: asyncio.subprocess.Process) -> None:
        file = self.folder / f"turn-{run}.jsonl"
        give_up_at = time.monotonic() + PATIENCE_S
        while not file.exists() or file.read_bytes().count(b"\n") < effects:
            assert process.returncode is None, self.log()
            assert time.monotonic() < give_up_at, self.log()
            await asyncio.sleep(0.05)

    def state(self) -> list[Any]:
        """Everything the live consumer has stored, but for its dead letters."""
        with sqlite3.connect(self.folder / "state.sqlite") as connection:
            tables = ("checkpoints", "ownerships")
            found = [row for table in tables for row in connection.execute(f"SELECT * FROM {table}")]
        connection.close()
        return found

    def log(self) -> str:
        """The end of it, for a person."""
        return self._whole_log()[-20_000:]

    def _whole_log(self) -> str:
        return (self.folder / "log.txt").read_text()


def _ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())


@pytest.mark.timeout(1_000)
@pytest.mark.slow
async def test_a_replay_releases_what_the_live_run_released(tmp_path, figure, effort, seed):
    events = effort.pick(short=5_000, full=100_000, deep=1_000_000)
    trace = plan(seed, events)
    hub = HubSettings(name="events", partitions=PARTITIONS, consumer_groups=("$Default", "second"))
    async with LocalHub(LocalHubSettings(hubs=(hub,))) as running:
        fill(running, trace, seed)
        runs = Runs(tmp_path / "whole", running, trace)
        outcomes = await runs.live()
        before = runs.state()
        killed = Runs(tmp_path / "killed", running, trace, group="second")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(killed.live(kill_after=events // 5))
            replayed = await runs.replay("whole")
            stopped = await runs.replay("stopped", stop_after=events // 5)
        after = runs.state()
        truth = truth_of(running, trace)

    assert before
    live, whole = digest(runs.folder, "live"), digest(runs.folder, "whole")
    again, survived = digest(runs.folder, "stopped"), digest(killed.folder, "live")
    assert live.repeats == whole.repeats == again.repeats == 0
    assert live.stale > 0
    assert turns_of(runs.folder, "whole") == truth
    figure("replay-events", sum(replayed.values()), "events", ">=", events)
    figure("replay-effects", whole.effects, "effects", "==", live.effects)
    figure("replay-digest-equal", int((whole, replayed) == (live, outcomes)), "of 1", "==", 1)
    figure(
        "replay-stopped-and-resumed-digest-equal",
        int((again.positions, stopped) == (live.positions, outcomes)),
        "of 1",
        "==",
        1,
    )
    figure("replay-digest-equals-killed-live", int(survived.positions == whole.positions), "of 1", "==", 1)
    figure("replay-live-checkpoint-changes", len(set(before) ^ set(after)), "rows", "==", 0)
