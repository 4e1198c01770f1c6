"""What the SDK's load balancing may rely on, whatever the store is made of."""

from __future__ import annotations

import asyncio

from azure.eventhub.aio import CheckpointStore

NAMES = {
    "fully_qualified_namespace": "contoso.servicebus.windows.net",
    "eventhub_name": "Models",
    "consumer_group": "$Default",
}


def claim(owner_id: str, partition_id: str = "0", **names: str) -> dict:
    return {**NAMES, "partition_id": partition_id, "owner_id": owner_id, **names}


async def claim_one(store, ownership: dict) -> dict:
    (won,) = await store.claim_ownership([ownership])
    return won


async def test_the_sdk_accepts_it_as_a_checkpoint_store(open_store):
    assert isinstance(open_store(), CheckpointStore)


async def test_of_many_first_claims_exactly_one_wins(open_store):
    owners = [open_store() for _ in range(8)]
    claims = [store.claim_ownership([claim(f"owner-{number}")]) for number, store in enumerate(owners)]
    won = [ownership for answer in await asyncio.gather(*claims) for ownership in answer]
    assert len(won) == 1
    (listed,) = await owners[0].list_ownership(**NAMES)
    assert listed["owner_id"] == won[0]["owner_id"]


async def test_of_many_claims_on_one_version_exactly_one_wins(open_store):
    owners = [open_store() for _ in range(8)]
    await claim_one(owners[0], claim("first"))
    (seen,) = await owners[0].list_ownership(**NAMES)
    claims = [
        store.claim_ownership([seen | {"owner_id": f"owner-{number}"}]) for number, store in enumerate(owners)
    ]
    won = [ownership for answer in await asyncio.gather(*claims) for ownership in answer]
    assert len(won) == 1


async def test_an_ownership_is_listed_with_what_the_balancing_needs(open_store):
    store = open_store()
    won = await claim_one(store, claim("me"))
    (listed,) = await store.list_ownership(**NAMES)
    assert {**NAMES, "partition_id": "0", "owner_id": "me"}.items() <= listed.items()
    assert listed["etag"].strip('"') == won["etag"].strip('"')
    assert listed["last_modified_time"] == won["last_modified_time"] > 1.7e9


async def test_an_owner_renews_again_and_again(open_store):
    store = open_store()
    held = await claim_one(store, claim("me"))
    for _ in range(3):
        renewed = await claim_one(store, held)
        assert renewed["etag"] != held["etag"]
        assert renewed["last_modified_time"] >= held["last_modified_time"]
        held = renewed


async def test_a_renewal_after_a_theft_is_refused(open_store):
    owner, thief = open_store(), open_store()
    held = await claim_one(owner, claim("owner"))
    (seen,) = await thief.list_ownership(**NAMES)
    await claim_one(thief, seen | {"owner_id": "thief"})  # as with an ownership that expired
    assert await owner.claim_ownership([held]) == []
    (listed,) = await owner.list_ownership(**NAMES)
    assert listed["owner_id"] == "thief"


async def test_a_partition_given_back_can_be_claimed_by_another_at_once(open_store):
    owner, other = open_store(), open_store()
    held = await claim_one(owner, claim("owner"))
    await claim_one(owner, held | {"owner_id": ""})
    (released,) = await other.list_ownership(**NAMES)
    assert released["owner_id"] == ""
    won = await claim_one(other, released | {"owner_id": "other"})
    assert won["owner_id"] == "other"


async def test_claims_of_one_call_win_and_lose_one_by_one(open_store):
    owner, other = open_store(), open_store()
    await claim_one(owner, claim("owner", "0"))
    won = await other.claim_ownership([claim("other", "0"), claim("other", "1"), claim("other", "2")])
    assert sorted(ownership["partition_id"] for ownership in won) == ["1", "2"]


async def test_a_claim_does_not_change_the_dictionary_it_was_given(open_store):
    given = claim("me")
    await claim_one(open_store(), given)
    assert given == claim("me")


async def test_groups_and_hubs_balance_apart(open_store):
    store = open_store()
    await claim_one(store, claim("me"))
    await claim_one(store, claim("you", consumer_group="other"))
    await claim_one(store, claim("they", eventhub_name="other"))
    (listed,) = await store.list_ownership(**NAMES)
    assert listed["owner_id"] == "me"
