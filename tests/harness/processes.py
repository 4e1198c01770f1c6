"""`inturn` as its users have it: every part in a process of its own, the hub too, and what came of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 40.0
"""How long a test waits for something before it fails; nothing takes so long when all is well."""
TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acceptance"


def eventually(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    pytest.fail(f"Not within {timeout_s:g} s: {what}")


class Answer(NamedTuple):
    """What the admin port answers."""

    code: int
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


class Process:
    """One `inturn …` that runs beside the test; its output goes to files."""

    def __init__(self, arguments: Iterable[str], folder: Path, env: dict[str, str]) -> None:
        number = len(list(folder.glob("*.err")))
        self._out, self._err = folder / f"{number}.out", folder / f"{number}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "consumer", *arguments], cwd=folder, env=env, stdout=out, stderr=err
            )

    @property
    def output(self) -> str:
        return self._out.read_text()

    @property
    def errors(self) -> str:
        """Standard error: the log, and what is said at the end."""
        return self._err.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The complete lines of the log."""
        return [json.loads(line) for line in self.errors.split("\n")[:-1] if line.startswith("{")]

    def logged(self, sentence: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == sentence]

    @property
    def url(self) -> str:
        """Of the admin port, once it is open."""
        opened = eventually(
            lambda: self.logged("The admin port is open.") or self.has_ended(), "an admin port"
        )
        assert opened is not True, self.errors
        return str(opened[0]["url"])

    def ask(self, path: str) -> Answer:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode())

    def status(self) -> Any:
        return self.ask("/status").json()

    def until_owning(self, count: int) -> Process:
        eventually(lambda: len(self.status()["partitions"]) == count, f"it owns {count} partitions")
        return self

    def has_ended(self) -> bool:
        return self.popen.poll() is not None

    def end(self, number: int | None = None) -> int:
        """Send a signal, if any, and give the exit code."""
        if number is not None:
            self.popen.send_signal(number)
        return self.popen.wait(PATIENCE_S)


class Inturn:
    """Runs commands in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Process] = []

    def __call__(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "consumer", *arguments],
            cwd=self.folder,
            env=self._env(env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str, **env: str) -> Process:
        """Start a command that goes on; it is killed at the end of the test at the latest."""
        process = Process(arguments, self.folder, self._env(env))
        self._started.append(process)
        return process

    def close(self) -> None:
        for process in self._started:
            if not process.has_ended():
                process.popen.kill()
            process.popen.wait()

    def _env(self, more: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            # The folder too, for processors that a test writes into it.
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(self.folder)]),
            "NO_COLOR": "1",
            "COLUMNS": "200",
            **more,
        }


class Hub:
    """`inturn hub` in a process of its own, with the hub "events" of four partitions kept in a folder."""

    def __init__(self, inturn: Inturn, key: str | None, groups: Iterable[str] = ()) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._inturn = inturn
        self._key = key
        self._groups = [f"--group={group}" for group in groups]
        self.start()

    def start(self) -> None:
        """Start it, or start it again with what it had."""
        options = [*self._groups, *([] if self._key is None else ["--key", self._key])]
        self._process = self._inturn.start("hub", "--port", str(self.port), "--data", "hub-data", *options)
        eventually(lambda: "sb://" in self._process.output or self._process.has_ended(), "a hub that listens")
        assert not self._process.has_ended(), self._process.errors

    def stop(self) -> None:
        assert self._process.end(signal.SIGTERM) == 0, self._process.errors

    @property
    def connection_string(self) -> str:
        return self.connection_string_with(self._key or "any")

    def connection_string_with(self, key: str) -> str:
        return (
            f"Endpoint=sb://127.0.0.1:{self.port};SharedAccessKeyName=RootManageSharedAccessKey;"
            f"SharedAccessKey={key};UseDevelopmentEmulator=true"
        )

    def source(self, **fields: Any) -> dict[str, Any]:
        """The section of a configuration that reads this hub."""
        return {
            "type": "eventhub",
            "hub": "events",
            "connection_string": self.connection_string,
            "load_balancing_interval_s": 1,
            **fields,
        }

    def send(self, lines: Iterable[str], *options: str) -> None:
        """Send lines with `inturn send`, and wait until all are in the hub."""
        sent = self._inturn("send", *self._sending(lines), *options)
        assert sent.returncode == 0, sent.stderr

    def start_sending(self, lines: Iterable[str], *options: str) -> Process:
        """Send lines in the background."""
        return self._inturn.start("send", *self._sending(lines), *options)

    def _sending(self, lines: Iterable[str]) -> list[str]:
        file = self._inturn.folder / f"{len(list(self._inturn.folder.glob('*.jsonl')))}.jsonl"
        file.write_text("".join(f"{line}\n" for line in lines))
        return ["--connection-string", self.connection_string, "--file", str(file)]


class Archive:
    """What the archive processor has written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self) -> list[list[dict[str, Any]]]:
        """The lines of every file, oldest file first; a line that is being written is left out."""
        return [
            [json.loads(line) for line in path.read_text().split("\n")[:-1]]
            for path in sorted(self._folder.glob("*.jsonl"))
        ]

    def lines(self) -> list[dict[str, Any]]:
        return [line for file in self.files() for line in file]

    def ids(self) -> list[str]:
        return [line["id"] for line in self.lines()]

    def until(self, count: int) -> None:
        """Wait until so many different events are there."""
        eventually(lambda: len(set(self.ids())) >= count, f"{count} different events in the archive")


class Story(NamedTuple):
    """Events of some objects, and what has to come of them."""

    lines: list[str]
    """JSON, in the order in which they are sent: of an object's events, every second one comes too early."""
    ids: list[str]
    in_turn: dict[str, list[str]]
    """By subject: the sequencers in the right order."""


def tell(objects: int = 10, each: int = 10, chapter: int = 0) -> Story:
    """Make the story of some objects; a later chapter goes on where the one before ended."""
    lines, ids, in_turn = [], [], defaultdict(list)
    for step in range(each):
        for number in range(objects):
            subject = f"/blobServices/default/containers/c/blobs/object-{number}"
            in_turn[subject].append(f"{1 + chapter * each + step:032x}")
            at = chapter * each + min(step ^ 1, each - 1)
            ids.append(f"{number}-{at}")
            lines.append(json.dumps(_blob_created(subject, f"{number}-{at}", f"{1 + at:032x}")))
    return Story(lines, ids, dict(in_turn))


def _blob_created(subject: str, event_id: str, sequencer: str) -> dict[str, Any]:
    return {
        "id": event_id,
        "topic": TOPIC,
        "subject": subject,
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-11-21T06:30:00.0000000Z",
        "data": {"api": "PutBlob", "sequencer": sequencer, "eTag": f"0x{event_id}"},
        "dataVersion": "",
        "metadataVersion": "1",
    }
