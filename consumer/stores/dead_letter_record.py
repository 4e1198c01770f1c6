"""A dead letter as it is written down: one flat record, the same in SQLite and in a blob."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from consumer.events import DeadLetter, PartitionId, Position, Reason
from consumer.stores.naming import folded

Scope: TypeAlias = tuple[str, str, str, str]
"""Namespace, hub, group and key: what makes two letters one. Two hubs never share a letter."""


class DeadLetterRecord(msgspec.Struct, frozen=True):
    """The fields of a `DeadLetter`, side by side; times in milliseconds since 1970."""

    key: str
    namespace: str
    hub: str
    consumer_group: str
    partition: str
    sequence_number: int
    element: int
    """Which element of the message, from 0."""
    reason: Reason
    error: str
    processor: str | None
    attempts: int
    enqueued_time_ms: int
    dead_lettered_at_ms: int
    event_id: str
    event_type: str
    topic: str
    subject: str
    original: bytes
    # Since later: a record without them is read as well.
    object_path: str = ""
    partition_key: str | None = None
    stale: bool = False


def _writable(text: str) -> str:
    """The text with what UTF-8 cannot hold spelled out: a lone surrogate must not stop a dead letter."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def scope_of(letter: DeadLetter) -> Scope:
    """What makes `letter` the same as another."""
    namespace, hub, group, _ = folded(letter.partition)
    return namespace, hub, group, letter.key


def order_of(letter: DeadLetter) -> tuple[int, int, int, str]:
    """Oldest first; within one moment by position, so that a batch reads as it came."""
    return letter.dead_lettered_at_ms, letter.position.sequence_number, letter.position.index, letter.key


def record_of(letter: DeadLetter) -> DeadLetterRecord:
    """Write a letter down."""
    namespace, hub, group, partition = letter.partition
    return DeadLetterRecord(
        key=letter.key,
        namespace=namespace,
        hub=hub,
        consumer_group=group,
        partition=partition,
        sequence_number=letter.position.sequence_number,
        element=letter.position.index,
        reason=letter.reason,
        error=_writable(letter.error),
        processor=letter.processor,
        attempts=letter.attempts,
        enqueued_time_ms=letter.enqueued_time_ms,
        dead_lettered_at_ms=letter.dead_lettered_at_ms,
        event_id=_writable(letter.event_id),
        event_type=_writable(letter.event_type),
        topic=_writable(letter.topic),
        subject=_writable(letter.subject),
        original=letter.original,
        object_path=_writable(letter.object_path),
        partition_key=None if letter.partition_key is None else _writable(letter.partition_key),
        stale=letter.stale,
    )


def letter_of(record: DeadLetterRecord) -> DeadLetter:
    """Read a letter back."""
    return DeadLetter(
        key=record.key,
        partition=PartitionId(record.namespace, record.hub, record.consumer_group, record.partition),
        position=Position(record.partition, record.sequence_number, record.element),
        reason=record.reason,
        error=record.error,
        original=record.original,
        enqueued_time_ms=record.enqueued_time_ms,
        dead_lettered_at_ms=record.dead_lettered_at_ms,
        processor=record.processor,
        attempts=record.attempts,
        event_id=record.event_id,
        event_type=record.event_type,
        topic=record.topic,
        subject=record.subject,
        object_path=record.object_path,
        partition_key=record.partition_key,
        stale=record.stale,
    )
