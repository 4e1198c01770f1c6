"""Sends to a topic of Kafka: acknowledged by all replicas, and none twice by the client's own repetitions.

Events of one partition go in batches, one after the other: a batch is taken whole or not at all, so none of
them can overtake one that failed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from consumer.errors import ProcessorSettingsError
from consumer.processor import Retry
from processors.forward import Parcel
from processors.forward_settings import KafkaTarget
from processors.secret_files import SecretFile

try:
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
    from aiokafka.partitioner import DefaultPartitioner
except ImportError as missing:
    raise ProcessorSettingsError(
        "kafka: needs aiokafka, which is not installed: pip install 'inturn[kafka]'"
    ) from missing

_BATCH_MAX_BYTES = 900_000
"""Of a batch; brokers take 1 MiB unless they were told otherwise."""
_CLOSE_S = 5.0


class KafkaTopic:
    """A topic that is sent to, by one producer."""

    def __init__(self, settings: KafkaTarget, timeout_s: float) -> None:
        self.name = f"topic {settings.topic} at {settings.bootstrap}"
        self._settings = settings
        self._timeout_s = timeout_s
        self._file = (
            None if settings.password_file is None else SecretFile(settings.password_file, "password_file")
        )
        self._trust: ssl.SSLContext | None = None
        self._producer: AIOKafkaProducer | None = None
        self._is_spent = False
        """Whether the producer will not send any more: its brokers have lost count of what it sent."""
        self._starting = asyncio.Lock()
        self._partitions: dict[int, asyncio.Lock] = {}
        self._place = DefaultPartitioner()

    async def open(self) -> None:
        """Read password and certificates. Raises `ProcessorSettingsError`."""
        if self._settings.tls:
            self._trust = await asyncio.to_thread(self._trusted)
        self._password()

    async def send(self, parcels: Sequence[Parcel], taken: Callable[[Parcel], None]) -> list[Parcel]:
        """See `processors.forward.Target`."""
        if not parcels:
            return []
        try:
            async with asyncio.timeout(self._timeout_s):
                producer = await self._started()
                known = sorted(await producer.partitions_for(self._settings.topic))
        except (KafkaError, OSError, TimeoutError) as error:
            raise self._retry(error) from error
        shares: dict[int, list[Parcel]] = {}
        for parcel in parcels:
            key = None if parcel.partition_key is None else parcel.partition_key.encode()
            shares.setdefault(self._place(key, known, known), []).append(parcel)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._send_share(producer, partition, share, taken))
                for partition, share in shares.items()
            ]
        results = [task.result() for task in running]
        for _, failure in results:
            if failure is not None:
                raise failure
        return [parcel for too_large, _ in results for parcel in too_large]

    async def close(self) -> None:
        """Close the producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def _send_share(
        self,
        producer: AIOKafkaProducer,
        partition: int,
        share: Sequence[Parcel],
        taken: Callable[[Parcel], None],
    ) -> tuple[list[Parcel], Retry | None]:
        """Send what goes to one partition, in order, up to the first that is too large."""
        rest = list(share)
        count_max = len(rest)
        # A producer has one batch of a partition under way; a second one of ours would only wait there.
        async with self._partitions.setdefault(partition, asyncio.Lock()):
            while rest:
                batch, count = producer.create_batch(), 0
                while count < min(count_max, len(rest)) and _is_added(batch, rest[count]):
                    count += 1
                if count == 0:
                    return rest[:1], None
                batch.close()
                try:
                    # The client ends it in time by itself, and knows then that it will not be sent later.
                    async with asyncio.timeout(self._timeout_s + _CLOSE_S):
                        sent = await producer.send_batch(batch, self._settings.topic, partition=partition)
                        await sent
                except MessageSizeTooLargeError:
                    if count == 1:
                        return rest[:1], None
                    # Brokers that take less than usual: which one it is shows when each goes alone.
                    count_max = 1
                    continue
                except (KafkaError, OSError, TimeoutError) as error:
                    if producer is self._producer:  # else another one is there already
                        self._is_spent = self._is_spent or not _may_heal(error)
                    return [], self._retry(error)
                for parcel in rest[:count]:
                    taken(parcel)
                del rest[:count]
        return [], None

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._is_spent:
                # What it has under way ends before another one sends: nothing is overtaken.
                await self.close()
                self._is_spent = False
            if self._producer is None:
                producer = self._new_producer()
                try:
                    await producer.start()
                except BaseException:
                    await _stop(producer)
                    raise
                self._producer = producer
            return self._producer

    def _new_producer(self) -> AIOKafkaProducer:
        settings = self._settings
        login: dict[str, Any] = {}
        if settings.mechanism != "none":
            login = {
                "sasl_mechanism": settings.mechanism.upper(),
                "sasl_plain_username": settings.username,
                "sasl_plain_password": self._password(),
            }
        security = ("SASL_" if login else "") + ("SSL" if settings.tls else "PLAINTEXT")
        return AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap,
            client_id="inturn",
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=round(self._timeout_s * 1_000),
            max_batch_size=_BATCH_MAX_BYTES,
            compression_type=None if settings.compression == "none" else settings.compression,
            security_protocol=security,
            ssl_context=self._trust,
            **login,
        )

    def _password(self) -> str | None:
        if self._file is not None:
            return self._file.read()
        password = self._settings.password
        return None if password is None else password.get_secret_value()

    def _trusted(self) -> ssl.SSLContext:
        path = self._settings.ca_file
        try:
            return ssl.create_default_context(cafile=None if path is None else str(path))
        except (OSError, ssl.SSLError) as error:
            raise ProcessorSettingsError(f"kafka.ca_file: {path} cannot be used: {error}") from error

    def _retry(self, error: Exception) -> Retry:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        return Retry(f"{self.name} does not take events: {said}")


def _is_added(batch: Any, parcel: Parcel) -> bool:
    headers = {
        "message_id": parcel.message_id,
        "content-type": parcel.content_type,
        **parcel.properties,
    }
    key = None if parcel.partition_key is None else parcel.partition_key.encode()
    size = len(parcel.body) + sum(len(name) + len(value.encode()) + 16 for name, value in headers.items())
    if batch.record_count() == 0 and size > _BATCH_MAX_BYTES:
        return False  # of a batch's first one the builder itself takes any size
    added = batch.append(
        key=key,
        value=parcel.body,
        timestamp=None,
        headers=[(name, value.encode("utf-8", "surrogatepass")) for name, value in headers.items()],
    )
    return added is not None


def _may_heal(error: Exception) -> bool:
    return not isinstance(error, KafkaError) or isinstance(error, KafkaTimeoutError) or bool(error.retriable)


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_CLOSE_S):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError):
        # What was not acknowledged by now is sent again by whoever sends it next.
        return
