"""Say in one line, and without a secret, what is wrong with a hub."""

from __future__ import annotations

import asyncio
import re
import ssl

from azure.core.exceptions import ClientAuthenticationError
from azure.eventhub.exceptions import AuthenticationError

from consumer.errors import SourceUnavailable
from consumer.sources import eventhub_tls
from consumer.sources.eventhub_settings import Address, EventHubSettings

KNOCK_TIMEOUT_S = 5.0
_ERROR_MAX = 300
_SASL_HEADER = b"AMQP\x03\x01\x00\x00"
_NOT_FOUND = re.compile(r"not[- ]found|could not be found|does not exist|\b404\b", re.IGNORECASE)
_UNAUTHORIZED = re.compile(
    r"unauthori[sz]ed|\b40[13]\b|InvalidSignature|ExpiredToken|InvalidIssuer", re.IGNORECASE
)
_SECRET = re.compile(r"(SharedAccessKey|SharedAccessSignature|sig|Bearer)[= ]\S+", re.IGNORECASE)


class Refused(SourceUnavailable):
    """The hub answers and says no: trying again at once is no use."""


class Outgrown(SourceUnavailable):
    """The hub has partitions that the client does not know of; a new client does."""


def explain(error: BaseException, settings: EventHubSettings, address: Address) -> SourceUnavailable:
    """The error of a client as one of ours."""
    if isinstance(error, SourceUnavailable):
        return error
    text = f"{error}"
    if isinstance(error, ClientAuthenticationError):
        return Refused(f"No token for {address} could be had: {one_line(error)}")
    if _NOT_FOUND.search(text):
        if "consumergroup" in text.casefold().replace(" ", ""):
            return Refused(
                f"There is no consumer group named {settings.consumer_group} at the hub {address.hub}."
            )
        return Refused(f"There is no hub named {address.hub} at {address}.")
    if isinstance(error, AuthenticationError) or _UNAUTHORIZED.search(text):
        if settings.connection_string is None:
            return Refused(
                f"The identity was refused by {address}/{address.hub}: "
                "it needs the role Azure Event Hubs Data Receiver."
            )
        return Refused(f"The key for {address}/{address.hub} was refused.")
    if isinstance(error, TimeoutError):
        return SourceUnavailable(
            f"No Event Hub answers at {address}: it accepts a connection and says nothing."
        )
    return SourceUnavailable(f"No Event Hub answers at {address}: {one_line(error)}")


def one_line(error: BaseException) -> str:
    """The first line of an error's text, cut and with nothing secret in it."""
    lines = str(error).strip().splitlines()
    text = _SECRET.sub(r"\1=***", lines[0]) if lines else type(error).__name__
    return text[:_ERROR_MAX]


async def knock(settings: EventHubSettings, address: Address) -> None:
    """Raise `SourceUnavailable` unless somebody at the address speaks AMQP.

    Cheaper than a client, which leaves a connection open when it is greeted by silence (D6), and more
    exact about what is wrong. Through a proxy or a websocket only the client itself can tell.
    """
    if settings.transport != "amqp" or settings.proxy is not None:
        return
    try:
        async with asyncio.timeout(KNOCK_TIMEOUT_S):
            await _greet(address)
    except TimeoutError:
        raise explain(TimeoutError(), settings, address) from None
    except ssl.SSLError as error:
        raise SourceUnavailable(
            f"{address} does not speak TLS that can be trusted: {one_line(error)}"
        ) from error
    except ConnectionRefusedError as error:
        raise SourceUnavailable(f"No Event Hub answers at {address}: connection refused.") from error
    except (OSError, asyncio.IncompleteReadError) as error:
        raise SourceUnavailable(f"No Event Hub answers at {address}: {one_line(error)}") from error


async def _greet(address: Address) -> None:
    context = None if address.is_plain else await asyncio.to_thread(eventhub_tls.trusted)
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    try:
        writer.write(_SASL_HEADER)
        answer = await reader.readexactly(len(_SASL_HEADER))
        if not answer.startswith(b"AMQP"):
            raise ConnectionError("what answers there does not speak AMQP.")
    finally:
        # Not closed in an orderly way: the other side may never answer.
        writer.transport.abort()
