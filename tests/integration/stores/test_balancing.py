"""The real Event Hubs client shares the partitions of the local hub through each of our stores."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from azure.eventhub.aio import EventHubConsumerClient

from consumer.events import NOTHING_DONE, PartitionId
from consumer.stores.memory import MemoryStore
from consumer.stores.sqlite import SqliteStore

# The client leaves the connection of a stolen link to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore:loop is:ResourceWarning")

GROUP = "$Default"
DEADLINE_S = 20


@pytest.fixture(params=["memory", "sqlite", "blob"])
async def open_store(request, tmp_path, open_blob_store):
    """Opens one more store on the same storage, as another process would."""
    opened = []
    shared = MemoryStore()
    make = {
        "memory": lambda: shared,
        "sqlite": lambda: SqliteStore(path=tmp_path / "inturn.db"),
        "blob": open_blob_store,
    }[request.param]

    def open_one():
        opened.append(make())
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


def client_of(hub, store) -> EventHubConsumerClient:
    return EventHubConsumerClient.from_connection_string(
        hub.connection_string("events"), GROUP, checkpoint_store=store, load_balancing_interval=0.5
    )


async def owners_in(store, hub_namespace: str) -> Counter:
    ownerships = await store.list_ownership(hub_namespace, "events", GROUP)
    return Counter(ownership["owner_id"] for ownership in ownerships if ownership["owner_id"])


async def until(condition) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110 - the storage announces nothing
            await asyncio.sleep(0.1)


async def ignore(*_) -> None:
    pass


async def test_two_clients_share_the_partitions_and_the_last_one_takes_them_all(local_hub, open_store):
    watcher = open_store()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        clients = [await stack.enter_async_context(client_of(local_hub, open_store())) for _ in range(2)]
        namespace = clients[0]._address.hostname
        running = [group.create_task(client.receive(on_event=ignore)) for client in clients]

        async def shared():
            return sorted((await owners_in(watcher, namespace)).values()) == [2, 2]

        async def all_with_one():
            return sorted((await owners_in(watcher, namespace)).values()) == [4]

        await until(shared)
        await clients[0].close()
        await running[0]
        await until(all_with_one)
        await clients[1].close()
        await running[1]


async def test_a_client_begins_at_the_earliest_event_where_nothing_is_done(local_hub, open_store):
    store = open_store()
    local_hub.publish("events", b"first", b"second", partition="1")
    seen: list[bytes] = []
    both = asyncio.Event()

    async def on_event(_, event) -> None:
        seen.append(b"".join(event.body))
        if len(seen) == 2:
            both.set()

    async with client_of(local_hub, store) as client, asyncio.TaskGroup() as group:
        for number in range(4):
            partition = PartitionId(client._address.hostname, "events", GROUP, str(number))
            await store.save(partition, NOTHING_DONE, b"state", "")
        receiving = group.create_task(client.receive(on_event=on_event, starting_position="@latest"))
        async with asyncio.timeout(DEADLINE_S):
            await both.wait()
        await client.close()
        await receiving
    assert seen == [b"first", b"second"]
