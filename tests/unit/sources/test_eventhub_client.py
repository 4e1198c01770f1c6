"""How clients are made, and that waiting for them ends."""

from __future__ import annotations

import asyncio

import pytest
from azure.eventhub import TransportType

from consumer.errors import SourceUnavailable
from consumer.sources.eventhub_client import all_of, make_asking_client, make_client, within
from consumer.sources.eventhub_credentials import paced_credential
from consumer.sources.eventhub_settings import EventHubSettings, Proxy, address_of
from consumer.stores.memory import MemoryStore

CLOUD = "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=a2V5;EntityPath=events"
LOCAL = "Endpoint=sb://127.0.0.1:5680;SharedAccessKeyName=n;SharedAccessKey=a2V5;UseDevelopmentEmulator=true"


async def test_a_client_is_made_of_the_settings():
    settings = EventHubSettings(
        connection_string=CLOUD,
        transport="websocket",
        proxy=Proxy(host="proxy", port=3128, username="u", password="p"),
        consumer_group="inturn",
        idle_timeout_s=7,
    )
    client = make_client(settings, address_of(settings), paced_credential(settings), MemoryStore(), 18)
    assert client._config.transport_type is TransportType.AmqpOverWebsocket
    assert client._config.http_proxy["proxy_hostname"] == "proxy"
    assert client._config.use_tls is True
    assert client._config.max_retries >= 1_000_000
    assert client._idle_timeout == 7
    assert client._consumer_group == "inturn"
    assert client._address.hostname == "contoso.servicebus.windows.net"
    await client.close()


async def test_a_local_hub_is_spoken_to_without_tls_under_its_port():
    settings = EventHubSettings(connection_string=LOCAL, hub="events")
    client = make_asking_client(settings, address_of(settings))
    assert client._config.use_tls is False
    assert client._config.max_retries == 0
    assert client._address.hostname == address_of(settings).namespace == "127.0.0.1:5680"
    await client.close()


async def test_what_hangs_in_its_own_clean_up_is_ended_all_the_same():
    attempts = 0

    async def hang():
        nonlocal attempts
        try:
            await asyncio.Event().wait()
        finally:
            try:
                attempts += 1
                await asyncio.Event().wait()
            finally:
                attempts += 1

    with pytest.raises(TimeoutError):
        await within(0.05, hang)
    assert attempts == 2


async def test_what_is_cancelled_may_finish_first():
    finished = asyncio.Event()

    async def connect():
        await asyncio.sleep(0.2)
        finished.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await within(10, connect)
    assert finished.is_set()


async def test_of_several_questions_all_end_before_the_first_error_is_told():
    ended = []

    async def ask(number: int) -> int:
        await asyncio.sleep(number / 100)
        ended.append(number)
        if number == 1:
            raise SourceUnavailable("one")
        return number

    with pytest.raises(SourceUnavailable, match="one"):
        await all_of([ask(1), ask(2), ask(3)])
    assert ended == [1, 2, 3]
    assert await all_of([ask(3), ask(2)]) == [3, 2]
