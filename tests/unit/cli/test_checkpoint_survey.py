"""What `inturn checkpoint show` says of states that are good, damaged, missing, or not readable at all."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from consumer.cli.checkpoint_survey import Owner, lines, owners, survey
from consumer.core.snapshot import FORMAT, encode, new_snapshot
from consumer.errors import CorruptState
from consumer.events import Checkpoint, PartitionId
from consumer.settings import EventHubSource, FileSource
from consumer.stores import CopyKind
from consumer.stores.memory import MemoryStore
from consumer.stores.ownership import names_of

PARTITION = PartitionId("contoso.servicebus.windows.net", "models", "$default", "0")
SOURCE = EventHubSource(
    type="eventhub", namespace="contoso.servicebus.windows.net", hub="models", load_balancing_interval_s=10
)


def state(number: int) -> bytes:
    owned = msgspec.structs.replace(new_snapshot(Checkpoint(number, "7"), "host/1#abcd"), epoch=4)
    return encode(
        msgspec.structs.replace(
            owned,
            topics=["t"],
            watermark_ms=1_767_225_600_000,
            done_above={number + 2: [0, 1]},
            released=[(0, "m", [(number + 1, 0)])],
        )
    )


async def test_a_good_state_is_told_with_all_that_is_in_it():
    store = MemoryStore()
    await store.save(PARTITION, Checkpoint(7, "7"), state(7), "")
    await store.keep(PARTITION, Checkpoint(5, "5"), state(5), CopyKind.GOOD)
    await store.keep(PARTITION, Checkpoint(6, "6"), b"rubbish", CopyKind.GOOD)
    await store.keep(PARTITION, Checkpoint(1, "1"), b"", CopyKind.BACKUP)
    found = await survey(store, PARTITION, Owner("someone", 3, active=True))
    told = found.state
    assert found.is_fine
    assert (told.condition, told.format, told.epoch, told.written_by) == ("good", FORMAT, 4, "host/1")
    assert (told.resolved_above, told.unresolved_above, told.watermark_ms) == (2, 1, 1_767_225_600_000)
    assert [(copy.name, copy.sequence_number, copy.state.condition) for copy in found.kept] == [
        ("backup", 1, "none"),
        ("kept:1", 6, "damaged"),
        ("kept:2", 5, "good"),
    ]
    text = "\n".join(lines(found))
    for words in ("7 at offset 7", "2026-01-01 00:00:00 UTC", "someone, active", "kept:1", "DAMAGED"):
        assert words in text


@pytest.mark.parametrize("body", [b"rubbish", b""])
async def test_damage_is_a_finding(body):
    store = MemoryStore()
    await store.save(PARTITION, Checkpoint(7, "7"), body, "")
    found = await survey(store, PARTITION, None)
    assert (found.state.condition, found.is_fine) == ("damaged", False)
    assert "DAMAGED" in "\n".join(lines(found))


async def test_a_checkpoint_that_cannot_be_read_is_told_and_its_copies_are_shown_all_the_same():
    class Unreadable(MemoryStore):
        async def load(self, partition):
            raise CorruptState("no readable offset")

    store = Unreadable()
    await store.keep(PARTITION, Checkpoint(5, "5"), state(5), CopyKind.GOOD)
    found = await survey(store, PARTITION, None)
    assert not found.is_fine
    text = "\n".join(lines(found))
    assert "no readable offset" in text
    assert "kept:1" in text


@pytest.mark.parametrize(("renewed_s_ago", "active"), [(0, True), (30, True), (3_600, False)])
async def test_an_owner_is_active_until_it_has_expired(renewed_s_ago, active):
    store = MemoryStore(clock=lambda: time.time() - renewed_s_ago)
    claim = names_of(PARTITION) | {"owner_id": "someone"}
    await store.claim_ownership([claim, claim | {"partition_id": "1", "owner_id": ""}])
    found = await owners(store, PARTITION, SOURCE)
    assert found["0"] is not None
    assert (found["0"].id, found["0"].active) == ("someone", active)
    assert found["1"] is None  # it was given back


async def test_files_have_no_owners():
    assert await owners(MemoryStore(), PARTITION, FileSource(type="file", paths=(Path("events"),))) == {}
