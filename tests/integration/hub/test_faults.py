"""Every failure on demand does to the real client what it says."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from azure.eventhub import EventData
from azure.eventhub.exceptions import (
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    EventDataSendError,
    EventHubError,
)

from consumer.hub import LocalHub

Fixture = Callable[..., Any]
# The client leaves the streams of broken connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore:loop is:ResourceWarning")


async def test_a_dropped_connection_is_made_again(local_hub: LocalHub, receiving: Fixture) -> None:
    async with receiving(local_hub, partition_id="0") as got:
        local_hub.publish("events", b"before", partition="0")
        await got.count(1)
        connections = local_hub.stats()["connections"]
        assert local_hub.faults.drop_connections("events", "0") == 1
        local_hub.publish("events", b"after", partition="0")
        await got.until(lambda: "after" in got.bodies)
    assert local_hub.stats()["connections"] > connections


async def test_only_connections_in_the_scope_are_dropped(
    local_hub: LocalHub, eventually: Fixture, receiving: Fixture
) -> None:
    async with receiving(local_hub, partition_id="1") as got:
        await eventually(lambda: local_hub.stats()["open_links"] == 1)
        assert local_hub.faults.drop_connections("events", "0") == 0
        assert local_hub.faults.drop_connections("other") == 0
        local_hub.publish("events", b"event", partition="1")
        await got.count(1)


async def test_a_stolen_link_is_an_error_for_the_receiver(
    local_hub: LocalHub, eventually: Fixture, receiving: Fixture
) -> None:
    async with receiving(local_hub, partition_id="0", owner_level=1) as got:
        await eventually(lambda: local_hub.stats()["open_links"] == 1)
        assert local_hub.faults.steal("events", "0", group="second") == 0
        assert local_hub.faults.steal("events", "0") == 1
        error = await got.error()
    assert isinstance(error, ConnectionLostError)
    assert "stolen" in str(error)


async def test_a_link_is_detached_with_any_condition(
    local_hub: LocalHub, eventually: Fixture, receiving: Fixture
) -> None:
    async with receiving(local_hub, partition_id="0", retry_total=0) as got:
        await eventually(lambda: local_hub.stats()["open_links"] == 1)
        assert local_hub.faults.detach("com.microsoft:entity-disabled", "switched off", partition="0") == 1
        error = await got.error()
    assert isinstance(error, ConnectError)
    assert "switched off" in str(error)


async def test_a_stalled_partition_says_nothing_until_it_is_cleared(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    async with (
        receiving(local_hub, partition_id="0") as stalled,
        receiving(local_hub, partition_id="1") as other,
    ):
        for partition, got in (("0", stalled), ("1", other)):
            local_hub.publish("events", b"before", partition=partition)
            await got.count(1)
        with local_hub.faults.stall("events", "0"):
            local_hub.publish("events", b"while", partition="0")
            local_hub.publish("events", b"while", partition="1")
            await other.count(2)
            assert stalled.bodies == ["before"]
            assert local_hub.stats()["open_links"] == 2
        await stalled.count(2)
    assert stalled.errors == []


async def test_a_stalled_hub_answers_nobody_and_an_idle_timeout_notices(
    local_hub: LocalHub, eventually: Fixture, receiving: Fixture
) -> None:
    async with receiving(local_hub, partition_id="0", idle_timeout=1) as got:
        local_hub.publish("events", b"before", partition="0")
        await got.count(1)
        with local_hub.faults.stall():
            connections = local_hub.stats()["connections"]
            await eventually(lambda: local_hub.stats()["connections"] > connections)
        local_hub.publish("events", b"after", partition="0")
        await got.until(lambda: "after" in got.bodies)


async def test_a_mute_hub_accepts_and_says_nothing_ever(local_hub: LocalHub, eventually: Fixture) -> None:
    with local_hub.faults.mute():
        reader, writer = await asyncio.open_connection("127.0.0.1", local_hub.port)
        writer.write(b"AMQP\x03\x01\x00\x00")
        await eventually(lambda: local_hub.stats()["open_connections"] == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
    writer.write(b"AMQP\x03\x01\x00\x00")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read(1)
    later_reader, later_writer = await asyncio.open_connection("127.0.0.1", local_hub.port)
    later_writer.write(b"AMQP\x03\x01\x00\x00")
    assert await later_reader.readexactly(8) == b"AMQP\x03\x01\x00\x00"
    for each in (writer, later_writer):
        each.close()
        await each.wait_closed()


async def test_a_refusing_hub_closes_at_once(local_hub: LocalHub, producer: Fixture) -> None:
    with local_hub.faults.refuse():
        async with producer(local_hub, retry_total=0) as client:
            with pytest.raises(EventHubError):
                await client.get_eventhub_properties()
    async with producer(local_hub) as client:
        assert (await client.get_eventhub_properties())["eventhub_name"] == "events"


async def test_a_closed_port_refuses_and_opens_again_under_the_same_number(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    port = local_hub.port
    async with receiving(local_hub, partition_id="0") as got:
        local_hub.publish("events", b"before", partition="0")
        await got.count(1)
        local_hub.pause_listening()
        local_hub.faults.drop_connections()
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)
        await local_hub.resume_listening()
        assert local_hub.port == port
        local_hub.publish("events", b"after", partition="0")
        await got.until(lambda: "after" in got.bodies)


async def test_a_busy_hub_rejects_what_is_sent(local_hub: LocalHub, producer: Fixture) -> None:
    async with producer(local_hub, retry_total=0) as client:
        with local_hub.faults.busy("events", "0"):
            with pytest.raises(EventDataSendError, match="busy"):
                await client.send_event(EventData("refused"), partition_id="0")
            await client.send_event(EventData("elsewhere"), partition_id="1")
        await client.send_event(EventData("accepted"), partition_id="0")
    assert [event.body for event in local_hub.log("events", "0")] == [b"accepted"]
    assert local_hub.stats()["rejected"] == 1


async def test_a_busy_hub_detaches_receivers_and_takes_no_new_ones(
    local_hub: LocalHub, eventually: Fixture, receiving: Fixture
) -> None:
    async with receiving(local_hub, partition_id="0", retry_total=0) as old:
        await eventually(lambda: local_hub.stats()["open_links"] == 1)
        with local_hub.faults.busy("events", "0"):
            assert "server-busy" in str(await old.error())
            async with receiving(local_hub, partition_id="0", retry_total=0) as new:
                assert "server-busy" in str(await new.error())
            local_hub.publish("events", b"event", partition="1")
            async with receiving(local_hub, partition_id="1") as other:
                await other.count(1)


async def test_denied_tokens_are_authentication_errors(local_hub: LocalHub, producer: Fixture) -> None:
    with local_hub.faults.deny_tokens():
        async with producer(local_hub, retry_total=0) as client:
            with pytest.raises(AuthenticationError):
                await client.send_event(EventData("event"), partition_id="0")
    async with producer(local_hub) as client:
        await client.send_event(EventData("event"), partition_id="0")


async def test_slow_delivery_is_no_faster_than_asked(local_hub: LocalHub, receiving: Fixture) -> None:
    local_hub.publish("events", *[b"%d" % index for index in range(20)], partition="0")
    with local_hub.faults.slow(10, "events", "0"):
        began_s = time.monotonic()
        async with receiving(local_hub, partition_id="0") as got:
            await got.count(8)
            assert time.monotonic() - began_s >= 0.7
            assert len(got.events) < 20
            local_hub.faults.clear()
            await got.count(20)
    assert got.bodies == [str(index) for index in range(20)]


async def test_who_was_slowed_gets_the_rest_at_once_when_that_ends(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    async with receiving(local_hub, partition_id="0") as got:
        local_hub.publish("events", b"before", partition="0")
        await got.count(1)
        with local_hub.faults.slow(0.001, "events", "0"):
            local_hub.publish("events", b"slow", partition="0")
            await asyncio.sleep(0)  # the link's turn, in which it finds that nothing is due for long
        await got.count(2)
