"""Brokers that ask who is there: encrypted, with a shared key as Event Hubs takes it, or with tokens."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from azure.core.credentials import AccessToken
from harness.endpoints import Authority
from harness.kafka import Kafka, Listener, make_topic, running_kafka
from harness.kafka_places import Counting, by_one_key, until
from harness.kafka_worlds import event

from consumer.errors import SourceUnavailable
from consumer.sources.faust import FaustSource
from consumer.sources.faust_settings import FaustSecurity, FaustSettings
from consumer.sources.faust_tokens import scope_of

SHARED_KEY = "Endpoint=sb://here/;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0"
SESSION_MS = 4_000
"""How long brokers take a token for, before the connection is closed."""
UNSECURED = "org.apache.kafka.common.security.oauthbearer"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Path]]:
    """A broker with a door as that of Event Hubs, and the certificate to trust."""
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder)
    authority.server("127.0.0.1")  # writes its key and certificate
    both, ca = folder / "127.0.0.1.pem", authority.ca_file
    door = "listener.name.secure"
    login = f"{UNSECURED}.OAuthBearerLoginModule required"
    options = {
        f"{door}.ssl.keystore.type": "PEM",
        f"{door}.ssl.keystore.location": str(both),
        f"{door}.sasl.enabled.mechanisms": "PLAIN,OAUTHBEARER",
        f"{door}.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'user_$ConnectionString="{SHARED_KEY}";',
        f"{door}.oauthbearer.sasl.jaas.config": f'{login} unsecuredLoginStringClaim_sub="broker";',
        f"{door}.oauthbearer.sasl.server.callback.handler.class": f"{UNSECURED}.internals.unsecured."
        "OAuthBearerUnsecuredValidatorCallbackHandler",
        f"{door}.oauthbearer.connections.max.reauth.ms": str(SESSION_MS),
    }
    with running_kafka(folder / "kafka", [Listener("SECURE", "SASL_SSL")], options) as broker:
        yield broker, ca


class Identity:
    """Gives tokens that the broker takes, and remembers what they were asked for."""

    def __init__(self) -> None:
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.scopes += scopes
        now = int(time.time())
        parts = [{"alg": "none"}, {"sub": "inturn", "iat": now - 5, "exp": now + 600}]
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
        token = b".".join(part.rstrip(b"=") for part in encoded).decode()
        return AccessToken(f"{token}.", now + 600)


async def send(broker: Kafka, topic: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        for number in range(20):
            await producer.send_and_wait(topic, event(number, 5), partition=number % 4)


async def read(
    broker: Kafka,
    topic: str,
    security: FaustSecurity,
    then: Callable[[Counting], Awaitable[None]] | None = None,
    **settings: Any,
) -> Counting:
    """Send through the open door, read through the guarded one, re-keyed on the way."""
    make_topic(broker.bootstrap, topic)
    make_topic(broker.bootstrap, f"{topic}-by-object")
    await send(broker, topic)
    told = FaustSettings(
        f"127.0.0.1:{broker.ports['SECURE']}",
        topic,
        topic,
        f"{topic}-by-object",
        security=security,
        **settings,
    )
    source = FaustSource(told, by_one_key())
    intake = Counting()
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = tasks.create_task(source.run(intake))
        waiting = tasks.create_task(intake.has_all.wait())
        async with asyncio.timeout(40):
            await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if then is not None:
            await then(intake)
        await source.close()
    return intake


async def test_the_shared_key_of_event_hubs_opens_an_encrypted_door(secured):
    broker, ca = secured
    security = FaustSecurity("connection_string", tls=True, ca_file=ca, secret=SHARED_KEY)
    assert len((await read(broker, "by-key", security)).bodies) == 20


async def test_an_identity_opens_it_with_tokens_for_the_namespace(secured):
    broker, ca = secured
    identity = Identity()
    security = FaustSecurity("identity", tls=True, ca_file=ca, credential=identity)
    assert len((await read(broker, "by-token", security)).bodies) == 20
    assert set(identity.scopes) == {"https://127.0.0.1/.default"}


async def test_connections_that_had_their_time_are_made_again_with_new_tokens(secured):
    broker, ca = secured
    identity = Identity()
    security = FaustSecurity("identity", tls=True, ca_file=ca, credential=identity)

    async def go_on(intake: Counting) -> None:
        first = len(identity.scopes)
        # The consumer, the producer, and who asks: each has had a connection, and needs another one.
        await until(lambda: len(identity.scopes) >= first + 3)
        await send(broker, "by-new-token")
        await until(lambda: len(intake.bodies) == 40)

    await read(broker, "by-new-token", security, go_on)


async def test_a_wrong_key_is_told_and_no_secret_with_it(secured):
    broker, ca = secured
    security = FaustSecurity("connection_string", tls=True, ca_file=ca, secret="wrong-secret")
    with pytest.raises(ExceptionGroup) as caught:
        await read(broker, "by-wrong-key", security, connect_timeout_s=2)
    assert caught.group_contains(SourceUnavailable)
    assert "wrong-secret" not in repr(caught.value.exceptions)


async def test_a_certificate_that_nobody_vouches_for_is_refused(secured):
    broker, _ = secured
    security = FaustSecurity("connection_string", tls=True, secret=SHARED_KEY)
    with pytest.raises(ExceptionGroup) as caught:
        await read(broker, "by-strangers", security, connect_timeout_s=2)
    assert caught.group_contains(SourceUnavailable)


def test_tokens_are_for_the_first_brokers_namespace():
    assert scope_of("a.servicebus.windows.net:9093,b:1") == "https://a.servicebus.windows.net/.default"
