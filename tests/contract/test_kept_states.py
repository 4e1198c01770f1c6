"""What every checkpoint store promises of the copies that are put aside."""

from __future__ import annotations

import asyncio

import pytest

from consumer.errors import FenceLost
from consumer.events import NOTHING_DONE, Checkpoint, PartitionId
from consumer.stores import COPIES_MAX, CopyKind, StoredState

PARTITION = PartitionId("contoso.servicebus.windows.net", "Models", "$Default", "1")
NAMES = PARTITION[:3]


async def keep(store, number, kind=CopyKind.GOOD, partition=PARTITION):
    await store.keep(partition, Checkpoint(number, f"{number}00"), f"state {number}".encode(), kind)


async def numbers(store, kind=CopyKind.GOOD, partition=PARTITION):
    return [copy.checkpoint.sequence_number for copy in await store.kept(partition) if copy.kind is kind]


async def test_nothing_is_kept_of_a_partition_that_nobody_had(open_store):
    assert await open_store().kept(PARTITION) == []


async def test_the_last_three_good_states_are_kept_the_newest_first(open_store):
    store = open_store()
    for number in range(1, 6):
        await keep(store, number)
        assert (await numbers(open_store()))[0] == number
    assert await numbers(store) == [5, 4, 3]
    newest = (await store.kept(PARTITION))[0]
    assert (newest.checkpoint, newest.snapshot) == (Checkpoint(5, "500"), b"state 5")


async def test_newest_means_kept_last_not_furthest(open_store):
    store = open_store()
    for number in (50, 60, 2, 1):
        await keep(store, number)
    assert await numbers(store) == [1, 2, 60]


async def test_no_number_of_good_states_displaces_a_backup_or_the_evidence_of_damage(open_store):
    store = open_store()
    await keep(store, 1, CopyKind.BACKUP)
    await keep(store, 2, CopyKind.DAMAGED)
    for number in range(3, 8):
        await keep(store, number)
    assert [await numbers(store, kind) for kind in CopyKind] == [[7, 6, 5], [1], [2]]
    await keep(store, 9, CopyKind.BACKUP)
    assert await numbers(store, CopyKind.BACKUP) == [9]


async def test_a_copy_carries_the_time_at_which_it_was_kept(open_store):
    store = open_store()
    await keep(store, 1)
    await keep(store, 2)
    newer, older = await store.kept(PARTITION)
    assert newer.kept_at_ms >= older.kept_at_ms > 1_700_000_000_000


async def test_a_copy_comes_back_byte_for_byte_and_may_be_empty(open_store):
    store = open_store()
    snapshot = bytes(range(256)) * 2_048
    await store.keep(PARTITION, Checkpoint(1, "1"), snapshot, CopyKind.GOOD)
    await store.keep(PARTITION, NOTHING_DONE, b"", CopyKind.BACKUP)
    copies = {copy.kind: copy for copy in await store.kept(PARTITION)}
    assert copies[CopyKind.GOOD].snapshot == snapshot
    assert copies[CopyKind.BACKUP].snapshot == b""
    assert copies[CopyKind.BACKUP].checkpoint == NOTHING_DONE


async def test_keeping_touches_neither_what_is_stored_nor_its_fence(open_store):
    store = open_store()
    fence = await store.save(PARTITION, Checkpoint(7, "700"), b"state", "")
    await keep(store, 6)
    assert await store.load(PARTITION) == StoredState(Checkpoint(7, "700"), b"state", fence)
    await store.save(PARTITION, Checkpoint(8, "800"), b"next", fence)
    assert await numbers(store) == [6]


async def test_copies_are_no_partitions_to_the_sdk_or_an_operator(open_store):
    store = open_store()
    for kind, count in COPIES_MAX.items():
        for number in range(count):
            await keep(store, number, kind)
    assert await store.partitions() == []
    assert await store.list_checkpoints(*NAMES) == []
    assert await store.list_ownership(*NAMES) == []
    await store.save(PARTITION, Checkpoint(7, "700"), b"state", "")
    assert [name.partition for name, _ in await store.partitions()] == ["1"]
    assert [each["partition_id"] for each in await store.list_checkpoints(*NAMES)] == ["1"]


@pytest.mark.parametrize("part", ["partition", "group", "hub", "namespace"])
async def test_partitions_do_not_share_copies(open_store, part):
    store = open_store()
    other = PARTITION._replace(**{part: getattr(PARTITION, part) + "2"})  # its name begins with the other's
    await keep(store, 1)
    await keep(store, 2, partition=other)
    assert (await numbers(store), await numbers(store, partition=other)) == ([1], [2])


async def test_names_that_differ_only_in_case_share_their_copies(open_store):
    store = open_store()
    await keep(store, 1)
    assert await numbers(store, partition=PartitionId(*(name.upper() for name in PARTITION))) == [1]


async def test_several_that_keep_at_once_leave_whole_copies_and_never_too_many(open_store):
    stores = [open_store() for _ in range(4)]
    results = await asyncio.gather(
        *(keep(store, number) for number, store in enumerate(stores)), return_exceptions=True
    )
    assert all(result is None or isinstance(result, FenceLost) for result in results)
    copies = await stores[0].kept(PARTITION)
    assert 1 <= len(copies) <= COPIES_MAX[CopyKind.GOOD]
    assert all(copy.snapshot == f"state {copy.checkpoint.sequence_number}".encode() for copy in copies)
