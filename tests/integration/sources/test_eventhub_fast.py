"""What the fast receive path does for itself: everything that is not a plain delivery, and falling back."""

from __future__ import annotations

import asyncio

import pytest
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.amqp import AmqpAnnotatedMessage
from structlog.testing import capture_logs

from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.hub.links import ReceiverLink
from consumer.hub.settings import ServerLimits
from consumer.sources.eventhub import EventHubSource
from consumer.sources.eventhub_internals import open_links
from consumer.sources.eventhub_settings import EventHubSettings
from consumer.sources.eventhub_stream import WAITING_BYTES_MAX, Stream
from consumer.sources.eventhub_watchdog import SILENCE_S
from consumer.stores.memory import MemoryStore

both_paths = pytest.mark.parametrize("receive", ["fast", "sdk"])
GARBAGE = b"\x00\x00\x00\x01garbage"


def publish(hub, count, *, partition="0", first=0, body=b"%d"):
    hub.publish("events", *(body % number for number in range(first, first + count)), partition=partition)


def hub_with(**changes):
    hub = HubSettings(name="events", partitions=changes.pop("partitions", 1))
    return LocalHub(LocalHubSettings(hubs=(hub,), **changes))


def source_of(hub, receive="fast", **changes):
    settings = {"load_balancing_interval_s": 1, "connect_timeout_s": 5, "receive": receive} | changes
    return EventHubSource(
        EventHubSettings(connection_string=hub.connection_string("events"), **settings), MemoryStore()
    )


def receivers_at(hub):
    """The connections of a hub on which events are received."""
    return [
        peer
        for peer in hub._namespace.peers
        if any(isinstance(link, ReceiverLink) for link in peer.entity_links())
    ]


@both_paths
async def test_a_message_of_many_frames_arrives_whole_between_small_ones(running, intake, until, receive):
    bodies = [
        b"%d" % number + bytes(size) for number, size in enumerate([0, 70_000, 1_000_000, 9, 65_500, 1])
    ]
    async with hub_with(limits=ServerLimits(frame_bytes_max=64 * 1024)) as hub:
        hub.publish("events", *bodies, partition="0")
        async with running(source := source_of(hub, receive), intake):
            await until(lambda: intake.total == len(bodies))
            assert source.path("0") == receive
    assert intake.bodies["0"] == bodies


@pytest.mark.slow
async def test_a_connection_dropped_in_the_middle_of_large_messages_repeats_nothing(running, intake, until):
    bodies = [b"%d" % number + bytes(300_000) for number in range(30)]
    async with hub_with(limits=ServerLimits(frame_bytes_max=32 * 1024)) as hub:
        hub.publish("events", *bodies, partition="0")
        async with running(source := source_of(hub), intake):
            for count in (1, 8, 15):
                await until(lambda: intake.total >= count)  # noqa: B023 - awaited at once
                hub.faults.drop_connections("events", "0")
            await until(lambda: intake.total == len(bodies))
            counts = source.counts("0")
    assert intake.bodies["0"] == bodies
    assert (counts.redelivered, counts.gaps) == (0, 0)


async def test_many_partitions_are_read_side_by_side(running, intake, until):
    async with hub_with(partitions=32) as hub:
        for partition in range(32):
            publish(hub, 40, partition=str(partition))
        async with running(source := source_of(hub), intake):
            await until(lambda: intake.total == 32 * 40)
            assert {source.path(str(partition)) for partition in range(32)} == {"fast"}
    assert all(numbers == list(range(40)) for numbers in intake.numbers.values())


async def test_bodies_that_are_no_bytes_are_read_as_the_client_reads_them(
    local_hub, make_source, make_intake, running, until
):
    odd = [
        AmqpAnnotatedMessage(data_body=[b"two ", b"sections"]),
        AmqpAnnotatedMessage(value_body={"a": 1}),
        AmqpAnnotatedMessage(sequence_body=[[1, "b"], ["c"]]),
        AmqpAnnotatedMessage(value_body="text"),
    ]
    connection_string = local_hub.connection_string("events")
    async with EventHubProducerClient.from_connection_string(connection_string) as producer:
        for message in odd:
            await producer.send_event(message, partition_id="0")
    publish(local_hub, 2)
    seen = {}
    for path in ("fast", "sdk"):
        intake = make_intake()
        async with running(make_source(receive=path), intake):
            await until(lambda: intake.total == 6)  # noqa: B023 - awaited at once
        seen[path] = intake.bodies["0"]
    assert seen["fast"] == seen["sdk"]
    assert seen["fast"][0] == b"two sections"
    assert seen["fast"][-1] == b"1"


@both_paths
async def test_a_token_is_renewed_on_a_link_that_goes_on(local_hub, make_source, running, intake, until):
    async with running(source := make_source(), intake):
        publish(local_hub, 3)
        await until(lambda: intake.total == 3 and local_hub.stats()["open_links"] >= 4)
        connections = local_hub.stats()["connections"]
        (receiver,) = open_links(source._session.client, "0")
        authenticator = receiver._handler._cbs_authenticator
        put_s = authenticator._token_put_time = 1
        authenticator._refresh_window = 10**9  # it is time
        await until(lambda: authenticator._token_put_time > put_s and authenticator._refresh_window < 10**9)
        publish(local_hub, 3, first=3)
        await until(lambda: intake.total == 6)
        await until(lambda: authenticator.auth_state.name == "OK")
        assert receiver._handler._cbs_authenticator is authenticator
        assert local_hub.stats()["connections"] - connections <= 2 * 4  # questions, but no new link
    assert intake.count("revoked", "0") == 1


async def test_events_come_while_a_token_takes_long_to_be_had(local_hub, make_source, running, intake, until):
    async with running(source := make_source(), intake):
        await until(lambda: len(intake.owned) == 4)
        await until(lambda: [each.running for each in open_links(source._session.client)] == [True] * 4)
        asked, may_answer = asyncio.Event(), asyncio.Event()
        inner = source._session.credential._inner
        get_token = inner.get_token

        async def slow(*scopes, **options):
            asked.set()
            await may_answer.wait()
            return await get_token(*scopes, **options)

        inner.get_token = slow
        (receiver,) = open_links(source._session.client, "0")
        receiver._handler._cbs_authenticator._refresh_window = 10**9  # it is time
        await asked.wait()
        publish(local_hub, 3)
        await until(lambda: intake.total == 3)
        await asyncio.sleep(SILENCE_S + 1)
        assert intake.count("revoked") == 0
        may_answer.set()
        publish(local_hub, 3, first=3)
        await until(lambda: intake.total == 6)


@both_paths
async def test_a_hub_that_wants_signs_of_life_gets_them_though_nothing_happens(
    running, intake, until, receive
):
    async with hub_with(limits=ServerLimits(idle_timeout_ms=1_500)) as hub:
        async with running(source_of(hub, receive), intake):
            await until(lambda: receivers_at(hub))
            peers = receivers_at(hub)
            await asyncio.sleep(4)
            assert receivers_at(hub) == peers
            publish(hub, 1)
            await until(lambda: intake.total == 1)
        assert hub.stats()["idle_drops"] == 0


async def test_what_nobody_foresaw_makes_a_partition_go_on_with_the_clients_own_loop(
    local_hub, make_source, running, intake, until, monkeypatch
):
    async def unforeseen(self):
        raise AttributeError("Something has another name.")

    source = make_source()
    publish(local_hub, 500)
    with capture_logs() as logs:
        async with running(source, intake):
            await until(lambda: intake.total == 500)
            monkeypatch.setattr(Stream, "_check", unforeseen)
            await until(lambda: source.path("0") == "sdk")
            publish(local_hub, 500, first=500)
            await until(lambda: intake.total == 1_000)
    assert intake.numbers["0"] == list(range(1_000))
    assert intake.count("revoked", "0") == 1
    told = [entry for entry in logs if "does not know" in entry["event"] and entry["partition"] == "0"]
    assert [entry["log_level"] for entry in told] == ["warning"]


async def test_garbage_closes_the_link_and_reading_goes_on_behind_what_came(
    local_hub, make_source, running, intake, until
):
    source = make_source()
    publish(local_hub, 50)
    with capture_logs() as logs:
        async with running(source, intake):
            await until(lambda: intake.total == 50 and len(receivers_at(local_hub)) >= 4)
            for peer in receivers_at(local_hub):
                peer.outlet.send_raw([GARBAGE])
            await until(lambda: sum("could not be read" in entry["event"] for entry in logs) == 4)
            publish(local_hub, 50, first=50)
            await until(lambda: intake.total == 100)
            assert source.path("0") == "fast"
    assert intake.numbers["0"] == list(range(100))
    assert source.counts("0").redelivered == 0


async def test_a_hub_that_sends_nothing_but_garbage_is_left_to_the_clients_own_loop(
    running, intake, until, monkeypatch
):
    send = ReceiverLink._send
    left = iter(range(3))

    def damaged(self, messages):
        if next(left, None) is not None:
            self._session.carrier.outlet.send_raw([GARBAGE])
        send(self, messages)

    monkeypatch.setattr(ReceiverLink, "_send", damaged)
    async with hub_with() as hub:
        publish(hub, 20)
        async with running(source := source_of(hub), intake):
            await until(lambda: intake.total == 20)
            assert source.path("0") == "sdk"
    assert intake.numbers["0"] == list(range(20))


async def test_what_waits_to_be_handed_over_has_a_limit_in_bytes(running, intake, until):
    intake.may_receive.clear()
    async with hub_with() as hub:
        for number in range(20):
            hub.publish("events", *[b"%d" % number + bytes(200_000)] * 20, partition="0")
        async with running(source := source_of(hub, batch_max=1), intake):
            await until(lambda: intake.waiting)
            inbox = source._session.leases["0"].receiving._inbox
            await until(lambda: inbox.waiting_bytes > WAITING_BYTES_MAX)
            await asyncio.sleep(1)
            assert inbox.waiting_bytes < WAITING_BYTES_MAX + 1024 * 1024
            intake.may_receive.set()
            await until(lambda: intake.total == 400)
    assert intake.numbers["0"] == list(range(400))


async def test_the_hub_has_credit_left_when_it_is_given_more(running, intake, until, monkeypatch):
    left = []
    on_flow = ReceiverLink.on_flow

    def recorded(self, credit, delivery_count, *, drain):
        if delivery_count:
            left.append(self._credit)
        on_flow(self, credit, delivery_count, drain=drain)

    monkeypatch.setattr(ReceiverLink, "on_flow", recorded)
    async with hub_with() as hub:
        with hub.faults.slow(400, "events", "0"):
            async with running(source_of(hub, prefetch=100), intake):
                publish(hub, 600)
                await until(lambda: intake.total == 600)
    assert len(left) > 6
    # The client's own loop waits until nothing is left.
    assert min(left) > 0


async def test_no_credit_is_given_while_nothing_is_taken(running, intake, until):
    intake.may_receive.clear()
    async with hub_with() as hub:
        publish(hub, 1_000)
        async with running(source_of(hub, prefetch=100), intake):
            await until(lambda: intake.waiting and hub.stats()["delivered"] >= 100)
            publish(hub, 1_000, first=1_000)
            await asyncio.sleep(0.5)
            assert hub.stats()["delivered"] <= 100 + 1  # the question for the group may have had one
            intake.may_receive.set()
            await until(lambda: intake.total == 2_000)
    assert intake.numbers["0"] == list(range(2_000))
