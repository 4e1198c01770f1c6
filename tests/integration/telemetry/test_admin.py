"""The admin port, asked by a real HTTP client over a real socket."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable

import aiohttp
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from consumer.errors import ConfigurationError, PortTaken
from consumer.status import EngineStatus
from consumer.telemetry.admin import AdminServer
from consumer.telemetry.health import EventLoopHeartbeat
from consumer.telemetry.metrics import Metrics

PATHS = ["/", "/livez", "/readyz", "/metrics", "/status"]


class Engine:
    """What the server asks, to be changed by a test."""

    def __init__(self, status: EngineStatus) -> None:
        self.status = status
        self.now = 0.0
        self.heartbeat = EventLoopHeartbeat(clock=lambda: self.now)

    def server(self, host: str = "127.0.0.1", port: int = 0) -> AdminServer:
        read = lambda: self.status  # noqa: E731 - two users of one reading
        return AdminServer(host, port, status=read, metrics=Metrics(read), heartbeat=self.heartbeat)

    def set(self, **fields) -> None:
        self.status = msgspec.structs.replace(self.status, **fields)


@pytest.fixture
def engine(engine_status: Callable[..., EngineStatus]) -> Engine:
    return Engine(engine_status())


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[aiohttp.ClientSession]:
    async with engine.server() as server, aiohttp.ClientSession(server.url) as session:
        yield session


async def test_an_engine_that_is_fine_is_live_and_ready(client):
    for path in ("/livez", "/readyz"):
        async with client.get(path) as answer:
            assert answer.status == 200
            assert await answer.json() == {"ok": True, "reasons": [], "hints": []}


async def test_what_is_wrong_is_said_in_sentences(client, engine):
    engine.set(ready=False, not_ready=["The store does not answer."])
    engine.now = 60.0
    async with client.get("/livez") as answer:
        assert answer.status == 503
        assert (await answer.json())["reasons"] == ["The event loop has not turned for 60 s (limit 10 s)."]
    async with client.get("/readyz") as answer:
        assert answer.status == 503
        assert (await answer.json())["reasons"][-1] == "The store does not answer."


async def test_the_status_can_be_read_back_as_it_was(client, engine):
    async with client.get("/status") as answer:
        assert answer.content_type == "application/json"
        assert msgspec.json.decode(await answer.read(), type=EngineStatus) == engine.status


async def test_no_secret_leaves_in_the_status(client, engine):
    failed = msgspec.structs.replace(engine.status.processors[0], last_error="401 for Bearer abcdefgh1234")
    engine.set(processors=[failed], source="sb://h/;SharedAccessKey=abc", not_ready=["sig=abc was refused."])
    async with client.get("/status") as answer:
        text = await answer.text()
    assert text.count("[redacted]") == 3
    assert "abc" not in text
    async with client.get("/readyz") as answer:
        assert "sig=[redacted] was refused." in await answer.text()


async def test_prometheus_can_read_the_metrics(client):
    async with client.get("/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        families = {family.name for family in text_string_to_metric_families(await answer.text())}
    assert {"inturn_events", "inturn_ready", "messaging_eventhubs_consumer_lag"} <= families


async def test_the_page_runs_its_own_script_and_style_and_nothing_else(client):
    async with client.get("/") as answer:
        page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    assert answer.content_type == "text/html"
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == len(re.findall("<script>|<style>", page)) == 2
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page), "nothing may come from elsewhere"
    assert not re.findall(r"""\sstyle=["']|\son\w+=["']""", page), "the policy forbids inline attributes"


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_forbids_to_be_kept_framed_or_guessed_at(client, path):
    async with client.get(path) as answer:
        headers = answer.headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Server"] == "inturn"


@pytest.mark.parametrize("path", PATHS)
async def test_reading_is_all_that_is_allowed(client, path):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        async with client.request(method, path) as answer:
            assert answer.status == 405
            assert answer.headers["Cache-Control"] == "no-store"
    async with client.head(path) as answer:
        assert answer.status == 200
        assert await answer.read() == b""


async def test_what_is_not_there_is_not_found(client):
    async with client.get("/../etc/passwd") as answer:
        assert answer.status == 404


async def test_a_web_page_with_a_name_that_points_here_is_refused(client):
    async with client.get("/status", headers={"Host": "evil.example:8080"}) as answer:
        assert answer.status == 403
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
        async with client.get("/status", headers={"Host": host}) as answer:
            assert answer.status == 200


async def test_a_probe_may_use_any_name_where_the_port_is_open_to_others(engine):
    async with (
        engine.server("0.0.0.0") as server,
        aiohttp.ClientSession() as client,
        client.get(f"{server.url}/livez", headers={"Host": "10.1.2.3:8080"}) as answer,
    ):
        assert answer.status == 200


async def test_a_taken_port_is_one_clear_error(engine):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port} is taken"):
            async with engine.server(port=port):
                pass


async def test_an_address_that_is_not_ours_is_a_configuration_error(engine):
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1"):
        async with engine.server("192.0.2.1"):
            pass


async def test_the_port_is_free_again_when_the_server_has_closed(engine):
    async with engine.server() as server:
        port = server.port
    async with engine.server(port=port) as again:
        assert again.url == f"http://127.0.0.1:{port}"
