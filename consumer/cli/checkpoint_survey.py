"""What is stored for each partition, as `inturn checkpoint show` tells it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from consumer.core.snapshot import Snapshot, decode, format_of
from consumer.errors import CorruptState, NewerState
from consumer.events import PartitionId
from consumer.settings import EventHubSource, Source
from consumer.sources.eventhub_claims import Ages, Title
from consumer.sources.eventhub_ownership import Tempo
from consumer.stores import CopyKind, InspectableStore, KeptState, StoredState


class Reading(msgspec.Struct, frozen=True):
    """Stored bytes, and what they turned out to be."""

    bytes: int
    format: int | None
    condition: str
    """good, damaged, newer (of a newer version of inturn), or none (a checkpoint without state)."""
    trouble: str = ""
    epoch: int | None = None
    written_by: str = ""
    watermark_ms: int | None = None
    objects: int | None = None
    identities: int | None = None
    resolved_above: int | None = None
    """Events above the checkpoint that are done."""
    unresolved_above: int | None = None
    """Events above the checkpoint that were released, and are not done."""


class KeptCopy(msgspec.Struct, frozen=True):
    """A copy that was put aside."""

    name: str
    """What `inturn checkpoint rewind --to` calls it: kept:1 is the newest good one, backup; or evidence."""
    sequence_number: int
    offset: str
    kept_at_ms: int
    state: Reading


class Owner(msgspec.Struct, frozen=True):
    """Who has a partition, as the load balancing says."""

    id: str
    renewed_s: float
    """Seconds since it last said so; rather too few, since the store's clock may differ from ours."""
    active: bool
    """It has not expired."""


class PartitionSurvey(msgspec.Struct, frozen=True):
    """All that is stored for a partition."""

    partition: str
    sequence_number: int | None
    """Of the checkpoint; None if nothing is stored."""
    offset: str | None
    state: Reading
    owner: Owner | None
    kept: list[KeptCopy]
    trouble: str = ""
    """Why the checkpoint itself cannot be read."""

    @property
    def is_fine(self) -> bool:
        """Whether a consumer can go on from what is stored."""
        return not self.trouble and self.state.condition in ("good", "none")


def read(snapshot: bytes | None) -> tuple[Reading, Snapshot | None]:
    """Look whether stored bytes can be read."""
    if snapshot is None:
        return Reading(0, None, "none"), None
    size, format_ = len(snapshot), format_of(snapshot)
    try:
        state = decode(snapshot)
    except NewerState as error:
        return Reading(size, format_, "newer", str(error)), None
    except CorruptState as error:
        return Reading(size, format_, "damaged", str(error)), None
    number = state.checkpoint.sequence_number
    reading = Reading(
        size,
        format_,
        "good",
        epoch=state.epoch,
        written_by=state.owner.partition("#")[0],
        watermark_ms=state.watermark_ms,
        objects=len(state.objects),
        identities=len(state.identities),
        resolved_above=sum(len(done) for above, done in state.resolved_above().items() if above > number),
        unresolved_above=sum(len(positions) for _, _, positions in state.released),
    )
    return reading, state


def named(copies: Sequence[KeptState]) -> Iterator[tuple[str, KeptState]]:
    """Copies by the names that an operator uses: ``kept:1`` is the newest good one."""
    good = 0
    for copy in copies:
        if copy.kind is CopyKind.GOOD:
            good += 1
            yield f"kept:{good}", copy
        else:
            yield str(copy.kind), copy


async def owners(store: InspectableStore, group: PartitionId, source: Source) -> dict[str, Owner | None]:
    """Who has which partition of a group; None: somebody had it. Files have no owners."""
    found: dict[str, Owner | None] = {}
    if not isinstance(source, EventHubSource):
        return found
    ages = Ages()
    expire_s = Tempo.of(source.load_balancing_interval_s).expire_s
    for each in await store.list_ownership(*group[:3]):
        owner, age_s = Title.of(each).owner, ages.age_s(each)
        found[each["partition_id"]] = Owner(owner, age_s, age_s < expire_s) if owner else None
    return found


async def survey(store: InspectableStore, name: PartitionId, owner: Owner | None) -> PartitionSurvey:
    """Look at a partition; changes nothing. Raises `StoreUnavailable`."""
    stored, trouble = StoredState(None, None, ""), ""
    kept: list[KeptCopy] = []
    try:
        stored = await store.load(name)
    except CorruptState as error:
        trouble = str(error)
    for label, copy in named(await store.kept(name)):
        kept.append(KeptCopy(label, *copy.checkpoint, copy.kept_at_ms, read(copy.snapshot or None)[0]))
    number, offset = stored.checkpoint or (None, None)
    return PartitionSurvey(name.partition, number, offset, read(stored.snapshot)[0], owner, kept, trouble)


def lines(found: PartitionSurvey) -> Iterator[str]:
    """What is stored and kept for a partition, for a person."""
    yield f"partition {found.partition}"
    if found.sequence_number is None:
        yield _line("checkpoint", found.trouble or "none: it begins where source.start says")
    else:
        yield _line("checkpoint", f"{found.sequence_number} at offset {found.offset}")
        yield _line("state", _described(found.state))
    state = found.state
    if state.condition == "good":
        yield _line("watermark", when(state.watermark_ms))
        above = f"{state.resolved_above} events done above the checkpoint, {state.unresolved_above} released"
        yield _line("remembers", f"{state.objects} objects, {state.identities} identities; {above} and not")
        yield _line("written by", f"{state.written_by}, epoch {state.epoch}")
    if found.owner is not None:
        owner = found.owner
        lasts = "active" if owner.active else "expired"
        yield _line("owner", f"{owner.id}, {lasts}, renewed {owner.renewed_s:.0f} s ago")
    for copy in found.kept:
        text = (
            f"checkpoint {copy.sequence_number}, put aside {when(copy.kept_at_ms)}; {_described(copy.state)}"
        )
        yield _line(copy.name, text)


def when(time_ms: int | None) -> str:
    """A time for a person."""
    return "–" if time_ms is None else f"{datetime.fromtimestamp(time_ms / 1_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _described(state: Reading) -> str:
    size = f"{state.bytes} bytes, format {'unknown' if state.format is None else state.format}"
    match state.condition:
        case "none":
            return "none: another client wrote the checkpoint alone"
        case "good":
            return f"good: {size}"
        case _:
            return f"{state.condition.upper()}: {size}. {state.trouble}"


def _line(label: str, text: str) -> str:
    return f"  {label:<11} {text}"
