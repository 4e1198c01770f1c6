"""Fixtures that tests of every kind may use: the local hub, and Azurite, the emulator of Azure Storage.

Azurite is looked for in the ``node_modules`` named by INTURN_NODE_MODULES, else in ``.venv/node_modules``
of the checkout. Without it tests are skipped, unless INTURN_REQUIRE_AZURITE=1 makes that a failure.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from consumer.hub import HubSettings, LocalHub, LocalHubSettings

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's account and key are the same everywhere, and public."""
START_TIMEOUT_S = 30.0

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
