"""Which receive path is taken, and what the look into the client notices."""

from __future__ import annotations

import pytest
import structlog
from azure.eventhub._pyamqp import _decode
from azure.eventhub._pyamqp.aio._connection_async import Connection
from structlog.testing import capture_logs

from consumer.errors import ConfigurationError
from consumer.sources import eventhub_paths
from consumer.sources.eventhub_paths import choose, unfamiliar
from consumer.sources.eventhub_settings import EventHubSettings, Proxy

HUB = "Endpoint=sb://127.0.0.1:5672;SharedAccessKeyName=k;SharedAccessKey=a;UseDevelopmentEmulator=true"


@pytest.fixture(autouse=True)
def _look_again():
    eventhub_paths._looked_into.cache_clear()
    yield
    eventhub_paths._looked_into.cache_clear()


def settings(**changes):
    return EventHubSettings(connection_string=HUB, hub="events", **changes)


@pytest.mark.parametrize("receive", ["auto", "fast"])
async def test_the_installed_client_is_known_and_the_fast_path_is_taken(receive):
    with capture_logs() as logs:
        assert choose(settings(receive=receive)).path == "fast"
    assert logs == []


async def test_the_clients_own_loop_is_taken_when_it_is_asked_for():
    assert choose(settings(receive="sdk")).path == "sdk"


async def test_another_release_is_read_with_its_own_loop_and_that_is_said(monkeypatch):
    monkeypatch.setattr("azure.eventhub.__version__", "5.99.0")
    with capture_logs() as logs:
        assert choose(settings()).path == "sdk"
    (told,) = logs
    assert told["log_level"] == "warning"
    assert "5.99.0" in told["reason"]
    with pytest.raises(ConfigurationError, match=r"5\.99\.0"):
        choose(settings(receive="fast"))


@pytest.mark.parametrize("changes", [{"transport": "websocket"}, {"proxy": Proxy(host="p", port=1)}])
async def test_a_websocket_or_a_proxy_takes_the_clients_own_loop_without_a_warning(monkeypatch, changes):
    # Whatever level an earlier test has configured.
    every_level = structlog.wrap_logger(None, wrapper_class=structlog.BoundLogger)
    monkeypatch.setattr("consumer.sources.eventhub_paths._log", every_level)
    with capture_logs() as logs:
        assert choose(settings(**changes)).path == "sdk"
    assert [entry["log_level"] for entry in logs] == ["info"]
    with pytest.raises(ConfigurationError, match="websocket"):
        choose(settings(receive="fast", **changes))


async def test_a_missing_parameter_is_noticed(monkeypatch):
    async def listen(self, wait=False):
        pass

    monkeypatch.setattr(Connection, "listen", listen)
    assert "batch" in (unfamiliar() or "")


async def test_a_missing_method_is_noticed(monkeypatch):
    monkeypatch.delattr(Connection, "_process_incoming_frame")
    assert "_process_incoming_frame" in (unfamiliar() or "")


async def test_a_field_that_is_not_made_any_more_is_noticed(monkeypatch):
    def init(self):
        self.state = None

    monkeypatch.setattr(Connection, "__init__", init)
    assert "_last_frame_received_time" in (unfamiliar() or "")


async def test_a_message_that_the_client_reads_otherwise_is_noticed(monkeypatch):
    original = _decode.decode_payload

    def decode_payload(buffer):
        message = original(buffer)
        message.message_annotations[b"x-opt-sequence-number"] += 1
        return message

    monkeypatch.setattr(_decode, "decode_payload", decode_payload)
    assert unfamiliar() == "the client reads a message otherwise"
