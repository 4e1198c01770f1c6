"""inturn as processes, a hub to read from, and what came out of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from harness.commands import Ended, end_of
from harness.replays import configure

from consumer.hub import LocalHub

TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
DEADLINE_S = 60.0


def registered(model: str, version: int) -> bytes:
    """The body of a ModelRegistered event, as Event Grid delivers it to a hub."""
    event = {
        "id": f"{model}-{version}",
        "topic": TOPIC,
        "subject": f"models/{model}:{version}",
        "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
        "eventTime": "2026-01-01T00:00:00.0000000Z",
        "data": {"modelName": model, "modelVersion": version},
        "dataVersion": "2",
    }
    return json.dumps([event]).encode()


def bodies(models: int, each: int, first: int = 1) -> list[bytes]:
    """Versions of models, from `first` on, of all models in turn."""
    return [registered(f"m{model}", first + at) for at in range(each) for model in range(models)]


async def inturn(folder: Path, *arguments: str) -> Ended:
    """Run a command to its end without blocking the hub, which runs in this very loop."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer", *arguments),
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("INTURN_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return await end_of(process)


class Place:
    """A folder with a configuration, and the processes that run in it."""

    def __init__(self, folder: Path, hub: LocalHub) -> None:
        self.folder = folder
        self.hub = hub

    def configure(self, name: str = "inturn.yaml", **changes: Any) -> None:
        """Write a configuration; JSON is YAML as well."""
        source = {
            "type": "eventhub",
            "connection_string": self.hub.connection_string(),
            "hub": "events",
            "load_balancing_interval_s": 1,
        }
        settings = {
            "source": source,
            "state": {"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 0.2},
            "admission": {"topics": [TOPIC]},
            "sequence": {"window_s": 0.2, "idle_margin_s": 0.5},
            "processors": [{"name": "keep", "type": "archive", "with": {"path": "archive"}}],
            "admin": {"enabled": False},
        }
        (self.folder / name).write_text(json.dumps(settings | changes))

    @asynccontextmanager
    async def running(self, name: str = "inturn.yaml") -> AsyncIterator[asyncio.subprocess.Process]:
        """A consumer; whatever a test leaves running is killed."""
        with (self.folder / "log.txt").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "consumer", "run", "-c", name),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(self.folder), "PYTHONUNBUFFERED": "1"},
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def publish(self, bodies: list[bytes], key: str | None = None) -> None:
        """Put events into the hub, each in a message, all of one object under one key."""
        for body in bodies:
            model = json.loads(body)[0]["data"]["modelName"]
            self.hub.publish("events", body, partition_key=key or model)

    def archived(self) -> list[dict[str, Any]]:
        """What the archive holds, file by file, in the order of writing; a torn last line is left out."""
        lines = []
        for file in sorted((self.folder / "archive").glob("*.jsonl")):
            lines += [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        return [json.loads(line) for line in lines]

    def ids(self) -> list[str]:
        return [line["id"] for line in self.archived()]

    def versions(self, model: str) -> list[int]:
        """The versions of a model in the order in which they were handled."""
        return [int(one.rpartition("-")[2]) for one in self.ids() if one.rpartition("-")[0] == model]

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something has come about in another process."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():  # noqa: ASYNC110 - another process sets no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"It did not come about. The log:\n{self.log()[-4_000:]}")


async def stop(process: asyncio.subprocess.Process, with_signal: int = signal.SIGTERM) -> int:
    """Ask a consumer to stop; gives its exit code."""
    process.send_signal(with_signal)
    return await asyncio.wait_for(process.wait(), DEADLINE_S)


@pytest.fixture
def place(tmp_path: Path, local_hub: LocalHub) -> Place:
    return Place(tmp_path, local_hub)


@pytest.fixture
def bench(place):
    """The place, with two processors that note what they do."""
    configure(place)
    return place
