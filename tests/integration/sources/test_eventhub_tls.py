"""Both receive paths over TLS, with a certificate that was made for the test."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from consumer.errors import SourceUnavailable
from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.sources import eventhub_tls
from consumer.sources.eventhub import EventHubSource
from consumer.sources.eventhub_settings import EventHubSettings
from consumer.stores.memory import MemoryStore


@pytest.fixture
def pem(tmp_path):
    """A self-signed certificate for this machine, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "hub.pem"
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + encoded)
    return path


@pytest.fixture
async def tls_hub(pem, monkeypatch):
    """A hub with TLS, on the port on which the client looks for one."""
    hub = HubSettings(name="events", partitions=2)
    async with LocalHub(LocalHubSettings(hubs=(hub,), tls_pem=pem)) as running:
        # The client goes to 5671 and nowhere else.
        monkeypatch.setattr("azure.eventhub._pyamqp.aio._connection_async.SECURE_PORT", running.port)
        monkeypatch.setattr("consumer.sources.eventhub_settings._TLS_PORT", running.port)
        yield running


@pytest.fixture
def trusting(pem, monkeypatch):
    """Makes the source trust the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=pem)
    monkeypatch.setattr(eventhub_tls, "trusted", lambda: context)


def source_of(hub, receive):
    settings = EventHubSettings(
        connection_string=hub.connection_string("events"),
        receive=receive,
        load_balancing_interval_s=1,
        connect_timeout_s=5,
    )
    return EventHubSource(settings, MemoryStore())


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("receive", ["fast", "sdk"])
async def test_events_come_over_tls_through_a_drop(tls_hub, running, intake, until, receive):
    bodies = [b"%d" % number + bytes(number % 7 * 10_000) for number in range(400)]
    tls_hub.publish("events", *bodies[:200], partition="0")
    async with running(source := source_of(tls_hub, receive), intake):
        await until(lambda: intake.total == 200)
        assert source.path("0") == receive
        tls_hub.faults.drop_connections("events", "0")
        tls_hub.publish("events", *bodies[200:], partition="0")
        await until(lambda: intake.total == 400)
    assert intake.bodies["0"] == bodies


async def test_a_hub_whose_certificate_nobody_vouches_for_is_not_read(tls_hub, intake):
    with pytest.raises(SourceUnavailable, match="does not speak TLS that can be trusted"):
        await source_of(tls_hub, "fast").run(intake)
