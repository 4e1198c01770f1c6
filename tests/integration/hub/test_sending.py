"""What the real client sends is in the log, where the service would have put it."""

from collections.abc import Callable
from typing import Any

import pytest
from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub._buffered_producer._partition_resolver import PartitionResolver
from azure.eventhub.exceptions import ConnectError, EventDataSendError, EventHubError

from consumer.hub import HubSettings, LocalHub, LocalHubSettings, ServerLimits

Fixture = Callable[..., Any]


async def test_a_batch_for_a_partition_is_in_that_partition_in_order(
    local_hub: LocalHub, producer: Fixture, send: Fixture
) -> None:
    async with producer(local_hub) as client:
        await send(client, [f"event {index}" for index in range(100)], partition_id="2")
    assert [event.body.decode() for event in local_hub.log("events", "2")] == [
        f"event {i}" for i in range(100)
    ]
    assert [event.sequence_number for event in local_hub.log("events", "2")] == list(range(100))
    assert all(local_hub.log("events", other) == [] for other in "013")


async def test_a_key_decides_the_partition_as_in_the_clients_own_resolver(
    local_hub: LocalHub, producer: Fixture, send: Fixture
) -> None:
    keys = ["run/17", "model:a", "b", "contoso/workspaces/ws/runs/1"]
    async with producer(local_hub) as client:
        for key in keys:
            await send(client, ["one", "two"], partition_key=key)
    resolver = PartitionResolver(["0", "1", "2", "3"])
    for key in keys:
        found = local_hub.log("events", resolver.get_partition_id_by_partition_key(key))
        assert [event.body for event in found if event.partition_key == key] == [b"one", b"two"]


async def test_batches_without_a_key_take_the_partitions_in_rotation(
    local_hub: LocalHub, producer: Fixture, send: Fixture
) -> None:
    async with producer(local_hub) as client:
        for _ in range(8):
            await send(client, ["event"])
    assert [len(local_hub.log("events", partition)) for partition in "0123"] == [2, 2, 2, 2]


async def test_a_single_event_keeps_its_properties(local_hub: LocalHub, producer: Fixture) -> None:
    event = EventData(b"\x00\xff")
    event.properties = {"text": "ü", "number": 5, "flag": True, "bytes": b"raw"}
    async with producer(local_hub) as client:
        await client.send_event(event, partition_id="0")
    (stored,) = local_hub.log("events", "0")
    assert stored.body == b"\x00\xff"
    assert stored.application_properties == {"text": "ü", "number": 5, "flag": True, "bytes": b"raw"}


async def test_an_event_of_many_frames_arrives_whole(local_hub: LocalHub, producer: Fixture) -> None:
    body = bytes(range(256)) * 3_600
    async with producer(local_hub) as client:
        await client.send_event(EventData(body), partition_id="0")
    assert local_hub.log("events", "0")[0].body == body


async def test_a_message_larger_than_the_limit_is_refused_and_not_stored(
    producer: Fixture, send: Fixture
) -> None:
    settings = LocalHubSettings(limits=ServerLimits(message_bytes_max=2_000))
    async with LocalHub(settings) as hub, producer(hub, retry_total=0) as client:
        batch = await client.create_batch()
        assert batch.max_size_in_bytes == 2_000
        with pytest.raises(EventHubError):
            await client.send_event(EventData(b"x" * 3_000), partition_id="0")
        await send(client, ["small"], partition_id="0")
        assert [event.body for event in hub.log("events", "0")] == [b"small"]


async def test_many_sendings_on_one_link_get_new_credit(local_hub: LocalHub, producer: Fixture) -> None:
    async with producer(local_hub) as client:
        for index in range(1_100):
            await client.send_event(EventData(str(index)), partition_id="0")
    assert [event.body.decode() for event in local_hub.log("events", "0")] == [str(i) for i in range(1_100)]


async def test_an_unknown_hub_or_partition_is_refused(
    local_hub: LocalHub, producer: Fixture, send: Fixture
) -> None:
    async with producer(local_hub, "nothing", retry_total=0) as client:
        with pytest.raises(EventHubError, match="404"):
            await send(client, ["event"])
    async with producer(local_hub, retry_total=0) as client:
        with pytest.raises(EventHubError, match="77"):
            await client.send_event(EventData("event"), partition_id="77")


async def test_a_hubs_properties_are_told(local_hub: LocalHub, producer: Fixture, send: Fixture) -> None:
    async with producer(local_hub) as client:
        told = await client.get_eventhub_properties()
        assert (told["eventhub_name"], told["partition_ids"]) == ("events", ["0", "1", "2", "3"])
        empty = await client.get_partition_properties("1")
        assert empty["is_empty"]
        assert (empty["beginning_sequence_number"], empty["last_enqueued_sequence_number"]) == (-1, -1)
        await send(client, ["one", "two", "three"], partition_id="1")
        local_hub.trim("events", "1", 1)
        told = await client.get_partition_properties("1")
    last = local_hub.log("events", "1")[-1]
    assert told["beginning_sequence_number"] == 1
    assert told["last_enqueued_sequence_number"] == 2
    assert told["last_enqueued_offset"] == last.offset
    assert int(told["last_enqueued_time_utc"].timestamp() * 1_000) == pytest.approx(
        last.enqueued_time_ms, abs=1
    )
    assert not told["is_empty"]


async def test_properties_of_what_is_not_there_are_refused(local_hub: LocalHub, producer: Fixture) -> None:
    async with producer(local_hub, "nothing", retry_total=0) as client:
        with pytest.raises(ConnectError, match="404"):
            await client.get_eventhub_properties()
    async with producer(local_hub, retry_total=0) as client:
        with pytest.raises(ConnectError, match="404"):
            await client.get_partition_properties("77")


async def test_hubs_of_one_namespace_are_apart(producer: Fixture, send: Fixture) -> None:
    hubs = (HubSettings(name="one", partitions=1), HubSettings(name="two", partitions=2))
    async with LocalHub(LocalHubSettings(hubs=hubs)) as hub:
        async with producer(hub, "ONE") as client:
            await send(client, ["first"])
        async with producer(hub, "two") as client:
            assert (await client.get_eventhub_properties())["partition_ids"] == ["0", "1"]
        assert len(hub.log("one", "0")) == 1
        assert hub.log("two", "0") == hub.log("two", "1") == []


async def test_the_synchronous_client_sends_too(local_hub: LocalHub) -> None:
    import asyncio

    def run() -> dict[str, Any]:
        with EventHubProducerClient.from_connection_string(local_hub.connection_string("events")) as client:
            batch = client.create_batch(partition_id="3")
            batch.add(EventData("from a thread"))
            client.send_batch(batch)
            return client.get_partition_properties("3")

    told = await asyncio.to_thread(run)
    assert told["last_enqueued_sequence_number"] == 0
    assert local_hub.log("events", "3")[0].body == b"from a thread"


async def test_what_cannot_be_written_down_is_rejected(
    local_hub: LocalHub, producer: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local_hub._entity("events").logs["0"], "append", full)
    async with producer(local_hub, retry_total=0) as client:
        with pytest.raises(EventDataSendError, match="No space left"):
            await client.send_event(EventData("event"), partition_id="0")
    assert local_hub.stats()["rejected"] == 1
