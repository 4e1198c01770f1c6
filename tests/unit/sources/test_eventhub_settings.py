"""Where settings point to, what they refuse, and what they never say."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.credentials import AccessToken

from consumer.errors import ConfigurationError
from consumer.sources.eventhub_settings import EventHubSettings, Proxy, address_of

CLOUD = "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=listen;SharedAccessKey=c2VjcmV0"


class Credential:
    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        raise NotImplementedError

    async def close(self) -> None: ...

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_: object) -> None: ...


def address(connection_string: str, **more: Any):
    return address_of(EventHubSettings(connection_string=connection_string, **more))


def test_a_connection_string_names_namespace_and_hub():
    found = address(f"{CLOUD};EntityPath=orders")
    assert found == (
        "contoso.servicebus.windows.net",
        "orders",
        "contoso.servicebus.windows.net",
        5671,
        False,
    )


def test_the_hub_can_be_named_beside_the_connection_string():
    assert address(CLOUD, hub="orders").hub == "orders"


def test_two_different_hubs_are_refused():
    with pytest.raises(ConfigurationError, match="EntityPath is orders"):
        address(f"{CLOUD};EntityPath=orders", hub="events")


def test_no_hub_is_refused():
    with pytest.raises(ConfigurationError, match="name the hub"):
        address(CLOUD)


def test_a_namespace_goes_with_a_credential():
    settings = EventHubSettings(
        namespace="contoso.servicebus.windows.net", hub="events", credential=Credential()
    )
    assert str(address_of(settings)) == "contoso.servicebus.windows.net:5671"
    with pytest.raises(ConfigurationError, match="credential"):
        address_of(EventHubSettings(namespace="contoso.servicebus.windows.net", hub="events"))


@pytest.mark.parametrize("host", ["127.0.0.1:5680", "localhost", "[::1]:5680"])
def test_a_loopback_host_may_be_spoken_to_without_tls(host):
    found = address(
        f"Endpoint=sb://{host};SharedAccessKeyName=k;SharedAccessKey=v;UseDevelopmentEmulator=true", hub="h"
    )
    assert found.is_plain
    assert found.port == (5680 if "5680" in host else 5672)


def test_another_host_is_spoken_to_without_tls_only_when_it_is_listed():
    emulator = (
        "Endpoint=sb://eventhubs-emulator;SharedAccessKeyName=k;SharedAccessKey=v;UseDevelopmentEmulator=true"
    )
    with pytest.raises(ConfigurationError, match="eventhubs-emulator is not this machine"):
        address(emulator, hub="h")
    assert address(emulator, hub="h", allow_plaintext_hosts=("eventhubs-emulator",)).is_plain


@pytest.mark.parametrize(
    "connection_string",
    [
        "",
        "topsecret",
        "Endpoint=sb://host;SharedAccessKeyName=k",
        "SharedAccessKeyName=k;SharedAccessKey=topsecret",
        "Endpoint=sb://host;Endpoint=sb://other;SharedAccessKeyName=k;SharedAccessKey=topsecret",
        "Endpoint=sb://127.0.0.1;SharedAccessKeyName=k;SharedAccessKey=topsecret;UseDevelopmentEmulator=True",
        "Endpoint=sb://host:port;SharedAccessKeyName=k;SharedAccessKey=topsecret",
    ],
)
def test_a_wrong_connection_string_is_refused_without_being_repeated(connection_string):
    with pytest.raises(ConfigurationError) as refused:
        address(connection_string, hub="h")
    assert "topsecret" not in str(refused.value)


def test_no_secret_is_in_the_repr():
    settings = EventHubSettings(
        connection_string=CLOUD, credential=Credential(), proxy=Proxy(host="p", port=1, password="hunter2")
    )
    assert "c2VjcmV0" not in repr(settings)
    assert "hunter2" not in repr(settings)
