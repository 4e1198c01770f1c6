"""The real client receives what is in the log, from wherever it wants to start."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.eventhub import EventHubConsumerClient
from azure.eventhub.exceptions import EventHubError

from consumer.hub import HubSettings, LocalHub, LocalHubSettings, ServerLimits

Fixture = Callable[..., Any]
BASE_MS = 1_700_000_000_000


def publish_ten(hub: LocalHub) -> None:
    """Ten events on partition 0, a second apart."""
    for index in range(10):
        body = str(index).encode()
        hub.publish("events", body, partition="0", enqueued_time_ms=BASE_MS + 1_000 * index)


def at_s(index: float) -> datetime:
    return datetime.fromtimestamp(BASE_MS / 1_000, UTC) + timedelta(seconds=index)


async def test_events_of_all_partitions_arrive_with_all_that_belongs_to_them(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    for partition in "0123":
        for index in range(25):
            local_hub.publish(
                "events", f"{partition}/{index}".encode(), partition=partition, properties={"i": index}
            )
    async with receiving(local_hub) as got:
        await got.count(100)
    for partition in "0123":
        mine = [
            event
            for event, context in zip(got.events, got.contexts, strict=True)
            if context.partition_id == partition
        ]
        assert [event.body_as_str() for event in mine] == [f"{partition}/{index}" for index in range(25)]
        stored = local_hub.log("events", partition)
        assert [event.sequence_number for event in mine] == [event.sequence_number for event in stored]
        assert [event.offset for event in mine] == [event.offset for event in stored]
        assert [event.properties for event in mine] == [{b"i": index} for index in range(25)]
    assert len({event.offset for event in got.events}) > 1


async def test_what_is_published_while_a_client_waits_arrives(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    async with receiving(local_hub, partition_id="0") as got:
        local_hub.publish("events", b"first", partition="0", partition_key="key")
        await got.count(1)
        local_hub.publish("events", b"second", partition="0")
        await got.count(2)
    assert got.bodies == ["first", "second"]
    assert [event.partition_key for event in got.events] == [b"key", None]


async def test_a_client_starts_where_it_wants(receiving: Fixture) -> None:
    async with LocalHub(LocalHubSettings(limits=ServerLimits(receivers_max=20))) as hub:
        publish_ten(hub)
        offset = hub.log("events", "0")[4].offset

        async def first_from(start: Any, *, inclusive: bool) -> int:
            where = {"starting_position": start, "starting_position_inclusive": inclusive}
            async with receiving(hub, partition_id="0", **where) as got:
                await got.until(lambda: "9" in got.bodies)
            assert got.bodies == [str(index) for index in range(10 - len(got.bodies), 10)]
            return 10 - len(got.bodies)

        assert await asyncio.gather(
            first_from("-1", inclusive=False),
            first_from(4, inclusive=False),
            first_from(4, inclusive=True),
            first_from(offset, inclusive=False),
            first_from(offset, inclusive=True),
            first_from(at_s(4), inclusive=False),
            first_from(at_s(4), inclusive=True),
            first_from(at_s(4.5), inclusive=False),
            first_from(at_s(-100), inclusive=False),
        ) == [0, 5, 4, 5, 4, 5, 4, 5, 0]


@pytest.mark.parametrize("start", ["@latest", 9])
async def test_a_client_that_starts_at_the_end_gets_only_what_is_new(
    local_hub: LocalHub, receiving: Fixture, eventually: Fixture, start: Any
) -> None:
    publish_ten(local_hub)
    async with receiving(local_hub, partition_id="0", starting_position=start) as got:
        await eventually(lambda: local_hub.stats()["open_links"] == 1)
        local_hub.publish("events", b"new", partition="0")
        await got.count(1)
    assert got.bodies == ["new"]


async def test_a_position_that_was_never_given_is_refused(local_hub: LocalHub, receiving: Fixture) -> None:
    publish_ten(local_hub)
    async with receiving(local_hub, partition_id="0", starting_position=10, retry_total=0) as got:
        error = await got.error()
    assert "The supplied sequence number '10' is invalid" in str(error)


async def test_a_client_behind_retention_goes_on_at_the_first_event_that_is_kept(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    publish_ten(local_hub)
    local_hub.trim("events", "0", 7)
    async with receiving(local_hub, partition_id="0", starting_position=2) as got:
        await got.count(3)
    assert got.bodies == ["7", "8", "9"]


async def test_retention_by_bytes_moves_the_beginning(receiving: Fixture) -> None:
    small = HubSettings(name="events", partitions=1, retention_bytes_max=20_000)
    async with LocalHub(LocalHubSettings(hubs=(small,))) as hub:
        for index in range(50):
            hub.publish("events", str(index).encode() + b" " * 1_000)
        kept = len(hub.log("events", "0"))
        assert hub.stats()["hubs"]["events"]["trimmed"] == 50 - kept > 0
        assert hub.stats()["hubs"]["events"]["bytes"] <= 20_000
        async with receiving(hub) as got:
            await got.count(kept)
        assert got.events[0].sequence_number == 50 - kept


async def test_large_events_arrive_whole(local_hub: LocalHub, receiving: Fixture) -> None:
    bodies = [bytes([index]) * (1_048_000 - 200) for index in range(65, 69)]
    for body in bodies:
        local_hub.publish("events", body, partition="0")
    async with receiving(local_hub, partition_id="0", prefetch=1) as got:
        await got.count(4)
    assert [b"".join(event.body) for event in got.events] == bodies


async def test_more_events_than_credit_and_window_arrive_in_order(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    local_hub.publish("events", *[b"%d" % index for index in range(66_000)], partition="0")
    async with receiving(local_hub, partition_id="0", prefetch=3_000) as got:
        await got.count(66_000)
    assert [event.sequence_number for event in got.events] == list(range(66_000))


async def test_a_client_that_asks_is_told_of_the_end_of_the_partition(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    publish_ten(local_hub)
    async with receiving(local_hub, partition_id="0", track_last_enqueued_event_properties=True) as got:
        await got.count(10)
    told = got.contexts[0].last_enqueued_event_properties
    last = local_hub.log("events", "0")[-1]
    assert (told["sequence_number"], told["offset"]) == (9, last.offset)
    assert told["enqueued_time"] == at_s(9)


async def test_consumer_groups_read_side_by_side(local_hub: LocalHub, receiving: Fixture) -> None:
    publish_ten(local_hub)
    async with (
        receiving(local_hub, partition_id="0", owner_level=1) as one,
        receiving(local_hub, partition_id="0", owner_level=1, group="second") as two,
    ):
        await one.count(10)
        await two.count(10)
    assert one.bodies == two.bodies
    assert one.errors == two.errors == []


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"group": "nobody"}, "'events/ConsumerGroups/nobody' could not be found"),
        ({"entity": "nothing"}, "Status code: 404"),
    ],
)
async def test_what_is_not_there_is_refused(
    local_hub: LocalHub, receiving: Fixture, place: dict[str, Any], words: str
) -> None:
    async with receiving(local_hub, **({"partition_id": "0", "retry_total": 0} | place)) as got:
        error = await got.error()
    assert isinstance(error, EventHubError)
    assert words in str(error)


async def test_the_clock_of_the_hub_stamps_and_never_goes_back(local_hub: LocalHub) -> None:
    local_hub.publish("events", b"later", partition="0", enqueued_time_ms=5_000)
    local_hub.publish("events", b"earlier", partition="0", enqueued_time_ms=4_000)
    before_ms = datetime.now(UTC).timestamp() * 1_000
    local_hub.publish("events", b"now", partition="0")
    first, second, third = (event.enqueued_time_ms for event in local_hub.log("events", "0"))
    assert (first, second) == (5_000, 5_000)
    assert before_ms - 1 <= third <= datetime.now(UTC).timestamp() * 1_000


async def test_the_synchronous_client_receives_too(local_hub: LocalHub) -> None:
    publish_ten(local_hub)

    def run() -> list[str]:
        got: list[str] = []
        client = EventHubConsumerClient.from_connection_string(
            local_hub.connection_string("events"), consumer_group="second"
        )

        def on_event(context: Any, event: Any) -> None:
            got.append(event.body_as_str())
            if len(got) == 10:
                client.close()

        with client:
            client.receive(on_event, partition_id="0", starting_position="-1")
        return got

    async with asyncio.timeout(30):
        assert await asyncio.to_thread(run) == [str(index) for index in range(10)]
