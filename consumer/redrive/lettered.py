"""Events of dead letters: decoded again, by today's rules."""

from __future__ import annotations

import msgspec

from consumer.core.catalogue import Catalogue
from consumer.core.decode import Rejection, decode
from consumer.events import DeadLetter, Event, RawBatch, Reason

_REPLAY = "~replay-"
"""Behind the consumer group in the name of a replay's partitions (`consumer.replay.planning`)."""


def entries_of(letter: DeadLetter, catalogue: Catalogue) -> list[Event | Rejection]:
    """What the bytes of a letter are today: one entry, but for a body that was refused as a whole."""
    batch = RawBatch(
        partition=letter.position.partition,
        bodies=[letter.original],
        sequence_numbers=[letter.position.sequence_number],
        offsets=[""],
        enqueued_times_ms=[letter.enqueued_time_ms],
        partition_keys=[letter.partition_key],
        properties_at=lambda _: {},
    )
    entries = decode(batch, 0, catalogue)
    if len(entries) != 1 or not isinstance(entries[0], Event):
        return entries
    # Its bytes were cut out of a message, in which it may not have been the first.
    event = msgspec.structs.replace(
        entries[0], index=letter.position.index, stale=letter.stale, is_latest=not letter.stale
    )
    return [event]


def event_of(letter: DeadLetter, catalogue: Catalogue) -> Event | Rejection:
    """The event that a processor failed at, or why its bytes are none any more."""
    entries = entries_of(letter, catalogue)
    if len(entries) == 1:
        return entries[0]
    error = f"{len(entries)} events, where a processor was given one"
    return Rejection(letter.position, letter.enqueued_time_ms, letter.original, Reason.NOT_AN_OBJECT, error)


def group_and_replay(group: str) -> tuple[str, str]:
    """The consumer group and the replay that a letter's attempt belonged to: both are part of its key."""
    name, _, replay = group.partition(_REPLAY)
    return name, replay
