"""What a dead forerunner owned, as the ownership ledger of its successor has the client see it."""

from __future__ import annotations

import pytest

from consumer.errors import StoreUnavailable
from consumer.sources.eventhub_claims import Title
from consumer.sources.eventhub_ownership import OwnershipLedger, Tempo
from consumer.stores.memory import MemoryStore
from consumer.succession import ALONE, Succession

GROUP = ("127.0.0.1", "events", "$Default")
NAMES = dict(zip(("fully_qualified_namespace", "eventhub_name", "consumer_group"), GROUP, strict=True))
TEMPO = Tempo(look_s=0.001, renew_s=60, expire_s=180)

FORERUNNER = Succession.after([])
DEAD, LATER_DEAD = FORERUNNER.owner("dead"), FORERUNNER.owner("later")
LIVING = Succession.after([]).owner("living")
ELSEWHERE = "a-replica-elsewhere"


@pytest.fixture
async def store():
    return MemoryStore()


@pytest.fixture
def ledger_of(store):
    def make(succession):
        return OwnershipLedger(store, resolve=None, tempo=TEMPO, succession=succession)

    return make


@pytest.fixture
def successor(ledger_of):
    return ledger_of(Succession.after([FORERUNNER.mark]))


async def put(store, **owners):
    """Have the store give partitions to owners, just now."""
    there = {each["partition_id"]: each for each in await store.list_ownership(*GROUP)}
    for partition, owner in owners.items():
        name = partition.removeprefix("p")
        await store.claim_ownership([there.get(name, NAMES | {"partition_id": name}) | {"owner_id": owner}])


async def owners(store):
    return {each["partition_id"]: each["owner_id"] for each in await store.list_ownership(*GROUP)}


async def shown(ledger):
    """By partition the owner that the client sees at its next turn."""
    return {each["partition_id"]: each["owner_id"] for each in await ledger.list_ownership(*GROUP)}


async def claim(ledger, *partitions, client="client"):
    """A turn of a client that wants just these; gives those that it has from now on."""
    listed = {each["partition_id"]: each for each in await ledger.list_ownership(*GROUP)}
    wanted = [listed.get(each, NAMES | {"partition_id": each}) | {"owner_id": client} for each in partitions]
    return {each["partition_id"] for each in await ledger.claim_ownership(wanted)}


async def test_what_the_dead_owned_is_free_at_the_first_turn_and_what_others_own_is_not(store, successor):
    await put(store, p0=DEAD, p1=LIVING, p2=ELSEWHERE, p3=LATER_DEAD)

    assert await shown(successor) == {"0": "", "1": LIVING, "2": ELSEWHERE, "3": ""}
    assert await claim(successor, "0", "3") == {"0", "3"}

    assert (await owners(store))["1"] == LIVING
    assert await claim(successor, "0", "3") == {"0", "3"}
    assert await shown(successor) == {"0": "client", "1": LIVING, "2": ELSEWHERE, "3": "client"}


@pytest.mark.parametrize("succession", [ALONE, Succession.after([]), Succession.after(["0" * 32])])
async def test_who_was_told_of_no_death_leaves_an_owner_its_partitions(store, ledger_of, succession):
    await put(store, p0=DEAD)
    ledger = ledger_of(succession)

    assert await shown(ledger) == {"0": DEAD}
    assert await claim(ledger, "0") == set()

    assert Title.of({"owner_id": (await owners(store))["0"]}).owner == DEAD  # asked, not taken


async def test_what_the_client_has_no_use_for_is_left_to_others_after_its_turn(store, successor):
    """They would have to wait until it expires. Before its turn they might take what is its share."""
    await put(store, p0=DEAD, p1=DEAD)
    assert await claim(successor, "0") == {"0"}
    assert (await owners(store))["1"] == DEAD

    assert await claim(successor, "0") == {"0"}

    assert (await owners(store))["1"] == ""
    assert await shown(successor) == {"0": "client", "1": ""}


async def test_a_replica_that_asked_the_dead_is_given_what_it_asked_for(store, successor, ledger_of):
    await put(store, p0=DEAD)
    other = ledger_of(ALONE)
    assert await claim(other, "0", client=ELSEWHERE) == set()
    assert await owners(store) == {"0": f"{DEAD}>{ELSEWHERE}"}

    assert await shown(successor) == {"0": ELSEWHERE}
    assert await claim(successor) == set()

    assert await owners(store) == {"0": ELSEWHERE}
    assert await claim(other, "0", client=ELSEWHERE) == {"0"}


async def test_what_the_dead_asked_for_stays_with_its_owner(store, successor):
    await put(store, p0=f"{LIVING}>{DEAD}")

    assert await shown(successor) == {"0": LIVING}
    await shown(successor)

    assert await owners(store) == {"0": f"{LIVING}>{DEAD}"}


async def test_what_is_handed_to_the_dead_in_good_faith_is_free(store, successor):
    await put(store, p0=f"{LIVING}>{DEAD}")
    assert await shown(successor) == {"0": LIVING}
    await put(store, p0=DEAD)

    assert await shown(successor) == {"0": ""}
    assert await claim(successor, "0") == {"0"}


async def test_what_one_of_the_dead_asked_of_another_is_free(store, successor):
    await put(store, p0=f"{DEAD}>{LATER_DEAD}")
    assert await claim(successor, "0") == {"0"}


async def test_a_successor_asks_the_living_for_what_a_dead_one_asked_for(store, successor):
    await put(store, p0=f"{LIVING}>{DEAD}")

    assert await claim(successor, "0") == set()

    title = Title.of({"owner_id": (await owners(store))["0"]})
    assert title.owner == LIVING
    assert title.heir.endswith(".client")


async def test_a_write_of_the_dead_that_arrives_late_delays_a_turn_and_no_more(store, successor):
    await put(store, p0=DEAD)
    (offered,) = await successor.list_ownership(*GROUP)
    await put(store, p0=DEAD)  # it was under way when its sender died

    assert list(await successor.claim_ownership([offered | {"owner_id": "client"}])) == []
    assert await claim(successor, "0") == {"0"}


async def test_a_second_death_leaves_all_to_the_third(store, ledger_of):
    """Whether the second had claimed what the first left or not."""
    second = Succession.after([FORERUNNER.mark])
    await put(store, p0=DEAD, p1=DEAD)
    assert await claim(ledger_of(second), "0") == {"0"}

    third = ledger_of(Succession.after([*second.dead, second.mark]))
    assert await claim(third, "0", "1") == {"0", "1"}


async def test_a_store_that_is_away_keeps_what_the_dead_left_for_later(store, successor, monkeypatch):
    await put(store, p0=f"{DEAD}>{ELSEWHERE}")
    await shown(successor)

    async def refuse(*_, **__):
        raise StoreUnavailable("It is away.")

    with monkeypatch.context() as away:
        away.setattr(store, "claim_ownership", refuse)
        with pytest.raises(StoreUnavailable):
            await shown(successor)
    await shown(successor)
    assert await owners(store) == {"0": ELSEWHERE}


async def test_a_process_with_a_mark_shares_hands_over_and_leaves_as_one_without(store, ledger_of):
    one, other = ledger_of(Succession.after([])), ledger_of(Succession.after([]))
    assert await claim(one, "0", "1") == {"0", "1"}
    assert await shown(one) == {"0": "client", "1": "client"}
    assert len(set((await owners(store)).values())) == 1
    assert one.taken() == set()

    assert await claim(other, "0") == set()
    await one.look()
    assert one.wanted() == {"0"}
    await one.release("0")
    assert await claim(other, "0") == {"0"}
    assert await shown(other) == {"0": "client", "1": (await owners(store))["1"]}

    await one.give_back()
    await other.give_back()
    assert await owners(store) == {"0": "", "1": ""}
