"""What a replay is going to read: every partition's stretch, worked out before anything is handed over."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from consumer.consumer_groups import groups_of
from consumer.errors import InturnError
from consumer.events import PartitionId
from consumer.opening import Origin, open_checkpoints, open_log
from consumer.replay.places import Mark, Place
from consumer.settings import FileSource, MemoryState, Settings, Source, SqliteState
from consumer.sources.stretch import Extent, Stretch

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class NotReplayable(InturnError):
    """What was asked for makes no replay; the message says why."""


class Finder(Protocol):
    """What of a log is needed to find times in it."""

    async def before(self, extent: Extent, time: datetime) -> int:
        """See `consumer.sources.stretch.Log`."""


class Request(NamedTuple):
    """What was asked for."""

    begin: Place
    end: Place
    partitions: tuple[str, ...] = ()
    """All if none is named."""
    processors: tuple[str, ...] = ()
    """All if none is named."""
    group: str | None = None
    """The consumer group to read with; None: the configured one."""
    paths: tuple[Path, ...] = ()
    """Files to read instead of the configured source; absolute, for whoever goes on with it."""
    id: str | None = None


class Plan(msgspec.Struct, frozen=True):
    """A replay as it is remembered: with it, and the configuration, it can be gone on with."""

    id: str
    source: str
    """For a person."""
    namespace: str
    hub: str
    group: str
    """The configured consumer group, a part of the keys."""
    reading_group: str | None
    paths: tuple[str, ...]
    processors: tuple[str, ...]
    stretches: tuple[Stretch, ...]

    @property
    def messages(self) -> int:
        """How many there are to read."""
        return sum(map(len, self.stretches))

    def partition(self, partition: str) -> PartitionId:
        """The name of a partition in this replay's state and dead letters: not the live consumer's.

        No consumer group can have a ``~`` in its name.
        """
        return PartitionId(self.namespace, self.hub, f"{self.group}~replay-{self.id}", partition)


class Planned(NamedTuple):
    """A plan, and what somebody should know before it is carried out."""

    plan: Plan
    notices: list[str]


def new_id(now: datetime | None = None) -> str:
    """An id that sorts by time and is not used yet."""
    return f"{now or datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def source_of(settings: Settings, paths: Sequence[Path]) -> Source:
    """The configured source, or the files that were named instead."""
    return FileSource(type="file", paths=tuple(paths)) if paths else settings.source


async def make_plan(settings: Settings, request: Request) -> Planned:
    """Work out what to read. Raises `NotReplayable`, `SourceUnavailable`, `ConfigurationError`."""
    processors = _processors(settings, request.processors)
    if request.id is not None and not _ID.fullmatch(request.id):
        raise NotReplayable(
            f"An id is made of a-z, 0-9, '.', '_' and '-', 64 at most: {request.id!r} is not."
        )
    source = source_of(_read_as(settings, processors, request), request.paths)
    async with open_log(source, group=request.group) as (log, origin):
        extents = _chosen(await log.extents(), request.partitions)
        checkpoints = await _checkpoints(settings, origin, request)
        stretches, notices = await find_stretches(log, checkpoints, extents, request.begin, request.end)
    plan = Plan(
        id=request.id or new_id(),
        source=origin.description,
        namespace=origin.namespace,
        hub=origin.hub,
        group=origin.group,
        reading_group=request.group,
        paths=tuple(map(str, request.paths)),
        processors=processors,
        stretches=tuple(stretches),
    )
    return Planned(plan, notices)


def _processors(settings: Settings, wanted: Sequence[str]) -> tuple[str, ...]:
    known = [each.name for each in settings.processors]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise NotReplayable(f"There is no processor {', '.join(unknown)}: there are {', '.join(known)}.")
    return tuple(name for name in known if not wanted or name in wanted)


def _read_as(settings: Settings, processors: Sequence[str], request: Request) -> Settings:
    """The configuration of the consumer group whose processors these are; of several, the shared one's."""
    groups = groups_of(settings)
    theirs = [told for told in groups.values() if {each.name for each in told.processors} & {*processors}]
    if len(theirs) == 1:
        return theirs[0]
    if Mark.CHECKPOINT in (request.begin, request.end):
        raise NotReplayable(
            "These processors have several consumer groups, and each has a checkpoint of its own: name those "
            "of one group with --processor."
        )
    return settings


def _chosen(extents: Sequence[Extent], wanted: Sequence[str]) -> list[Extent]:
    known = [extent.partition for extent in extents]
    unknown = [partition for partition in wanted if partition not in known]
    if unknown:
        raise NotReplayable(f"There is no partition {', '.join(unknown)}: there are {', '.join(known)}.")
    return [extent for extent in extents if not wanted or extent.partition in wanted]


async def _checkpoints(settings: Settings, origin: Origin, request: Request) -> dict[str, int]:
    """How far the live consumer is, by partition; read only if it is asked for, and never written."""
    state = settings.state
    if Mark.CHECKPOINT not in (request.begin, request.end):
        return {}
    if isinstance(state, MemoryState):
        raise NotReplayable("state.type is memory: no checkpoint is stored to begin or to end at.")
    if request.paths:
        raise NotReplayable("Files that are named here have no checkpoint.")
    if isinstance(state, SqliteState) and not state.path.exists():
        return {}
    async with open_checkpoints(state) as store:
        stored = {name: at.sequence_number for name, at in await store.partitions()}
    live = (origin.namespace.lower(), origin.hub.lower(), origin.group.lower())
    return {name.partition: number for name, number in stored.items() if name[:3] == live}


async def find_stretches(
    log: Finder, checkpoints: Mapping[str, int], extents: Sequence[Extent], begin: Place, end: Place
) -> tuple[list[Stretch], list[str]]:
    """The stretches that hold anything, and what somebody should know. Raises `NotReplayable`."""
    _check(extents, begin, end)
    stretches: list[Stretch] = []
    notices: list[str] = []
    is_reversed = bool(extents)
    for extent in extents:
        done = checkpoints.get(extent.partition, extent.begin - 1)
        if done > extent.newest:
            raise NotReplayable(
                f"The checkpoint of partition {extent.partition}, {done}, lies beyond the newest message, "
                f"{extent.newest}: the hub was made anew, or the state belongs to another one."
            )
        after = begin - 1 if isinstance(begin, int) else await _find(log, extent, begin, done)
        last = min(await _find(log, extent, end, done), extent.newest)
        is_reversed = is_reversed and after > last
        notices += _gone(extent, begin, after, last)
        after = max(after, extent.begin - 1)
        if after < last:
            stretches.append(Stretch(extent.partition, after, last))
    if is_reversed:
        raise NotReplayable("--from lies after --to.")
    return stretches, notices


async def _find(log: Finder, extent: Extent, place: Place, done: int) -> int:
    """The last sequence number before a place or, of a number, itself."""
    match place:
        case Mark.EARLIEST:
            return extent.begin - 1
        case Mark.CHECKPOINT:
            return done
        case Mark.LATEST:
            return extent.newest
        case int():
            return place
    return await log.before(extent, place)


def _check(extents: Sequence[Extent], begin: Place, end: Place) -> None:
    for place in (begin, end):
        if not isinstance(place, int):
            continue
        if len(extents) != 1:
            raise NotReplayable(
                "A sequence number is a place in one partition: say in which one, with --partition."
            )
        if place > extents[0].newest:
            raise NotReplayable(
                f"Partition {extents[0].partition} has no message {place}: the newest is {extents[0].newest}."
            )
    if isinstance(begin, int) and isinstance(end, int) and begin > end:
        raise NotReplayable("--from lies after --to.")
    if isinstance(begin, datetime) and isinstance(end, datetime) and begin > end:
        raise NotReplayable("--from lies after --to.")


def _gone(extent: Extent, begin: Place, after: int, last: int) -> Iterable[str]:
    """Say what the log does not hold any more."""
    missing = min(extent.begin - 1, last) - after
    if missing > 0:
        first = after + 1
        yield (
            f"partition {extent.partition}: {missing:,} messages, {first} to {first + missing - 1}, "
            "have left the hub: they cannot be replayed."
        )
    elif isinstance(begin, datetime) and after == extent.begin - 1 and extent.begin > 0:
        yield (
            f"partition {extent.partition}: the oldest message kept is {extent.begin}; some after "
            f"{begin:%Y-%m-%dT%H:%M:%S%z} may have left the hub before it."
        )
