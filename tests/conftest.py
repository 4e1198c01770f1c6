"""Fixtures that tests of every kind may use: the local hub, and Azurite, the emulator of Azure Storage.

Azurite is looked for in the ``node_modules`` named by INTURN_NODE_MODULES, else in ``.venv/node_modules``
of the checkout. Without it tests are skipped, unless INTURN_REQUIRE_AZURITE=1 makes that a failure.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest
import structlog
from harness.places import object_key

from consumer.events import Event, ObjectId, OrderedBy, OrderToken, Position, Schema
from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.status import EngineStatus, PartitionStatus, ProcessorStatus

pytest_plugins = ["harness.figures", "harness.kafka"]

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's account and key are the same everywhere, and public."""
START_TIMEOUT_S = 30.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PURE = ("core", "property")
"""Folders of tests that open nothing."""

StartAzurite: TypeAlias = "Callable[..., AbstractContextManager[Azurite]]"


class Azurite(NamedTuple):
    port: int
    scheme: str = "http"

    @property
    def account_url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def connection_string(self) -> str:
        return self.connection_string_with(KEY)

    def connection_string_with(self, key: str, *, port: int | None = None) -> str:
        """With another key, or through another port (of a proxy)."""
        url = self.account_url.replace(str(self.port), str(port or self.port))
        account = f"AccountName={ACCOUNT};AccountKey={key}"
        return f"DefaultEndpointsProtocol={self.scheme};{account};BlobEndpoint={url};"


def _command() -> list[str]:
    """How to start it; skips or fails the test when it is not installed."""
    root = os.environ.get("INTURN_NODE_MODULES") or Path(__file__).parents[1] / ".venv" / "node_modules"
    script = Path(root) / "azurite" / "dist" / "src" / "blob" / "main.js"
    node = shutil.which("node")
    if node and script.is_file():
        return [node, str(script)]
    reason = "node is not installed" if not node else f"Azurite is not installed: no {script}"
    if os.environ.get("INTURN_REQUIRE_AZURITE") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pytest_collection_finish() -> None:
    """What was there before any test is no garbage: without it the look behind each test is short."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """What a test leaves open shows in that test, and not in whichever comes when garbage is collected."""
    yield  # behind the fixtures: they close the event loop
    if item.path.parent.name not in PURE:
        gc.collect()


@pytest.fixture(autouse=True)
def logging_is_each_tests_own() -> Iterator[None]:
    """A command that runs within a test sets logging up for good; the next test is not to see that."""
    root, was_configured = logging.getLogger(), structlog.is_configured()
    before, level = structlog.get_config(), root.level
    levels = {name: logging.getLogger(name).level for name in ("azure", "aiokafka", "asyncio")}
    yield
    if structlog.is_configured() and not was_configured:
        structlog.reset_defaults()
    elif structlog.get_config() != before:
        structlog.configure(**before)
    if root.level != level:
        root.setLevel(level)
        logging.captureWarnings(capture=False)
        for name, own in levels.items():
            logging.getLogger(name).setLevel(own)


@pytest.fixture(scope="session")
def start_azurite() -> StartAzurite:
    """Starts an Azurite with further options."""
    return _running


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """One Azurite for the whole run: give every test a container of its own."""
    with _running() as started:
        yield started


@contextmanager
def _running(*options: str, scheme: str = "http") -> Iterator[Azurite]:
    """An empty Azurite that forgets everything at the end."""
    port = _free_port()
    arguments: Sequence[str] = [
        *_command(),
        *("--silent", "--disableTelemetry", "--inMemoryPersistence"),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port)),
        *options,
    ]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_listening(process, port)
            yield Azurite(port, scheme)
        finally:
            process.terminate()
            process.wait(timeout=START_TIMEOUT_S)


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            pytest.fail(f"Azurite ended at once with {process.returncode}.")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"Azurite did not listen within {START_TIMEOUT_S:g} s.")


@pytest.fixture
async def local_hub() -> AsyncIterator[LocalHub]:
    """A local Event Hubs with one hub, "events", of four partitions and two consumer groups."""
    hub = HubSettings(name="events", partitions=4, consumer_groups=("$Default", "second"))
    async with LocalHub(LocalHubSettings(hubs=(hub,))) as running:
        yield running


@pytest.fixture
def event() -> Callable[..., Event]:
    """Makes an event of a registered model; give only the fields that matter."""

    def make(**fields: Any) -> Event:
        sequence_number = fields.pop("sequence_number", 7)
        position = fields.pop("position", Position("0", sequence_number, 0))
        topic = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
        object_id = fields.pop("object_id", ObjectId(topic.casefold(), "models/fraud"))
        token = fields.pop("order_token", OrderToken(OrderedBy.VERSION, 3))
        time = fields.pop("event_time", datetime(2026, 11, 21, 6, tzinfo=UTC))
        known: dict[str, Any] = {
            "partition": position.partition,
            "sequence_number": position.sequence_number,
            "index": position.index,
            "enqueued_time_ms": 1_795_240_800_000 + sequence_number,
            "schema": Schema.EVENT_GRID,
            "id": f"id-{sequence_number}",
            "type": "Microsoft.MachineLearningServices.ModelRegistered",
            "topic": topic,
            "subject": "models/fraud:3",
            "ticks": None if time is None else (time - EPOCH) // timedelta(microseconds=1) * 10,
            "content": fields.pop("data", {"modelName": "fraud", "modelVersion": "3"}),
            "body": fields.pop("original", b'{"id":"id","data":{"modelName":"fraud","modelVersion":"3"}}'),
            "is_wrapped": False,
            "object_key": object_key(object_id),
            "object_topic": object_id.topic,
            "object_path": object_id.path,
            "ordered_by": token.by,
            "order_value": token.value,
        }
        return Event(**{**known, **fields})

    return make


@pytest.fixture
def partition_status() -> Callable[..., PartitionStatus]:
    """Makes the status of a partition that reads and is a little behind."""

    def make(partition: str = "0", **fields: Any) -> PartitionStatus:
        names = ("held", "held_bytes", "redelivered", "gaps", "unkeyed", "identity_conflicts", "incomparable")
        known: dict[str, Any] = {
            **dict.fromkeys((*names, "identities_evicted"), 0),
            "state": "reading",
            "checkpoint": 90,
            "last_received": 95,
            "newest": 100,
            "lag": 10,
            "in_flight": 5,
            "watermark_ms": 1_795_240_800_000,
            "checkpoint_age_s": 1.5,
            "heartbeat_age_s": 0.1,
            "objects": 12,
            "identities": 91,
            "outcomes": {"handled": 80, "duplicate": 6, "ignored:topic": 3, "dead_lettered:bad_time": 2},
            "ordered_by": {"version": 60, "event_time": 31},
        }
        return PartitionStatus(**{"partition": partition, **known, **fields})

    return make


@pytest.fixture
def engine_status(partition_status: Callable[..., PartitionStatus]) -> Callable[..., EngineStatus]:
    """Makes the status of an engine that is fine, with one partition and one processor."""

    def make(**fields: Any) -> EngineStatus:
        processor = ProcessorStatus(
            name="log",
            type="console",
            delivery="in_turn",
            queued=1,
            running=2,
            handled=80,
            attempts_failed=4,
            dead_lettered=2,
            stale_skipped=0,
            busy_s=12.5,
            last_error="",
        )
        known: dict[str, Any] = {
            "version": "0.1.0",
            "state": "running",
            "ready": True,
            "not_ready": [],
            "uptime_s": 61.0,
            "source": "hub events at 127.0.0.1",
            "dead_letters": 0,
            "objects_spread": 0,
            "outcomes": {"handled": 80, "duplicate": 6, "ignored:topic": 3, "dead_lettered:bad_time": 2},
            "partitions": [partition_status()],
            "processors": [processor],
        }
        return EngineStatus(**{**known, **fields})

    return make
