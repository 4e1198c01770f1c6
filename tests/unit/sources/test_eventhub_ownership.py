"""How two replicas hand partitions to each other through the store, turn by turn."""

from __future__ import annotations

import uuid

import pytest

from consumer.sources.eventhub_ownership import OwnershipLedger, Tempo
from consumer.stores.memory import MemoryStore

GROUP = ("127.0.0.1", "events", "$Default")
OLD, NEW = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def claim(partition="0", owner=OLD, **known):
    names = dict(zip(("fully_qualified_namespace", "eventhub_name", "consumer_group"), GROUP, strict=True))
    return known | names | {"partition_id": partition, "owner_id": owner}


@pytest.fixture
async def store():
    return MemoryStore()


@pytest.fixture
async def ledgers(store):
    """The ledgers of an owner of partition 0 and of one who has asked for it."""
    tempo = Tempo(look_s=0.001, renew_s=60, expire_s=180)
    old, new = (OwnershipLedger(store, resolve=None, tempo=tempo) for _ in range(2))
    assert await turn(old, OLD)
    assert not await turn(new, NEW)
    return old, new


async def turn(ledger, owner):
    """A turn of a client that wants the partition; gives whether it has it from now on."""
    (shown,) = list(await ledger.list_ownership(*GROUP)) or [claim()]
    return bool(await ledger.claim_ownership([shown | {"owner_id": owner}]))


async def owner_in(store):
    (found,) = await store.list_ownership(*GROUP)
    return found["owner_id"]


async def test_who_was_asked_for_a_partition_hands_it_to_who_asked(store, ledgers):
    old, new = ledgers
    assert await owner_in(store) == f"{OLD}>{NEW}"

    await old.look()
    await old.give_back()

    assert await owner_in(store) == NEW
    assert await turn(new, NEW)


async def test_a_turn_that_began_before_the_partition_was_handed_over_does_not_ask_for_it_back(
    store, ledgers
):
    old, _ = ledgers
    (shown,) = await old.list_ownership(*GROUP)
    assert shown["owner_id"] == OLD
    await old.give_back()

    assert list(await old.claim_ownership([shown])) == []

    assert await owner_in(store) == NEW


async def test_a_partition_that_another_wants_already_is_taken_by_who_was_given_it(store, ledgers):
    """Else it would be nobody's until it had expired."""
    old, new = ledgers
    await old.look()
    await old.give_back()
    assert not await turn(old, OLD)
    assert await owner_in(store) == f"{NEW}>{OLD}"

    assert await turn(new, NEW)

    await new.look()
    assert new.wanted() == {"0"}


async def test_who_leaves_no_longer_asks_for_anything(store, ledgers):
    """Else it would be given a partition when it is not there any more."""
    old, new = ledgers

    await new.give_back()

    assert await owner_in(store) == OLD
    await old.look()
    assert old.wanted() == set()


async def test_who_leaves_while_a_partition_is_handed_to_it_leaves_it_to_anybody(store, ledgers):
    old, new = ledgers
    await old.look()
    await old.give_back()

    await new.give_back()

    assert await owner_in(store) == ""
    assert await turn(old, OLD)


async def test_who_leaves_while_a_partition_is_asked_of_it_hands_it_over(store, ledgers):
    """What it had listed is another version by then."""
    old, _ = ledgers

    await old.give_back()

    assert await owner_in(store) == NEW


async def test_a_hand_over_to_who_has_just_left_is_none(store, ledgers):
    old, new = ledgers
    await old.look()
    await new.give_back()

    assert await old.claim_ownership([claim(owner="")]) == []

    assert await owner_in(store) == OLD
    assert await turn(old, OLD)
