"""A pytest plugin that starts Apache Kafka: a real broker, in KRaft mode, on loopback ports.

Maven resolves its jars from ``tests/kafka/pom.xml``, once, into ``.venv/kafka`` (or INTURN_KAFKA_JARS).
KAFKA_BOOTSTRAP names a broker that runs already. Without Java and Maven tests are skipped, unless
INTURN_REQUIRE_KAFKA=1 makes that a failure. The broker of a test run is shared by all of its workers: give
every test topics of its own.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

ROOT = Path(__file__).parents[2]
POM = ROOT / "tests" / "kafka" / "pom.xml"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
START_TIMEOUT_S = 60.0
RESOLVE_TIMEOUT_S = 300.0
JAVA = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")


class KafkaMissing(Exception):
    """What it takes to start a broker is not on this machine."""


class Listener(NamedTuple):
    """Another door to the broker."""

    name: str
    protocol: str = "PLAINTEXT"
    advertised_port: int | None = None
    """Where clients are told to connect, such as a proxy before it; None: the listener's own port."""


class Kafka:
    """One broker, with what it keeps in a folder; `stop` and `start` as often as wanted."""

    def __init__(
        self, folder: Path, listeners: Sequence[Listener] = (), options: Mapping[str, str] | None = None
    ) -> None:
        """`listeners` come besides ``PLAINTEXT``, `options` are further lines of ``server.properties``."""
        self._folder = folder
        self._listeners = [Listener("PLAINTEXT"), *listeners]
        self._options = dict(options or {})
        self.ports = {each.name: free_port() for each in self._listeners}
        self._controller_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.ports['PLAINTEXT']}"

    def start(self) -> None:
        """Start it, or start it again with what it had; returns when it answers."""
        jars = find_jars()
        properties = self._folder / "server.properties"
        if not properties.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            properties.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
            # Whatever it is, it must not look like an option.
            cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
            command = _java(jars, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties))
            subprocess.run(command, check=True, capture_output=True, timeout=START_TIMEOUT_S)
        with (self._folder / "log.txt").open("ab") as log:
            # A session of its own: what one worker of the tests starts is used by the others.
            self._process = subprocess.Popen(
                _java(jars, "kafka.Kafka", str(properties)), stdout=log, stderr=log, start_new_session=True
            )
        self._wait_until_listening(self._process)

    def stop(self) -> None:
        """End it at once; what it acknowledged is in its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_TIMEOUT_S)
            self._process = None

    def let_go(self) -> int:
        """Leave its end to another process; gives its pid."""
        assert self._process is not None
        process, self._process = self._process, None
        process.returncode = 0  # so that nobody is told of a child that still runs
        return process.pid

    def _properties(self) -> dict[str, str]:
        listeners = [f"{each.name}://127.0.0.1:{self.ports[each.name]}" for each in self._listeners]
        advertised = [
            f"{each.name}://127.0.0.1:{each.advertised_port or self.ports[each.name]}"
            for each in self._listeners
        ]
        protocols = [f"{each.name}:{each.protocol}" for each in self._listeners]
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": ",".join([*listeners, f"CONTROLLER://127.0.0.1:{self._controller_port}"]),
            "advertised.listeners": ",".join(advertised),
            "listener.security.protocol.map": ",".join([*protocols, "CONTROLLER:PLAINTEXT"]),
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "log.dirs": str(self._folder / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "auto.create.topics.enable": "false",
            **self._options,
        }

    def _wait_until_listening(self, process: subprocess.Popen[bytes]) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            if process.poll() is not None:
                pytest.fail(f"Kafka ended with {process.returncode}: {self._said()}")
            if all(_listens(port) for port in self.ports.values()):
                return
            time.sleep(0.05)
        self.stop()
        pytest.fail(f"Kafka did not listen within {START_TIMEOUT_S:g} s: {self._said()}")

    def _said(self) -> str:
        return (self._folder / "log.txt").read_text()[-2_000:]


@contextmanager
def running_kafka(
    folder: Path, listeners: Sequence[Listener] = (), options: Mapping[str, str] | None = None
) -> Iterator[Kafka]:
    """A broker of one's own, to be stopped and started at will. Skips or fails without Java or Maven."""
    broker = Kafka(folder, listeners, options)
    try:
        broker.start()
    except KafkaMissing as missing:
        _cannot(str(missing))
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of the one broker of this test run; the last worker that uses it stops it."""
    told = os.environ.get("KAFKA_BOOTSTRAP")
    if told:
        yield told
        return
    is_shared = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    shared = _Shared((base.parent if is_shared else base) / "kafka")
    try:
        bootstrap = shared.join()
    except KafkaMissing as missing:
        _cannot(str(missing))
    yield bootstrap
    shared.leave()


@pytest.fixture
def kafka_topic(kafka_bootstrap: str) -> Callable[..., str]:
    """Makes a topic that no other test has, and gives its name: ``kafka_topic(partitions=4, **config)``."""

    def make(name: str = "events", partitions: int = 4, **config: str) -> str:
        topic = f"{name}-{uuid.uuid4().hex[:8]}"
        make_topic(kafka_bootstrap, topic, partitions, **config)
        return topic

    return make


def make_topic(bootstrap: str, topic: str, partitions: int = 4, **config: str) -> None:
    """Make a topic; `config` is named as Kafka names it, with ``_`` for the dots."""
    # In a thread of its own: a test may have a running event loop.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, _make_topic(bootstrap, topic, partitions, config)).result()


async def _make_topic(bootstrap: str, topic: str, partitions: int, config: Mapping[str, str]) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        settings = {key.replace("_", "."): value for key, value in config.items()}
        await admin.create_topics(
            [NewTopic(name=topic, num_partitions=partitions, replication_factor=1, topic_configs=settings)]
        )
    finally:
        await admin.close()


class _Shared:
    """A broker that several processes use: the first starts it, the last one ends it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._book = folder / "users.json"

    def join(self) -> str:
        with self._locked():
            if self._book.exists():
                book = json.loads(self._book.read_text())
            else:
                broker = Kafka(self._folder / "broker")
                broker.start()
                book = {"bootstrap": broker.bootstrap, "pid": broker.let_go(), "users": 0}
            book["users"] += 1
            self._book.write_text(json.dumps(book))
            return str(book["bootstrap"])

    def leave(self) -> None:
        with self._locked():
            book = json.loads(self._book.read_text())
            book["users"] -= 1
            if book["users"]:
                self._book.write_text(json.dumps(book))
                return
            self._book.unlink()
            os.kill(book["pid"], signal.SIGKILL)
            shutil.rmtree(self._folder / "broker", ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def find_jars() -> Path:
    """The folder of the broker's jars, resolved if they are not there. Raises `KafkaMissing`."""
    if shutil.which("java") is None:
        raise KafkaMissing("Apache Kafka needs Java 17, which is not installed")
    cache = Path(os.environ.get("INTURN_KAFKA_JARS") or ROOT / ".venv" / "kafka")
    folder = cache / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    if shutil.which("mvn") is None:
        raise KafkaMissing("Maven, which resolves the jars of Apache Kafka, is not installed")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _resolve(folder)
    return folder


def _resolve(folder: Path) -> None:
    partial = folder.with_suffix(".partial")
    options = [f"-DoutputDirectory={partial}", "-DincludeScope=runtime"]
    done = subprocess.run(
        ["mvn", "-q", "-B", "-f", str(POM), COPY, *options],
        capture_output=True,
        text=True,
        timeout=RESOLVE_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        raise KafkaMissing(f"Maven cannot resolve the jars of Apache Kafka: {done.stdout[-500:]}")
    partial.rename(folder)


def _java(jars: Path, *arguments: str) -> list[str]:
    return ["java", *JAVA, "-cp", f"{jars}/*", *arguments]


def _cannot(reason: str) -> NoReturn:
    if os.environ.get("INTURN_REQUIRE_KAFKA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
