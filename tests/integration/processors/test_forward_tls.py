"""Forwarding over TLS: only to a hub whose certificate somebody vouches for."""

from __future__ import annotations

import ssl

import pytest

from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.processor import Retry
from processors import forward_hub
from processors.forward import Forward

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # the client leaves broken connections


@pytest.fixture
async def tls_hub(authority, monkeypatch):
    """A hub with TLS, on the port on which the client looks for one."""
    authority.server("127.0.0.1")
    pem = authority.ca_file.parent / "127.0.0.1.pem"
    async with LocalHub(LocalHubSettings(hubs=(HubSettings(name="events"),), tls_pem=pem)) as running:
        # The client goes to 5671 and nowhere else.
        monkeypatch.setattr("azure.eventhub._pyamqp.aio._connection_async.SECURE_PORT", running.port)
        yield running


async def forwarded(hub, handle, event):
    forward = Forward(Forward.Settings(hub="events", connection_string=hub.connection_string(), timeout_s=5))
    await forward.open()
    try:
        await handle(forward, [event()])
    finally:
        await forward.close()


async def test_events_go_over_tls(tls_hub, authority, handle, event, monkeypatch):
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    monkeypatch.setattr(forward_hub, "_trusted", lambda: context)
    await forwarded(tls_hub, handle, event)
    partitions = tls_hub.stats()["hubs"]["events"]["partitions"]
    assert sum(len(tls_hub.log("events", name)) for name in partitions) == 1


async def test_a_hub_whose_certificate_nobody_vouches_for_is_told_nothing(tls_hub, handle, event):
    with pytest.raises(Retry, match=r"(?i)certificate"):
        await forwarded(tls_hub, handle, event)
    partitions = tls_hub.stats()["hubs"]["events"]["partitions"]
    assert sum(len(tls_hub.log("events", name)) for name in partitions) == 0
