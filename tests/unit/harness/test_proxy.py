"""The proxy does to connections what it says, and undoes it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from harness.proxy import Way, open_proxy

PATIENCE_S = 10.0
SILENCE_S = 0.2


@pytest.fixture
async def proxy():
    """A proxy before a server that sends back what it gets."""
    writers = []

    async def echo(reader, writer):
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
            writer.write(b"goodbye")
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        async with open_proxy(server.sockets[0].getsockname()[1]) as running:
            yield running
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@pytest.fixture
async def connect(proxy):
    opened = []

    async def open_connection():
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        opened.append(writer)
        return reader, writer

    yield open_connection
    for writer in opened:
        writer.transport.abort()
    await asyncio.sleep(0)


async def echoed(reader, writer, data=b"hello"):
    writer.write(data)
    async with asyncio.timeout(PATIENCE_S):
        return await reader.readexactly(len(data)) == data


async def is_silent(reader):
    try:
        async with asyncio.timeout(SILENCE_S):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def is_reset(reader):
    async with asyncio.timeout(PATIENCE_S):
        try:
            await reader.read(100_000)
        except ConnectionResetError:
            return True
    return False


async def test_what_is_sent_passes_and_comes_back(connect):
    assert await echoed(*await connect())
    assert await echoed(*await connect(), b"x" * 1_000_000)


async def test_an_orderly_end_is_passed_on_and_the_answer_to_it_too(connect, proxy):
    reader, writer = await connect()
    writer.write_eof()
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.read() == b"goodbye"
        while proxy.connections:  # noqa: ASYNC110 - the proxy sets no event
            await asyncio.sleep(0.01)


async def test_a_reset_is_a_reset_and_new_connections_are_well(connect, proxy):
    reader, writer = await connect()
    assert await echoed(reader, writer)
    assert proxy.reset() == 1
    assert await is_reset(reader)
    assert await echoed(*await connect())


async def test_a_black_hole_passes_nothing_on_until_it_is_healed(connect, proxy):
    reader, writer = await connect()
    assert await echoed(reader, writer)
    proxy.black_hole()
    writer.write(b"later")
    new_reader, new_writer = await connect()
    new_writer.write(b"later")
    assert await is_silent(reader)
    assert await is_silent(new_reader)
    await proxy.heal()
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.readexactly(5) == b"later"
        assert await new_reader.readexactly(5) == b"later"


@pytest.mark.parametrize("way", Way)
async def test_a_black_hole_of_one_way_leaves_the_other_open(connect, proxy, way):
    reader, writer = await connect()
    proxy.black_hole([way])
    writer.write(b"later")
    assert await is_silent(reader)
    await proxy.heal()
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.readexactly(5) == b"later"


async def test_a_connection_that_died_in_a_black_hole_stays_dead(connect, proxy):
    reader, writer = await connect()
    proxy.black_hole(for_good=True)
    new_reader, new_writer = await connect()
    await proxy.heal()
    writer.write(b"later")
    new_writer.write(b"later")
    assert await is_silent(reader)
    assert await is_silent(new_reader)
    assert await echoed(*await connect())


async def test_of_a_half_closed_connection_one_way_ends(connect, proxy):
    reader, writer = await connect()
    assert await echoed(reader, writer)
    assert proxy.half_close(Way.IN) == 1
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.read() == b""
    writer.write(b"is still taken")
    await writer.drain()
    assert proxy.connections == 1


async def test_a_slow_connection_is_late_and_narrow_until_it_is_healed(connect, proxy):
    loop = asyncio.get_running_loop()
    reader, writer = await connect()
    proxy.slow(latency_s=0.1, bytes_per_s=10_000)
    began_s = loop.time()
    assert await echoed(reader, writer, b"x" * 2_000)
    assert loop.time() - began_s >= 0.3  # both ways late, and 0.2 s for the bytes of each
    await proxy.heal()
    assert await echoed(reader, writer, b"x" * 100_000)


async def test_a_connection_is_cut_after_so_many_bytes(connect, proxy):
    reader, writer = await connect()
    assert await echoed(reader, writer, b"x" * 1_000)
    proxy.cut_after(1_000)
    assert await echoed(reader, writer, b"x" * 400)
    writer.write(b"x" * 400)
    assert await is_reset(reader)
    await proxy.heal()
    assert await echoed(*await connect(), b"x" * 10_000)


async def test_a_closed_port_refuses_and_opens_again_as_the_same_one(connect, proxy):
    reader, writer = await connect()
    assert await echoed(reader, writer)
    port = proxy.port
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect()
    assert await echoed(reader, writer)
    await proxy.heal()
    assert proxy.port == port
    assert await echoed(*await connect())
