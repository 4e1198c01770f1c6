"""Kafka's records as the columns of a `RawBatch`, and where a re-keyed message came from.

A re-keyed message says in a header from which place of the source topic it came, and when it was enqueued
there. Messages of one partition of the re-key topic come from several logs, each at its own pace, and log
time there is that of the slowest. So that every log is heard of in every partition, *marks* are sent to all
of them: messages without events that say how far a log is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from consumer.events import RawBatch
from consumer.sources import amqp_values

ORIGIN = "inturn-origin"
"""The header of a re-keyed message: ``partition/offset/element/enqueued time in ms``."""
MARK_BODY = b"[]"
"""A mark holds no event: an empty array."""
_NO_PROPERTIES: Mapping[str, object] = {}
_NOT_TEXT = 0x80
"""Text in UTF-8 begins with no byte from here to 0xBF; AMQP's strings, and its longer numbers, do."""


class Record(Protocol):
    """What a consumer gives of a message."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970; -1 in topics of another century."""

    @property
    def key(self) -> bytes | None:
        """What it was placed by."""

    @property
    def value(self) -> bytes | None:
        """The body."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The application properties."""


class Origin(NamedTuple):
    """Where a re-keyed message came from."""

    partition: int
    """Of the source topic."""
    offset: int
    """-1: a mark, which came from no message."""
    element: int
    time_ms: int
    """When it was enqueued in the source topic; of a mark: nothing enqueued earlier will come."""

    def header(self) -> tuple[str, bytes]:
        """How it is written."""
        return ORIGIN, b"%d/%d/%d/%d" % self


def origin_of(record: Record) -> Origin | None:
    """Where a message came from; None if whoever sent it is not inturn."""
    for name, value in record.headers:
        if name == ORIGIN:
            try:
                partition, offset, element, time_ms = value.split(b"/")
                return Origin(int(partition), int(offset), int(element), int(time_ms))
            except ValueError:
                return None
    return None


class LogTime:
    """How far the slowest of several logs is."""

    def __init__(self, partitions: int) -> None:
        """`partitions`: of the source topic."""
        self._newest = [0] * partitions
        self.time_ms = 0
        """Milliseconds since 1970; 0 until every log has been heard of."""

    def observe(self, partition: int, time_ms: int) -> None:
        """Note how far one of them is."""
        if not 0 <= partition < len(self._newest):
            return
        before = self._newest[partition]
        if time_ms > before:
            self._newest[partition] = time_ms
            if before == self.time_ms:
                self.time_ms = min(self._newest)


def keyed_batch(
    partition: str, records: Sequence[Record], newest: int | None, *, is_event_hubs: bool
) -> RawBatch:
    """The batch of a topic that is keyed by object at its source."""
    return RawBatch(
        partition=partition,
        bodies=[record.value or b"" for record in records],
        sequence_numbers=[record.offset for record in records],
        offsets=[str(record.offset) for record in records],
        enqueued_times_ms=[max(record.timestamp, 0) for record in records],
        partition_keys=[_text(record.key) for record in records],
        properties_at=_properties_at(records, is_event_hubs=is_event_hubs),
        newest_sequence_number=newest,
    )


def rekeyed_batch(
    partition: str, records: Sequence[Record], newest: int | None, log_time: LogTime
) -> RawBatch:
    """The batch of a re-key topic; `log_time` is that of this partition, and is moved on."""
    times_ms, watermarks_ms = [], []
    for record in records:
        origin = origin_of(record)
        if origin is None:
            times_ms.append(max(record.timestamp, 0))
        else:
            log_time.observe(origin.partition, origin.time_ms)
            times_ms.append(origin.time_ms)
        watermarks_ms.append(log_time.time_ms)
    return RawBatch(
        partition=partition,
        bodies=[record.value or b"" for record in records],
        sequence_numbers=[record.offset for record in records],
        offsets=[str(record.offset) for record in records],
        enqueued_times_ms=times_ms,
        partition_keys=[_text(record.key) for record in records],
        # They were decoded when the message was sent on.
        properties_at=_properties_at(records, is_event_hubs=False),
        newest_sequence_number=newest,
        watermarks_ms=watermarks_ms,
    )


def _text(key: bytes | None) -> str | None:
    if key is None:
        return None
    return key.decode("utf-8", "replace")


def _properties_at(
    records: Sequence[Record], *, is_event_hubs: bool
) -> Callable[[int], Mapping[str, object]]:
    def properties_at(row: int) -> Mapping[str, object]:
        headers = records[row].headers
        if not headers or (len(headers) == 1 and headers[0][0] == ORIGIN):
            return _NO_PROPERTIES
        return {
            name: header_value(value, is_event_hubs=is_event_hubs)
            for name, value in headers
            if name != ORIGIN
        }

    return properties_at


def header_value(value: bytes, *, is_event_hubs: bool) -> object:
    """A header's value: text, or what AMQP encoded if Event Hubs hands it over; else the bytes.

    What was sent by AMQP comes out of the Kafka endpoint of Event Hubs as AMQP encoded it, what was sent by
    Kafka as it was. Which it is the first byte says; short numbers of AMQP look like text, and are text here.
    """
    if is_event_hubs and value and value[0] >= _NOT_TEXT:
        try:
            decoded, end = amqp_values.decode(value, 0, len(value))
        except amqp_values.MalformedError:
            pass
        else:
            if end == len(value):
                return decoded
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
