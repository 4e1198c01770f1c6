"""Send messages to an event hub with the real client, in the plan's order.

A message goes to the partition that the service's own hash gives for its key, with the key in its
annotations, as the client's buffered mode does it: so a whole batch goes to a partition at once, and not one
small batch for each key. Within a partition messages are sent one batch after the other, so events of one key
stay in the plan's order; partitions are sent to side by side, none further ahead than `ROUND_MAX` messages.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from azure.eventhub import EventData, parse_connection_string
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.amqp import AmqpMessageHeader
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from consumer.errors import ConfigurationError, SourceUnavailable
from consumer.hub.placement import partition_of
from consumer.samples.messages import Message, Trace
from consumer.samples.trace import plan

LOCAL_HUB = (
    "Endpoint=sb://127.0.0.1:5672;SharedAccessKeyName=local;SharedAccessKey=local;UseDevelopmentEmulator=true"
)
"""The connection string of `inturn hub`."""
ROUND_MAX = 200
"""Messages. Small, so that an event and the one that overtakes it come well within a reorder window."""
SEND_TIMEOUT_S = 30.0
_RETRIES_MAX = 2
_RETRY_BACKOFF_S = 0.3
_TRICKLE_EVENTS = 1_000
_ROUNDS_PER_S = 5
"""How finely a rate is kept."""
_PARTITION_KEY = b"x-opt-partition-key"


class Progress(NamedTuple):
    """How far sending has come."""

    phase: str
    sent: int
    """Messages since the beginning."""
    total: int | None
    """Messages in all; None: it goes on for ever."""


OnProgress = Callable[[Progress], None]


async def send_trace(
    trace: Trace,
    connection_string: str,
    hub: str,
    on_progress: OnProgress | None = None,
    *,
    window_s: float,
    rate_per_s: float | None = None,
) -> int:
    """Send a trace, as fast as the hub takes it or at a rate, and give the number of messages.

    `window_s` is the consumer's reorder window, from which the pauses between phases follow. Raises
    `SourceUnavailable` if the hub does not answer or refuses us.
    """
    total = sum(len(phase.messages) for phase in trace.phases)
    async with open_sender(connection_string, hub) as sender:
        for phase in trace.phases:
            await asyncio.sleep(phase.pause_before_s(window_s))
            async for _ in sender.send_all(phase.messages, rate_per_s):
                if on_progress is not None:
                    on_progress(Progress(phase.name, sender.sent, total))
        return sender.sent


async def trickle(
    connection_string: str,
    hub: str,
    on_progress: OnProgress | None = None,
    *,
    window_s: float,
    rate_per_s: float,
    seed: int,
) -> None:
    """Send one trace after the other, gently, until cancelled. Each is about objects of its own.

    Raises `SourceUnavailable` if the hub does not answer or refuses us.
    """
    async with open_sender(connection_string, hub) as sender:
        for number in itertools.count(seed):
            trace = plan(number, _TRICKLE_EVENTS, start=datetime.now(UTC))
            for phase in trace.phases:
                await asyncio.sleep(phase.pause_before_s(window_s))
                async for _ in sender.send_all(phase.messages, rate_per_s):
                    if on_progress is not None:
                        on_progress(Progress(phase.name, sender.sent, None))


class Sender:
    """Sends messages to the partitions of one hub."""

    def __init__(self, client: EventHubProducerClient, place: str, partitions: Sequence[str]) -> None:
        self._client = client
        self._place = place
        self._partitions = partitions
        self._unkeyed = itertools.cycle(partitions)
        self.sent = 0
        """Messages."""

    async def send_all(
        self, messages: Iterable[Message], rate_per_s: float | None = None
    ) -> AsyncIterator[Sequence[Message]]:
        """Send messages in rounds, each taken when the one before it was sent, and give each once sent."""
        size = ROUND_MAX if rate_per_s is None else max(1, min(ROUND_MAX, int(rate_per_s / _ROUNDS_PER_S)))
        waiting, started_at, done = iter(messages), time.monotonic(), 0
        while part := list(itertools.islice(waiting, size)):
            if rate_per_s is not None:
                await asyncio.sleep(max(0.0, started_at + done / rate_per_s - time.monotonic()))
            await self._send_round(part)
            done += len(part)
            self.sent += len(part)
            yield part

    async def _send_round(self, messages: Iterable[Message]) -> None:
        placed: dict[str, list[Message]] = {}
        for message in messages:
            placed.setdefault(self._partition_of(message), []).append(message)
        with _reported(self._client.eventhub_name, self._place):
            try:
                async with asyncio.TaskGroup() as group:
                    for partition, share in placed.items():
                        group.create_task(self._send_to(partition, share))
            except ExceptionGroup as errors:
                # One partition's failure stands for all: they share a connection.
                raise errors.exceptions[0] from None

    def _partition_of(self, message: Message) -> str:
        if message.partition_key is None:
            return next(self._unkeyed)
        return self._partitions[partition_of(message.partition_key, len(self._partitions))]

    async def _send_to(self, partition: str, messages: Sequence[Message]) -> None:
        """Send messages to a partition, one batch after the other."""
        batch = await self._client.create_batch(partition_id=partition)
        for data in map(_event_data, messages):
            try:
                batch.add(data)
            except ValueError:  # the batch is full
                await self._client.send_batch(batch, timeout=SEND_TIMEOUT_S)
                batch = await self._client.create_batch(partition_id=partition)
                batch.add(data)
        await self._client.send_batch(batch, timeout=SEND_TIMEOUT_S)


@asynccontextmanager
async def open_sender(connection_string: str, hub: str) -> AsyncIterator[Sender]:
    """Connect to a hub. Raises `SourceUnavailable`; `ConfigurationError` for what is no connection string."""
    try:
        place = parse_connection_string(connection_string).fully_qualified_namespace
        client = EventHubProducerClient.from_connection_string(
            connection_string,
            eventhub_name=hub,
            retry_total=_RETRIES_MAX,
            retry_backoff_factor=_RETRY_BACKOFF_S,
            auth_timeout=SEND_TIMEOUT_S,
        )
    except ValueError as error:
        message = f"the connection string cannot be used: {error}"
        raise ConfigurationError(message) from None
    async with client:
        with _reported(hub, place):
            partitions = await client.get_partition_ids()
        yield Sender(client, place, partitions)


@contextmanager
def _reported(hub: str, place: str) -> Iterator[None]:
    """Say in one line what the client says in many."""
    try:
        yield
    except AuthenticationError as error:
        message = f"{place} refuses us: {_first_line(error)}"
        raise SourceUnavailable(message) from error
    except (EventHubError, OSError, TimeoutError) as error:
        said = _first_line(error)
        if "status code: 404" in said.casefold() or "not-found" in str(error):
            message = f"There is no event hub named {hub!r} at {place}."
        else:
            message = f"The event hub {hub!r} at {place} cannot be sent to: {said}"
        raise SourceUnavailable(message) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _event_data(message: Message) -> EventData:
    data = EventData(message.body)
    data.properties = cast("dict[str | bytes, Any]", message.properties)
    if message.partition_key is not None:
        annotated = data.raw_amqp_message
        annotated.annotations = {_PARTITION_KEY: message.partition_key}
        annotated.header = AmqpMessageHeader(durable=True)  # type: ignore[no-untyped-call] # the SDK's
    return data
