"""What is told of an error: one line that says who must do what, and never a secret."""

from __future__ import annotations

import asyncio

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.eventhub.exceptions import AuthenticationError, ConnectError, ConnectionLostError

from consumer.errors import SourceUnavailable
from consumer.sources.eventhub_errors import Refused, explain, knock, one_line
from consumer.sources.eventhub_settings import Address, EventHubSettings

ADDRESS = Address("contoso.servicebus.windows.net", "events", "contoso.servicebus.windows.net", 5671, False)
BY_KEY = EventHubSettings(connection_string="Endpoint=…")
BY_IDENTITY = EventHubSettings(namespace="contoso.servicebus.windows.net")


NO_LISTEN = AuthenticationError(
    "Unauthorized access. 'Listen' claim(s) are required to perform this operation."
)
NO_TOKEN = AuthenticationError("CBS Token authentication failed.\nStatus code: 401")
NO_HUB = ConnectError("The messaging entity 'sb://contoso.servicebus.windows.net/events' could not be found.")
NO_GROUP = ConnectionLostError("The messaging entity 'sb://x/events/ConsumerGroups/g' could not be found.")
NO_IDENTITY = ClientAuthenticationError("No managed identity endpoint found.\nmore")


@pytest.mark.parametrize(
    ("error", "settings", "expected"),
    [
        (NO_LISTEN, BY_KEY, "^The key for .* was refused"),
        (NO_TOKEN, BY_IDENTITY, "Azure Event Hubs Data Receiver"),
        (NO_HUB, BY_KEY, "^There is no hub named events at contoso"),
        (NO_GROUP, BY_KEY, r"^There is no consumer group named \$Default"),
        (NO_IDENTITY, BY_IDENTITY, "^No token for .*endpoint found.$"),
    ],
)
def test_what_trying_again_cannot_mend_is_refused(error, settings, expected):
    told = explain(error, settings, ADDRESS)
    assert isinstance(told, Refused)
    with pytest.raises(Refused, match=expected):
        raise told


@pytest.mark.parametrize(
    "error", [ConnectError("Connection reset by peer"), OSError("unreachable"), TimeoutError()]
)
def test_what_may_heal_is_not_refused(error):
    told = explain(error, BY_KEY, ADDRESS)
    assert type(told) is SourceUnavailable
    assert str(told).startswith("No Event Hub answers at contoso.servicebus.windows.net:5671: ")
    assert "\n" not in str(told)


@pytest.mark.parametrize(
    "secret",
    ["SharedAccessKey=hunter2", "SharedAccessSignature sr=x&sig=hunter2", "Authorization: Bearer hunter2"],
)
def test_no_secret_is_told(secret):
    assert "hunter2" not in one_line(OSError(f"refused: {secret}"))


def test_a_long_error_is_cut():
    assert len(one_line(OSError("x" * 10_000))) == 300


async def test_what_does_not_speak_amqp_is_said_to_be_something_else():
    async def answer(reader, writer):
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SourceUnavailable, match="does not speak AMQP"):
            await knock(BY_KEY, Address("n", "h", "127.0.0.1", port, True))


async def test_a_server_without_tls_is_said_not_to_speak_it():
    async def answer(reader, writer):
        await reader.read(8)
        writer.write(b"AMQP\x03\x01\x00\x00")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SourceUnavailable, match="does not speak TLS that can be trusted"):
            await knock(BY_KEY, Address("n", "h", "127.0.0.1", port, False))


async def test_an_unknown_host_is_said_in_one_line():
    with pytest.raises(SourceUnavailable, match=r"^No Event Hub answers at nowhere.invalid:5671: "):
        await knock(BY_KEY, Address("n", "h", "nowhere.invalid", 5671, False))
