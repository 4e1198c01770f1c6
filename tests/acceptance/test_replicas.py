"""Several consumers, and other clients, on one consumer group."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore

from .conftest import registered, stop

# The client leaves the connection of a stolen link to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore:loop is:ResourceWarning")


@pytest.fixture
def container(azurite) -> dict:
    """The settings of a container of our own in Azurite."""
    return {
        "type": "blob",
        "connection_string": azurite.connection_string,
        "container": f"acceptance-{uuid.uuid4().hex}",
        "create_container": True,
        "checkpoint_interval_s": 0.2,
    }


def sdk_store(container: dict) -> BlobCheckpointStore:
    return BlobCheckpointStore.from_connection_string(container["connection_string"], container["container"])


@pytest.mark.parametrize("state", ["sqlite", "blob"])
async def test_two_replicas_share_the_partitions_and_one_takes_over_from_the_other(place, state, request):
    if state == "blob":
        place.configure(state=request.getfixturevalue("container"))
    else:
        place.configure()
    models = [f"m{number}" for number in range(40)]
    async with place.running() as first:
        await place.until(lambda: place.log().count("A partition was assigned") == 4)
        async with place.running() as second:
            # A steals from B until each has two: four assignments, then two or more again.
            await place.until(lambda: place.log().count("A partition was assigned") >= 6)
            place.publish([registered(model, version) for version in range(1, 6) for model in models])
            await place.until(lambda: len(set(place.ids())) == 200)
            assert await stop(second) == 0
        place.publish([registered(model, version) for version in range(6, 11) for model in models])
        await place.until(lambda: len(set(place.ids())) == 400)
        assert await stop(first) == 0

    assert len(place.ids()) == 400
    # Two processes wrote into files of their own, so only what one of them wrote has an order here.
    for model in models:
        assert place.versions(model)[5:] == list(range(6, 11)) or sorted(place.versions(model)) == list(
            range(1, 11)
        )


async def test_the_sdk_goes_on_after_a_checkpoint_of_ours(place, container):
    place.configure(state=container)
    place.publish([registered("m", version) for version in range(1, 31)])
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == 30)
        assert await stop(process) == 0
    place.publish([registered("m", version) for version in range(31, 41)])

    seen: list[int] = []

    async def on_event(context, event):
        seen.append(event.sequence_number)
        await context.update_checkpoint(event)

    async with sdk_store(container) as store:
        client = EventHubConsumerClient.from_connection_string(
            place.hub.connection_string(), "$Default", eventhub_name="events", checkpoint_store=store
        )
        async with client, asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(client.receive(on_event, starting_position="-1"))
            async with asyncio.timeout(40):
                while len(seen) < 10:  # noqa: ASYNC110 - a list sets no event
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            receiving.cancel()
    assert seen == list(range(30, 40))


async def test_inturn_goes_on_after_a_checkpoint_of_the_sdk(place, container):
    place.publish([registered("m", version) for version in range(1, 21)])
    (partition,) = [number for number in "0123" if place.hub.log("events", number)]
    offset = place.hub.log("events", partition)[11].offset
    async with sdk_store(container) as store:
        await store._container_client.create_container()
        await store.update_checkpoint(
            {
                "fully_qualified_namespace": f"127.0.0.1:{place.hub.port}",
                "eventhub_name": "events",
                "consumer_group": "$Default",
                "partition_id": partition,
                "offset": offset,
                "sequence_number": 11,
            }
        )
    place.configure(state=container)

    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == 8)
        assert await stop(process) == 0

    assert place.versions("m") == list(range(13, 21))


async def test_the_metadata_that_keda_scales_by_are_on_the_blob(place, container):
    place.configure(state=container)
    place.publish([registered("m", version) for version in range(1, 11)])
    (partition,) = [number for number in "0123" if place.hub.log("events", number)]
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == 10)
        assert await stop(process) == 0

    async with sdk_store(container) as store:
        name = f"127.0.0.1:{place.hub.port}/events/$default/checkpoint/{partition}"
        properties = await store._container_client.get_blob_client(name).get_blob_properties()
    assert properties.metadata["sequencenumber"] == "9"
    assert properties.metadata["offset"] == place.hub.log("events", partition)[9].offset
