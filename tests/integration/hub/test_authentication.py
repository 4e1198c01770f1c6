"""Who may come in: any key by default, the right one when one is configured."""

from collections.abc import Callable
from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.exceptions import AuthenticationError

from consumer.hub import LocalHub, LocalHubSettings

Fixture = Callable[..., Any]
RIGHT = LocalHubSettings(key_name="reader", key="c2VjcmV0+/==")


async def test_the_right_key_opens(producer: Fixture) -> None:
    async with LocalHub(RIGHT) as hub, producer(hub) as client:
        await client.send_event(EventData("event"), partition_id="0")
        assert len(hub.log("events", "0")) == 1


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("SharedAccessKey=c2VjcmV0+/==", "SharedAccessKey=guessed", "invalid signature"),
        ("SharedAccessKeyName=reader", "SharedAccessKeyName=writer", "unknown key"),
    ],
)
async def test_a_wrong_key_does_not(right: str, wrong: str, words: str) -> None:
    async with LocalHub(RIGHT) as hub:
        connection = hub.connection_string("events").replace(right, wrong)
        async with EventHubProducerClient.from_connection_string(connection, retry_total=0) as client:
            with pytest.raises(AuthenticationError, match=words):
                await client.send_event(EventData("event"), partition_id="0")
            with pytest.raises(AuthenticationError):
                await client.get_eventhub_properties()
        assert hub.log("events", "0") == []


async def test_a_wrong_key_cannot_receive_either(receiving: Fixture) -> None:
    async with LocalHub(RIGHT) as hub:
        connection = hub.connection_string("events").replace("c2VjcmV0+/==", "guessed")
        async with receiving(hub, connection=connection, partition_id="0", retry_total=0) as got:
            error = await got.error()
    assert isinstance(error, AuthenticationError)


class Identity:
    """Gives a token that looks like one of Azure's."""

    async def get_token(self, *_: str, **__: object) -> AccessToken:
        return AccessToken("header.claims.signature", 4_000_000_000)

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("key", [None, "configured"])
async def test_an_identitys_token_opens_unless_a_key_is_configured(key: str | None) -> None:
    async with LocalHub(LocalHubSettings(key=key)) as hub:
        client = EventHubProducerClient(
            f"127.0.0.1:{hub.port}", "events", Identity(), use_tls=False, retry_total=0
        )
        async with client:
            if key is None:
                await client.send_event(EventData("event"), partition_id="0")
            else:
                with pytest.raises(AuthenticationError, match="cannot verify"):
                    await client.send_event(EventData("event"), partition_id="0")
        assert len(hub.log("events", "0")) == (1 if key is None else 0)
