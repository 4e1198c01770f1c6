"""Starting, stopping, starting again; silence; and clients that talk nonsense."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consumer.errors import ConfigurationError, SourceUnavailable, StoreUnavailable
from consumer.hub import HubSettings, LocalHub, LocalHubSettings, ServerLimits
from consumer.hub import performatives as p
from consumer.hub.codec import Described, Symbol, UInt, ULong, encode

Fixture = Callable[..., Any]
# The client leaves the streams of broken connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore:loop is:ResourceWarning")
SASL = p.SASL_HEADER
AMQP = p.AMQP_HEADER
SASL_INIT = p.frame(0, encode(Described(ULong(p.SASL_INIT), [Symbol("ANONYMOUS")])), sasl=True)


def opening(*fields: object) -> bytes:
    """All that a client says until its connection is open."""
    return SASL + SASL_INIT + AMQP + p.frame(0, encode(Described(ULong(p.OPEN), list(fields))))


OPENING = opening("me")


async def test_events_outlive_the_hub_in_a_data_folder(
    tmp_path: Path, producer: Fixture, receiving: Fixture
) -> None:
    settings = LocalHubSettings(data_folder=tmp_path / "data")
    async with LocalHub(settings) as hub:
        hub.publish("events", b"one", b"two", partition="1", partition_key="key", properties={"n": 1})
        stored = hub.log("events", "1")
    async with LocalHub(settings) as hub:
        assert hub.log("events", "1") == stored
        hub.publish("events", b"three", partition="1")
        async with receiving(hub, partition_id="1", starting_position=stored[0].offset) as got:
            await got.count(2)
    assert got.bodies == ["two", "three"]
    assert got.events[0].partition_key == b"key"
    assert [event.sequence_number for event in got.events] == [1, 2]


async def test_two_hubs_cannot_share_a_data_folder(tmp_path: Path) -> None:
    settings = LocalHubSettings(data_folder=tmp_path)
    async with LocalHub(settings):
        with pytest.raises(StoreUnavailable, match="Another local hub"):
            await LocalHub(settings).start()
    async with LocalHub(settings):
        pass


async def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    async with LocalHub() as hub:
        with pytest.raises(SourceUnavailable, match=f"127.0.0.1:{hub.port}"):
            await LocalHub(LocalHubSettings(port=hub.port, data_folder=tmp_path)).start()
    async with LocalHub(LocalHubSettings(data_folder=tmp_path)):
        pass


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (LocalHubSettings(host="0.0.0.0"), "loopback"),
        (LocalHubSettings(hubs=(HubSettings(name="a"), HubSettings(name="A"))), "same name"),
        (LocalHubSettings(hubs=(HubSettings(name="../etc"),)), "cannot be a hub's name"),
        (LocalHubSettings(hubs=(HubSettings(name="a", partitions=0),)), "0 partitions"),
    ],
)
def test_wrong_settings_are_refused_in_words(settings: LocalHubSettings, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        LocalHub(settings)


async def test_beyond_loopback_needs_saying() -> None:
    async with LocalHub(LocalHubSettings(host="0.0.0.0", beyond_loopback=True)) as hub:
        assert hub.port


async def test_a_hub_that_stops_lets_its_clients_go_and_can_start_again(receiving: Fixture) -> None:
    settings = LocalHubSettings()
    async with LocalHub(settings) as hub:
        port = hub.port
        async with receiving(hub, partition_id="0") as got:
            hub.publish("events", b"event", partition="0")
            await got.count(1)
            await hub.close()
            assert hub.stats()["open_connections"] == 0
            await hub.start()
            assert hub.port == port
            hub.publish("events", b"next", partition="0")
            await got.until(lambda: "next" in got.bodies)


async def test_a_silent_client_is_dropped_and_a_living_one_is_not(receiving: Fixture) -> None:
    async with LocalHub(LocalHubSettings(limits=ServerLimits(idle_timeout_ms=2_000))) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(OPENING)
        async with receiving(hub, partition_id="0") as got, asyncio.timeout(30):
            said = await reader.read(-1)
            assert b"amqp:resource-limit-exceeded" in said
            assert hub.stats()["idle_drops"] == 1
            hub.publish("events", b"event", partition="0")
            await got.count(1)
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_wants_signs_of_life_gets_them(local_hub: LocalHub) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", local_hub.port)
    writer.write(opening("me", None, None, None, UInt(400)))
    async with asyncio.timeout(30):
        for _ in range(3):
            await reader.readuntil(p.EMPTY_FRAME)
    writer.close()
    await writer.wait_closed()


async def test_a_python_client_with_an_idle_timeout_stays_connected(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    async with receiving(local_hub, partition_id="0", idle_timeout=1) as got:
        local_hub.publish("events", b"event", partition="0")
        await got.count(1)
        connections = local_hub.stats()["connections"]
        await asyncio.sleep(2.5)  # longer than the time-out: that nothing happens can only be waited for
        local_hub.publish("events", b"next", partition="0")
        await got.count(2)
        assert local_hub.stats()["connections"] == connections


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", SASL),
        (b"AMQP\x02\x01\x00\x00", SASL),
        (SASL + b"\xff\xff\xff\xff\x02\x01\x00\x00", b""),
        (OPENING + b"\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x99\x45", b"amqp:decode-error"),
        (OPENING + b"\x00\x00\x00\x04\x02\x00\x00\x00", b"amqp:connection:framing-error"),
        (OPENING + p.frame(0, encode(Described(ULong(p.OPEN), ["me"]))), b"amqp:not-allowed"),
    ],
)
async def test_nonsense_ends_the_connection_of_whoever_said_it(
    local_hub: LocalHub, said: bytes, answer: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", local_hub.port)
    writer.write(said)
    async with asyncio.timeout(10):
        assert answer in await reader.read(-1)
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_does_not_take_what_it_asked_for_is_not_given_more(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    local_hub.publish("events", *[b"x" * 10_000] * 10_000, partition="0")
    async with receiving(local_hub, partition_id="0", prefetch=100_000) as got:
        await got.count(1)
        waiting = [peer._transport.get_write_buffer_size() for peer in local_hub._namespace.peers]
        assert waiting
        assert max(waiting) < 3_000_000


async def test_more_connections_than_allowed_are_turned_away() -> None:
    async with LocalHub(LocalHubSettings(limits=ServerLimits(connections_max=2))) as hub:
        streams = [await asyncio.open_connection("127.0.0.1", hub.port) for _ in range(3)]
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                assert await streams[2][0].read(1) == b""
        assert hub.stats()["open_connections"] == 2
        for _, writer in streams:
            writer.close()
            with contextlib.suppress(ConnectionResetError):
                await writer.wait_closed()


async def test_a_client_that_vanishes_frees_its_place(local_hub: LocalHub, eventually: Fixture) -> None:
    with socket.create_connection(("127.0.0.1", local_hub.port)) as client:
        client.sendall(SASL)
        await eventually(lambda: local_hub.stats()["open_connections"] == 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await eventually(lambda: local_hub.stats()["open_connections"] == 0)
