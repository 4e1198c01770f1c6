"""Send to the re-key topic, and find out what it will never take, so that this holds up nothing else.

Brokers refuse a batch as a whole when it is larger than the topic's ``max.message.bytes``, and an idempotent
producer gets nothing more into that partition then. So the limit is asked for beforehand, batches stay below
it, and an event that is above it by itself is not sent. Where the limit is not told, or was lowered
meanwhile, a refusal makes everything go one by one from then on: so brokers say which event they mean.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    RecordListTooLargeError,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from consumer.sources.faust_app import BATCH_MAX_BYTES, IDLE_MAX_MS, REQUEST_MAX_BYTES, client_options
from consumer.sources.faust_settings import FaustSettings

if TYPE_CHECKING:
    from faust.types.transports import ProducerT

_log = structlog.get_logger("inturn.kafka")

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
_REFUSED_FOR_SIZE = (*_TOO_LARGE, OutOfOrderSequenceNumber)
"""A batch that is too large, and what comes behind one."""
_LEARN_S = 1.0
_CODECS = {"none": 0, "gzip": 1}
"""As Kafka numbers them."""


class Message(NamedTuple):
    """What is to be sent, and to which partition."""

    key: bytes | None
    body: bytes
    target: int
    headers: list[tuple[str, bytes]]


class Sender:
    """Sends for all partitions of the source topic that this replica has."""

    def __init__(
        self, settings: FaustSettings, targets: int, ask_limit: Callable[[], Awaitable[int | None]]
    ) -> None:
        """`targets`: the partitions of the topic; `ask_limit` gives the bytes that a batch may have."""
        self._settings = settings
        # The client sends a batch of every partition in one request, and looks at the size of none.
        is_event_hubs = settings.security.is_event_hubs
        self._share = REQUEST_MAX_BYTES // targets if is_event_hubs else BATCH_MAX_BYTES
        self._ask_limit = ask_limit
        self._limit: int | None = None
        self.producer: ProducerT | None = None
        """The app's own; set as soon as there is one."""
        self._is_careful = False
        self._single: Any = None
        self._beginning = asyncio.Lock()

    @property
    def batch_bytes(self) -> int:
        """How large batches may become that hold more than one message."""
        return min(BATCH_MAX_BYTES, self._share, self._limit or BATCH_MAX_BYTES)

    async def learn_limit(self) -> None:
        """Ask how large a batch may be; what was known stays if nobody says."""
        self._limit = await self._ask_limit() or self._limit

    async def send(self, messages: Sequence[Message]) -> dict[int, str]:
        """Send in order; returns when brokers have acknowledged everything but what is too large.

        Gives the indexes of that, with the reason. Raises `KafkaError`, `FaustError` for any other refusal:
        then any part may have been sent.
        """
        refused = self._unfit(messages)
        if refused:
            await self.learn_limit()  # somebody may have raised it
            refused = self._unfit(messages)
        rest = [index for index in range(len(messages)) if index not in refused]
        if self._is_careful or not await self._send_in_batches([messages[index] for index in rest]):
            refused |= await self._send_singly(messages, rest)
        return refused

    async def stop(self) -> None:
        """Hang up."""
        if self._single is not None:
            await self._single.stop()

    def _unfit(self, messages: Sequence[Message]) -> dict[int, str]:
        found = {}
        for index, message in enumerate(messages):
            size = DefaultRecordBatchBuilder.estimate_size_in_bytes(
                message.key, message.body, message.headers
            )
            if size > REQUEST_MAX_BYTES:
                found[index] = f"{size} bytes as a message, more than {REQUEST_MAX_BYTES}"
            elif self._limit is not None and size > self._limit:  # it is estimated from above
                size = self._size(message)
                if size > self._limit:
                    topic = self._settings.rekey_topic
                    found[index] = f"{size} bytes as a message, more than the {self._limit} of topic {topic}"
        return found

    def _size(self, message: Message) -> int:
        """Of a batch with nothing else in it, as it would be sent."""
        codec = _CODECS[self._settings.compression]
        batch = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 0)
        batch.append(0, None, key=message.key, value=message.body, headers=message.headers)
        return len(batch.build())

    async def _send_in_batches(self, messages: Sequence[Message]) -> bool:
        """Send as fast as can be; False: something was too large, and nobody says what."""
        topic, producer = self._settings.rekey_topic, self.producer
        assert topic is not None
        assert producer is not None
        sent: list[Awaitable[object]] = []
        for key, body, target, headers in messages:
            sent.append(await producer.send(topic, key, body, target, None, headers))
        try:
            await asyncio.gather(*sent)
        except _TOO_LARGE as error:
            self._be_careful(error)
        except OutOfOrderSequenceNumber:
            # Brokers say so of what comes behind a batch that they refused: whose that was learns it now.
            await asyncio.sleep(_LEARN_S)
            if not self._is_careful:
                raise
        else:
            return True
        # All have to be settled before any is sent again.
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, _REFUSED_FOR_SIZE):
                raise result
        return False

    def _be_careful(self, error: KafkaError) -> None:
        if not self._is_careful:
            self._is_careful = True
            _log.warning(
                "A batch was refused for its size; events are sent one by one until the next start.",
                topic=self._settings.rekey_topic,
                error=str(error) or type(error).__name__,
            )

    async def _send_singly(self, messages: Sequence[Message], indexes: Sequence[int]) -> dict[int, str]:
        """Send with nothing else in the batch; in order within a partition."""
        by_target: dict[int, list[int]] = defaultdict(list)
        for index in indexes:
            by_target[messages[index].target].append(index)
        producer = await self._connected()
        refused: dict[int, str] = {}

        async def send(chosen: list[int]) -> None:
            for index in chosen:
                key, body, target, headers = messages[index]
                try:
                    await producer.send_and_wait(
                        self._settings.rekey_topic, body, key, target, headers=headers
                    )
                except _TOO_LARGE:
                    refused[index] = f"topic {self._settings.rekey_topic} refuses {len(body)} bytes"

        results = await asyncio.gather(*map(send, by_target.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return refused

    async def _connected(self) -> Any:
        async with self._beginning:
            if self._single is None:
                producer = AIOKafkaProducer(
                    client_id=f"{self._settings.group}-single",
                    acks="all",
                    # A second message is never put into the batch of another, whoever sends it.
                    max_batch_size=1,
                    max_request_size=REQUEST_MAX_BYTES,
                    request_timeout_ms=round(self._settings.produce_timeout_s * 1_000),
                    compression_type=None if self._settings.compression == "none" else "gzip",
                    metadata_max_age_ms=IDLE_MAX_MS,
                    connections_max_idle_ms=IDLE_MAX_MS,
                    **client_options(self._settings),
                )
                try:
                    await producer.start()
                except KafkaError:
                    await producer.stop()
                    raise
                self._single = producer
            return self._single
