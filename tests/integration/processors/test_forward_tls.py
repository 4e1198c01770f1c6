"""Forwarding over TLS: only to a hub whose certificate somebody vouches for."""

from __future__ import annotations

import ssl
import time

import pytest
from azure.core.credentials import AccessToken

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


class Identity:
    """An identity of the machine, as far as its clients see it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = False

    async def get_token(self, *scopes, **_):
        self.asked += scopes
        return AccessToken("a token", int(time.time()) + 3_600)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.closed = True


async def forwarded(hub, handle, event, **way):
    way = way or {"connection_string": hub.connection_string()}
    forward = Forward(Forward.Settings(hub="events", timeout_s=5, **way))
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


async def test_an_identity_is_asked_for_a_token_and_let_go(tls_hub, authority, handle, event, monkeypatch):
    identity, chosen = Identity(), []
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    monkeypatch.setattr(forward_hub, "_trusted", lambda: context)
    monkeypatch.setattr(forward_hub, "credential_of", lambda *how: chosen.append(how) or identity)
    await forwarded(
        tls_hub, handle, event, namespace="127.0.0.1", credential="managed_identity", client_id="me"
    )
    assert chosen == [("managed_identity", "me")]
    assert identity.asked
    assert all(scope.startswith("https://eventhubs.azure.net/") for scope in identity.asked)
    assert identity.closed
    partitions = tls_hub.stats()["hubs"]["events"]["partitions"]
    assert sum(len(tls_hub.log("events", name)) for name in partitions) == 1


async def test_a_hub_whose_certificate_nobody_vouches_for_is_told_nothing(tls_hub, handle, event):
    with pytest.raises(Retry, match=r"(?i)certificate"):
        await forwarded(tls_hub, handle, event)
    partitions = tls_hub.stats()["hubs"]["events"]["partitions"]
    assert sum(len(tls_hub.log("events", name)) for name in partitions) == 0
