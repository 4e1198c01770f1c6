"""Between a pipeline's parts and a snapshot: what is stored, and what is made of it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consumer.core.checkpoint import CheckpointTracker
from consumer.core.deduplicator import Deduplicator
from consumer.core.flights import Flight, bits
from consumer.core.policy import PipelinePolicy
from consumer.core.release_order import ReleaseOrder
from consumer.core.sequencer import Last, Sequencer
from consumer.core.snapshot import ObjectEntry, Snapshot
from consumer.events import ObjectId, OrderedBy, OrderToken


def dump_state(  # noqa: PLR0913 - the parts of a pipeline, each once
    policy: PipelinePolicy,
    epoch: int,
    tracker: CheckpointTracker,
    done_above: dict[int, list[int]],
    acks: list[tuple[int, int, list[str]]],
    released: ReleaseOrder,
    sequencer: Sequencer[Flight],
    deduplicator: Deduplicator,
    watermark_ms: int | None,
) -> Snapshot:
    """Put together what must be remembered with the checkpoint.

    `done_above` is what an earlier snapshot says of messages that have not been read again yet.
    """
    topics: dict[str, int] = {}
    objects = [
        ObjectEntry(
            topics.setdefault(object_id.topic, len(topics)),
            object_id.path,
            last.token.by,
            last.token.value,
            last.event_type,
            last.time_ms,
        )
        for object_id, last in sequencer.dump()
    ]
    orders = [
        (topics.setdefault(object_id.topic, len(topics)), object_id.path, positions)
        for object_id, positions in released.dump()
    ]
    # What an earlier owner stored of messages that have left the hub since is of no use any more.
    checkpoint = tracker.checkpoint
    waiting = {number: done for number, done in done_above.items() if number > checkpoint.sequence_number}
    return Snapshot(
        epoch=epoch,
        owner=policy.owner,
        checkpoint=checkpoint,
        watermark_ms=watermark_ms,
        config_hash=policy.config_hash,
        done_above={**waiting, **tracker.done_above()},
        released=orders,
        acks=[ack for ack in acks if ack[0] > checkpoint.sequence_number],
        topics=list(topics),
        objects=objects,
        identities=deduplicator.dump(),
    )


def restore_objects(snapshot: Snapshot) -> list[tuple[ObjectId, Last]]:
    """The last released event of every object."""
    topics = snapshot.topics
    return [
        (
            ObjectId(topics[entry.topic], entry.path),
            Last(OrderToken(OrderedBy(entry.by), entry.value), entry.event_type, entry.time_ms),
        )
        for entry in snapshot.objects
    ]


def restore_released(snapshot: Snapshot) -> list[tuple[ObjectId, list[tuple[int, int]]]]:
    """What was released and not resolved, in order."""
    return [
        (ObjectId(snapshot.topics[topic], path), positions) for topic, path, positions in snapshot.released
    ]


class Acks:
    """Which processors are done with an event that others are not done with, kept over a restart."""

    def __init__(self, processors: Sequence[str], stored: list[tuple[int, int, list[str]]]) -> None:
        self._processors = processors
        self._stored = {(number, index): names for number, index, names in stored}

    def take(self, position: tuple[int, int]) -> int:
        """The processors that were done with an event before the restart, a bit for each."""
        names = self._stored.pop(position, ()) if self._stored else ()
        return sum(1 << index for index, name in enumerate(self._processors) if name in names)

    def dump(self, flights: Iterable[Flight]) -> list[tuple[int, int, list[str]]]:
        """The same for a snapshot: what has not been read again yet, and what is in flight now."""
        acks = [(*position, names) for position, names in self._stored.items()]
        for flight in flights:
            done = flight.routed & ~flight.pending
            if done:
                acks.append((*flight.position, [self._processors[index] for index in bits(done)]))
        return acks
