"""Forwarding to a broker that wants to know who comes, over TLS."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer
from harness.endpoints import Authority
from harness.kafka import Listener, make_topic, running_kafka

from consumer.processor import Context, Retry
from processors.forward import Forward

LOGIN = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'username="broker" password="broker" user_inturn="let me in";'
)


@pytest.fixture
def authority(tmp_path):
    """Who issued the broker's certificate."""
    return Authority(tmp_path)


@pytest.fixture
def guarded(tmp_path, authority):
    """A broker with another door, behind which it wants TLS and a login."""
    authority.server("127.0.0.1")
    chain = (tmp_path / "127.0.0.1.pem").read_text()
    door = "listener.name.guarded"
    options = {
        "sasl.enabled.mechanisms": "PLAIN",
        f"{door}.sasl.enabled.mechanisms": "PLAIN",
        f"{door}.plain.sasl.jaas.config": LOGIN,
        f"{door}.ssl.keystore.type": "PEM",
        f"{door}.ssl.keystore.key": _on_one_line(chain, "PRIVATE KEY"),
        f"{door}.ssl.keystore.certificate.chain": _on_one_line(chain, "CERTIFICATE"),
    }
    with running_kafka(tmp_path / "kafka", [Listener("GUARDED", "SASL_SSL")], options) as broker:
        make_topic(broker.bootstrap, "events", 1)
        yield broker


def _on_one_line(chain, kind):
    """A part of a PEM file, as a line of properties."""
    start, end = f"-----BEGIN {kind}-----", f"-----END {kind}-----"
    inner = chain.partition(start)[2].partition(end)[0]
    return f"{start}{inner}{end}".replace("\n", "\\n")


def forward_to(broker, authority, path, **security):
    target = {
        "bootstrap": f"127.0.0.1:{broker.ports['GUARDED']}",
        "topic": "events",
        "ca_file": authority.ca_file,
        "mechanism": "plain",
        "username": "inturn",
        "password_file": path,
        **security,
    }
    return Forward(Forward.Settings(kafka=target, timeout_s=5))


async def attempt(forward, event):
    await forward.open()
    try:
        made = event()
        await forward.process_batch([made], Context("f", 1, [made], lambda _: "key"))
    finally:
        await forward.close()


async def test_it_logs_in_over_tls_and_only_where_it_trusts(guarded, authority, tmp_path, event):
    path = tmp_path / "password"
    path.write_text("guess")
    with pytest.raises(Retry, match="topic events"):
        await attempt(forward_to(guarded, authority, path), event)
    path.write_text("let me in")
    with pytest.raises(Retry, match="topic events"):
        await attempt(forward_to(guarded, authority, path, ca_file=None), event)
    await attempt(forward_to(guarded, authority, path), event)
    options = {"bootstrap_servers": guarded.bootstrap, "auto_offset_reset": "earliest"}
    async with AIOKafkaConsumer("events", **options) as consumer:
        record = await consumer.getone()
        assert dict(record.headers)["message_id"] == b"key"
