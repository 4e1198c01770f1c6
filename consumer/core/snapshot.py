"""What is stored with a checkpoint, and its bytes.

Format 4 is three sections in the frame of `consumer.core.sections`: a head (MessagePack), the objects and
the identities, both as the tables hold them in memory. So neither taking a snapshot nor writing or reading it
does anything for a single object. Formats 2 and 3 are readable too: their heads lack what came later.

The tables hold digests, and nothing from which others could be made. Since format 3 it is said which; a state
of format 2 has those of BLAKE2b, and a partition keeps them until its tables are found empty.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from consumer.core import deduplicator, object_table
from consumer.core.checkpoint import Row
from consumer.core.digests import XXH3, digests_named
from consumer.core.object_table import Beside, ObjectsImage
from consumer.core.sections import Section, format_of, frame, unframe
from consumer.core.table_image import TableImage, read_table
from consumer.errors import CorruptState
from consumer.events import Checkpoint

__all__ = [
    "FORMAT",
    "Expected",
    "KeptEvent",
    "KeptRule",
    "ParkedObject",
    "Progress",
    "Snapshot",
    "decode",
    "encode",
    "format_of",
    "new_snapshot",
]

FORMAT = 4
_HEAD, _OBJECTS, _IDENTITIES = 1, 2, 3
"""Kinds of sections."""
_ONLY = [0]


class Progress(NamedTuple):
    """An event that some processors are done with and others are not."""

    sequence_number: int
    element: int
    """Its index in the message."""
    done: list[str]
    """The names of the processors that are done."""
    handled: bool
    """One of them has handled it."""
    stale: bool
    """It came too late, or a later one was taken instead of it."""
    dead: str | None
    """The `Reason` why one of them has put it aside."""


class ParkedObject(NamedTuple):
    """An object whose later events follow an earlier one into the dead letters, for one processor."""

    processor: str
    topic: str
    path: str
    spot: tuple[int, int]
    """The sequence number and the index of the event that they wait behind."""


class KeptEvent(NamedTuple):
    """An internal event that somebody is not done with: no hub has it."""

    progress: Progress
    """Its position is that of its cause."""
    partition: str
    enqueued_time_ms: int
    body: bytes


class Expected(NamedTuple):
    """An event after which a rule expects another one; `topic`, `id`, `type` and `subject` are its own."""

    key: str
    partition: str
    sequence_number: int
    element: int
    topic: str
    id: str
    type: str
    subject: str
    ticks: int | None
    enqueued_time_ms: int
    deadline_ms: int
    """In log time."""


class KeptRule(NamedTuple):
    """What a rule waits for."""

    name: str
    pending: list[Expected]
    """The next deadline first."""
    recent: list[tuple[str, int]]
    """Keys of fulfilments that may yet be followed by their trigger, and when they came; oldest first."""
    within_ms: int | None = None
    """The time of the rule that the deadlines were made with; None: it is not known to have changed."""


class Snapshot(msgspec.Struct, frozen=True):
    """The state of a partition. Held events are not in it: they are read again.

    Positions are (sequence number, index in the message).
    """

    epoch: int
    owner: str
    checkpoint: Checkpoint
    watermark_ms: int | None
    """As it was at the checkpoint, from which the log is read again: not as it is now."""
    config_hash: str
    done_above: dict[int, list[int]]
    """Above the checkpoint: what is resolved, but for what is in `done_rows`."""
    released: list[tuple[int, str, list[tuple[int, int]]]]
    """Events that were released and are not resolved: topic and path of the object, positions in order."""
    acks: list[Progress]
    """Unresolved events of which there is something to remember."""
    topics: list[str]
    objects: ObjectsImage
    identities: TableImage
    digests: str = XXH3.name
    """The name of the `consumer.core.digests` in both tables."""
    parked: list[ParkedObject] = []
    internal: list[KeptEvent] = []
    """In the order in which they were emitted."""
    rules: list[KeptRule] = []
    folded_to: int = -1
    """The sequence number up to which the rules have seen the log; the checkpoint may be before it."""
    done_rows: list[Row] = []
    """Above the checkpoint: messages of one event that are resolved."""

    def resolved_above(self) -> dict[int, list[int]]:
        """All that is resolved above the checkpoint: by sequence number, the indexes in the message."""
        rows = {number: _ONLY for first, count in self.done_rows for number in range(first, first + count)}
        return {**rows, **self.done_above}


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """The first section: fields of `Snapshot`, and what did not fit into the records of the objects."""

    epoch: int
    owner: str
    checkpoint: Checkpoint
    watermark_ms: int | None
    config_hash: str
    done_above: dict[int, list[int]]
    released: list[tuple[int, str, list[tuple[int, int]]]]
    acks: list[Progress]
    topics: list[str]
    types: list[str]
    beside: dict[bytes, tuple[str | tuple[str, ...], bool, str]]
    """By key: the value of the token, as text; whether it is numbers; the type."""
    digests: str = "blake2b"
    """Format 2 does not say it, and has no others."""
    parked: list[ParkedObject] = []
    """This, and what is below, since format 4."""
    internal: list[KeptEvent] = []
    rules: list[KeptRule] = []
    folded_to: int = -1
    done_rows: list[Row] = []


_HEADS = msgspec.msgpack.Decoder(_Head)
"""Made while there is one thread: states are decoded in several, and of two that are the first to look into a
type msgspec (0.22) lets one see it half made, which ends the process."""
_IN_HEAD = tuple(name for name in Snapshot.__struct_fields__ if name in _Head.__struct_fields__)


def new_snapshot(checkpoint: Checkpoint, owner: str) -> Snapshot:
    """The state of a partition of which nothing is remembered."""
    objects, identities = object_table.ObjectTable().image(), TableImage(deduplicator.RECORD_BYTES)
    return Snapshot(0, owner, checkpoint, None, "", {}, [], [], [], objects, identities)


def encode(snapshot: Snapshot) -> bytes:
    """Give the bytes to store."""
    head = _Head(
        **{name: getattr(snapshot, name) for name in _IN_HEAD},
        types=list(snapshot.objects.types),
        beside={key: _written(beside) for key, beside in snapshot.objects.beside.items()},
    )
    sections = {
        _HEAD: Section.of([msgspec.msgpack.encode(head)]),
        _OBJECTS: snapshot.objects.records.section(),
        _IDENTITIES: snapshot.identities.section(),
    }
    return frame(FORMAT, sections)


def decode(stored: bytes) -> Snapshot:
    """Read stored bytes. Raises `CorruptState`; `NewerState` for the format of a newer version."""
    if format_of(stored) == 1:
        raise CorruptState(
            "The stored state has format 1, which this version of inturn cannot read: start the version "
            "before this one once, or begin anew."
        )
    sections = unframe(stored, newest=FORMAT)
    if list(sections) != [_HEAD, _OBJECTS, _IDENTITIES]:
        raise CorruptState("The stored state does not consist of what it should.")
    try:
        head = _HEADS.decode(sections[_HEAD].content())
        beside = {key: _read(*entry) for key, entry in head.beside.items()}
        digests_named(head.digests)
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise CorruptState(f"The stored state cannot be read: {error}.") from error
    records = read_table(sections[_OBJECTS], object_table.RECORD_BYTES)
    identities = read_table(sections[_IDENTITIES], deduplicator.RECORD_BYTES)
    if not len(records) and not len(identities):
        head = msgspec.structs.replace(head, digests=XXH3.name)
    return Snapshot(
        **{name: getattr(head, name) for name in _IN_HEAD},
        objects=ObjectsImage(records, tuple(head.types), beside),
        identities=identities,
    )


def _written(beside: Beside) -> tuple[str | tuple[str, ...], bool, str]:
    """As text: a number may have more digits than MessagePack can take."""
    value, event_type = beside
    if isinstance(value, str):
        return value, False, event_type
    return (str(value) if isinstance(value, int) else tuple(map(str, value))), True, event_type


def _read(value: str | tuple[str, ...], is_numbers: bool, event_type: str) -> Beside:  # noqa: FBT001 - as stored
    if isinstance(value, str):
        return Beside(int(value) if is_numbers else value, event_type)
    first, second = value
    return Beside((int(first), int(second)), event_type)
