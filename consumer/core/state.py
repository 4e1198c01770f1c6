"""Between a pipeline's parts and a snapshot: what is stored, and what is made of it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consumer.core.checkpoint import CheckpointTracker
from consumer.core.deduplicator import Deduplicator
from consumer.core.flights import Flight, bits
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import Sequencer
from consumer.core.snapshot import Progress, Snapshot
from consumer.events import ObjectId, Reason


def dump_state(
    policy: PipelinePolicy,
    epoch: int,
    tracker: CheckpointTracker,
    done_above: dict[int, list[int]],
    acks: list[Progress],
    released: Iterable[tuple[ObjectId, list[tuple[int, int]]]],
    sequencer: Sequencer[Flight],
    deduplicator: Deduplicator,
) -> Snapshot:
    """Put together what must be remembered with the checkpoint.

    `done_above` is what an earlier snapshot says of messages that have not been read again yet.
    """
    topics: dict[str, int] = {}
    orders = [
        (topics.setdefault(object_id.topic, len(topics)), object_id.path, positions)
        for object_id, positions in released
    ]
    # What an earlier owner stored of messages that have left the hub since is of no use any more.
    checkpoint = tracker.checkpoint
    waiting = {number: done for number, done in done_above.items() if number > checkpoint.sequence_number}
    rows, others = tracker.done_above()
    return Snapshot(
        epoch=epoch,
        owner=policy.owner,
        checkpoint=checkpoint,
        watermark_ms=tracker.watermark_ms,
        config_hash=policy.config_hash,
        done_above={**waiting, **others},
        done_rows=rows,
        released=orders,
        acks=[ack for ack in acks if ack[0] > checkpoint.sequence_number],
        topics=list(topics),
        objects=sequencer.image(),
        identities=deduplicator.image(),
    )


def restore_released(snapshot: Snapshot) -> list[tuple[ObjectId, list[tuple[int, int]]]]:
    """What was released and not resolved, in order."""
    return [
        (ObjectId(snapshot.topics[topic], path), positions) for topic, path, positions in snapshot.released
    ]


class Acks:
    """How far events are that not all processors are done with, kept over a restart."""

    def __init__(self, processors: Sequence[str], stored: list[Progress]) -> None:
        self._processors = processors
        self._stored = {(progress.sequence_number, progress.element): progress for progress in stored}

    def restore(self, flight: Flight) -> int:
        """Tell a flight what was before the restart; gives the processors that were done, a bit for each."""
        progress = self._stored.pop(flight.position, None) if self._stored else None
        if progress is None:
            return 0
        flight.handled = progress.handled
        flight.is_stale = progress.stale
        flight.dead = None if progress.dead is None else Reason(progress.dead)
        flight.has_letter = progress.dead is not None
        done = [index for index, name in enumerate(self._processors) if name in progress.done]
        asked = {self._processors[index] for index in done if flight.routed >> index & 1}
        flight.done_before = [name for name in progress.done if name not in asked]
        return sum([1 << index for index in done])

    def dump(self, flights: Iterable[Flight]) -> list[Progress]:
        """The same for a snapshot: what has not been read again yet, and what is in flight now."""
        progresses = list(self._stored.values())
        names_of: dict[int, list[str]] = {}
        for flight in flights:
            done = flight.routed & ~flight.pending
            if not (done or flight.handled or flight.is_stale or flight.has_letter):
                continue
            names = names_of.get(done)
            if names is None:  # most events have been through the same processors
                names = names_of[done] = [self._processors[index] for index in bits(done)]
            if flight.done_before:
                names = [*names, *flight.done_before]
            dead = flight.dead if flight.has_letter else None
            place = flight.sequence_number, flight.index
            progresses.append(Progress(*place, names, flight.handled, flight.is_stale, dead))
        return progresses
