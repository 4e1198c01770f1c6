"""What every checkpoint store promises, whatever it is made of."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.errors import FenceLost, InturnError
from consumer.events import NOTHING_DONE, Checkpoint, PartitionId
from consumer.stores import StoredState

PARTITION = PartitionId("contoso.servicebus.windows.net", "Models", "$Default", "0")
NAMES = PARTITION[:3]


CHECKPOINT = Checkpoint(7, "1700")


async def save(store, checkpoint=CHECKPOINT, snapshot=b"state", fence="", partition=PARTITION):
    return await store.save(partition, checkpoint, snapshot, fence)


async def outcome_of(awaitable):
    """What came back, or the class of the error."""
    try:
        return await awaitable
    except InturnError as error:
        return type(error)


async def test_a_partition_that_nobody_wrote_has_no_checkpoint_no_state_and_no_fence(open_store):
    assert await open_store().load(PARTITION) == StoredState(None, None, "")


async def test_what_one_owner_saved_the_next_one_loads(open_store):
    fence = await save(open_store())
    assert await open_store().load(PARTITION) == StoredState(CHECKPOINT, b"state", fence)


async def test_every_save_makes_a_new_version_even_of_the_same_content(open_store):
    store = open_store()
    first = await save(store)
    second = await save(store, fence=first)
    assert len({"", first, second}) == 3
    assert (await store.load(PARTITION)).fence == second


async def test_an_owner_with_an_old_version_is_refused_and_changes_nothing(open_store):
    zombie, owner = open_store(), open_store()
    old = await save(zombie)
    await save(owner, Checkpoint(9, "1900"), b"newer", old)
    before = await owner.load(PARTITION)
    with pytest.raises(FenceLost):
        await save(zombie, Checkpoint(8, "1800"), b"older", old)
    assert await owner.load(PARTITION) == before


async def test_an_owner_learns_without_reading_the_state_whether_it_is_still_the_last_to_have_written(
    open_store,
):
    zombie, owner = open_store(), open_store()
    assert await zombie.is_current(PARTITION, "")
    assert not await zombie.is_current(PARTITION, "never stored")
    old = await save(zombie)
    assert await zombie.is_current(PARTITION, old)
    assert not await zombie.is_current(PARTITION, "")
    new = await save(owner, fence=old)
    assert not await zombie.is_current(PARTITION, old)
    assert await owner.is_current(PARTITION, new)


async def test_a_first_save_is_refused_when_something_is_stored(open_store):
    store = open_store()
    await save(store)
    before = await store.load(PARTITION)
    with pytest.raises(FenceLost):
        await save(store, Checkpoint(1, "1"), b"other")
    assert await store.load(PARTITION) == before


async def test_a_save_over_a_version_that_never_was_is_refused(open_store):
    store, other = open_store(), PARTITION._replace(partition="1")
    fence = await save(store, partition=other)
    with pytest.raises(FenceLost):
        await save(store, fence=fence)
    assert await store.load(PARTITION) == StoredState(None, None, "")


@pytest.mark.parametrize("first", [True, False])
async def test_of_many_saves_over_one_version_exactly_one_wins(open_store, first):
    owners = [open_store() for _ in range(6)]
    fence = "" if first else await save(owners[0])
    saves = [
        outcome_of(save(owner, Checkpoint(10, "same"), b"same", fence)) for owner in owners
    ]  # the same content on purpose: equal bytes are no proof of an own write
    outcomes = await asyncio.gather(*saves)
    assert sum(outcome is FenceLost for outcome in outcomes) == 5
    (won,) = [outcome for outcome in outcomes if outcome is not FenceLost]
    assert (await owners[0].load(PARTITION)).fence == won


_numbers = itertools.count()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["load", "save"])), max_size=14))
async def test_two_owners_in_any_interleaving_see_what_a_single_cell_with_a_version_shows(open_store, steps):
    """The model: one cell with a counter; an owner writes if the counter is what it last saw."""
    partition = PARTITION._replace(partition=f"interleaved-{next(_numbers)}")
    owners = [open_store(), open_store()]
    cell, version, seen, fences = None, 0, [0, 0], ["", ""]
    for number, (who, what) in enumerate(steps):
        if what == "load":
            stored = await owners[who].load(partition)
            assert (stored.checkpoint, stored.snapshot) == (cell or (None, None))
            seen[who], fences[who] = version, stored.fence
            continue
        content = (Checkpoint(number, str(number)), f"{who}:{number}".encode())
        outcome = await outcome_of(owners[who].save(partition, *content, fences[who]))
        if seen[who] == version:
            version += 1
            cell, seen[who], fences[who] = content, version, outcome
        assert (outcome is not FenceLost) == (seen[who] == version)
    for store in owners:
        await store.close()


async def test_partitions_do_not_touch_each_other(open_store):
    store, other = open_store(), PARTITION._replace(partition="1")
    await save(store, snapshot=b"zero")
    await save(store, Checkpoint(3, "3"), b"one", partition=other)
    assert (await store.load(PARTITION)).snapshot == b"zero"
    assert (await store.load(other)).snapshot == b"one"


async def test_names_that_differ_only_in_case_are_one_partition(open_store):
    store = open_store()
    fence = await save(store)
    shouted = PartitionId(*(name.upper() for name in PARTITION))
    assert (await store.load(shouted)).fence == fence


async def test_a_snapshot_comes_back_byte_for_byte(open_store):
    store = open_store()
    snapshot = bytes(range(256)) * 8_192
    await save(store, snapshot=snapshot)
    assert (await store.load(PARTITION)).snapshot == snapshot


async def test_nothing_done_is_stored_so_that_the_sdk_begins_at_the_earliest_event(open_store):
    store = open_store()
    await save(store, NOTHING_DONE)
    assert (await store.load(PARTITION)).checkpoint == NOTHING_DONE
    (listed,) = await store.list_checkpoints(*NAMES)
    # The SDK starts after this offset, and takes "-1" to be before the first event.
    assert (listed["offset"], listed["sequence_number"]) == ("-1", -1)


async def test_the_sdk_finds_the_checkpoints_of_its_group_under_the_names_it_asked_for(open_store):
    store = open_store()
    await save(store)
    await save(store, partition=PARTITION._replace(group="other"))
    await save(store, partition=PARTITION._replace(partition="12"))
    listed = await store.list_checkpoints(*NAMES)
    assert sorted(checkpoint["partition_id"] for checkpoint in listed) == ["0", "12"]
    assert {"offset": "1700", "sequence_number": 7}.items() <= listed[0].items()
    assert {checkpoint["eventhub_name"] for checkpoint in listed} == {"Models"}


async def test_the_unconditional_write_of_the_sdk_is_refused(open_store):
    store = open_store()
    await save(store)
    (listed,) = await store.list_checkpoints(*NAMES)
    with pytest.raises(InturnError, match="fence"):
        await store.update_checkpoint(listed | {"sequence_number": 99, "offset": "99"})
    assert (await store.load(PARTITION)).checkpoint == Checkpoint(7, "1700")


async def test_every_checkpoint_is_listed_for_an_operator(open_store):
    store = open_store()
    assert await store.partitions() == []
    await save(store)
    await save(store, NOTHING_DONE, partition=PARTITION._replace(hub="another", partition="3"))
    names = ("contoso.servicebus.windows.net", "$default")
    assert await store.partitions() == [
        (PartitionId(names[0], "another", names[1], "3"), NOTHING_DONE),
        (PartitionId(names[0], "models", names[1], "0"), Checkpoint(7, "1700")),
    ]


async def test_a_probe_of_a_good_store_leaves_nothing_behind(open_store):
    store = open_store()
    await store.probe()
    assert await store.partitions() == []
    assert await store.list_ownership(*NAMES) == []


async def test_closing_twice_is_harmless(open_store):
    store = open_store()
    await save(store)
    await store.close()
    await store.close()
