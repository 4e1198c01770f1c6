"""Requests to a real HTTPS server: where they go, and how much of an answer is taken."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from consumer.errors import ProcessorSettingsError
from processors.outbound import ANSWER_MAX_BYTES, Outbound, OutboundSettings, Unanswered

NAME = "hooks.example.com"


@asynccontextmanager
async def opened(url: str, resolve=None, **given) -> AsyncIterator[Callable]:
    settings = OutboundSettings(**given)
    outbound = Outbound(settings.target(url), settings, resolve)
    await outbound.open()

    async def post(to: str = url):
        return await outbound.request("POST", to, {"Content-Type": "text/plain"}, b"hello")

    try:
        yield post
    finally:
        await outbound.close()


def to_this_machine(*others: str) -> Callable:
    """A name service that knows every name as this machine."""
    answers = [["127.0.0.1"], *([other] for other in others)]
    asked = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    resolve.asked = asked
    return resolve


async def test_the_host_stays_the_name_for_tls_and_in_the_request(endpoint, authority):
    url = f"https://{NAME}:{endpoint.port}/path?a=%2Fb"
    trust = {"ca_file": authority.ca_file, "ports": (endpoint.port,), "allow_private_hosts": (NAME,)}
    async with opened(url, to_this_machine(), **trust) as post:
        assert (await post()).status == 204
    request = endpoint.requests[0]
    assert request.headers["Host"] == f"{NAME}:{endpoint.port}"
    assert (request.path, request.body) == ("/path?a=%2Fb", b"hello")
    assert request.headers["User-Agent"] == "inturn"


async def test_a_connection_is_used_again(endpoint, chosen):
    endpoint.answer = lambda _: web.Response(body=b"x" * 1_000)
    async with opened(endpoint.url, **chosen) as post:
        for _ in range(5):
            await post()
    assert len({request.peer for request in endpoint.requests}) == 1


async def test_a_name_that_is_resolved_anew_to_another_address_is_checked_anew(endpoint, authority):
    """DNS rebinding: the answer that was checked is the one that is connected to."""
    url = f"https://{NAME}:{endpoint.port}/"
    resolve = to_this_machine("127.0.0.1", "169.254.169.254")
    trust = {"ca_file": authority.ca_file, "ports": (endpoint.port,), "allow_private_hosts": (NAME,)}
    async with opened(url, resolve, **trust) as post:
        endpoint.answers(204, Connection="close")
        await post()  # one answer for the opening, one for this connection, the next one leads astray
        with pytest.raises(
            Unanswered, match=r"has the address 169\.254\.169\.254, which is a metadata service"
        ):
            await post()
    assert resolve.asked == [NAME] * 3  # once for a connection, so that there is nothing to change in between
    assert len(endpoint.requests) == 1


async def test_a_host_with_an_address_that_is_not_allowed_keeps_inturn_from_starting(authority):
    with pytest.raises(
        ProcessorSettingsError, match="which is private: list the host in `allow_private_hosts`"
    ):
        async with opened(f"https://{NAME}/", to_this_machine()):
            pass


async def test_a_name_that_is_not_known_yet_is_no_reason_not_to_start():
    async def unknown(_host, _port):
        raise OSError("no such name")

    async with opened(f"https://{NAME}/", unknown) as post:
        with pytest.raises(Unanswered, match=rf"^the name {NAME} is not known$"):
            await post()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_never_followed(endpoint, chosen, status):
    endpoint.answers(status, Location="http://169.254.169.254/metadata/instance")
    async with opened(endpoint.url, **chosen) as post:
        assert (await post()).status == status
    assert len(endpoint.requests) == 1


async def test_a_request_goes_to_no_other_host_than_was_opened(endpoint, chosen):
    async with opened(endpoint.url, **chosen) as post:
        for url in ("https://evil.example/", f"https://localhost:{endpoint.port}/", "http://127.0.0.1/"):
            with pytest.raises(Unanswered, match=r"^the URL "):
                await post(url)
    assert endpoint.requests == []


async def test_a_certificate_of_nobody_we_trust_is_refused(endpoint, chosen):
    del chosen["ca_file"]
    async with opened(endpoint.url, **chosen) as post:
        with pytest.raises(Unanswered, match=r"^the certificate of https://127\.0\.0\.1:.* is not trusted: "):
            await post()
    assert endpoint.requests == []


async def test_a_certificate_of_another_name_is_refused(endpoint, authority):
    url = f"https://other.example:{endpoint.port}/"
    trust = {
        "ca_file": authority.ca_file,
        "ports": (endpoint.port,),
        "allow_private_hosts": ("other.example",),
    }
    async with opened(url, to_this_machine(), **trust) as post:
        with pytest.raises(Unanswered, match="is not trusted: Hostname mismatch"):
            await post()


async def test_a_file_of_certificates_that_is_none_keeps_inturn_from_starting(tmp_path, chosen, endpoint):
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(ProcessorSettingsError, match=r"^ca_file: .* cannot be used"):
            async with opened(endpoint.url, **{**chosen, "ca_file": tmp_path / name}):
                pass


async def test_proxies_of_the_environment_are_not_used(endpoint, chosen, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with opened(endpoint.url, **chosen) as post:
        assert (await post()).status == 204


async def test_cookies_of_an_answer_do_not_come_back(endpoint, chosen):
    endpoint.answers(204, Set_Cookie="a=b")
    chosen["allow_private_hosts"] = (NAME,)  # a name, for nobody keeps cookies of an address
    async with opened(f"https://{NAME}:{endpoint.port}/", to_this_machine(), **chosen) as post:
        await post()
        await post()
    assert "Cookie" not in endpoint.requests[1].headers


async def test_of_a_huge_answer_no_more_is_read_than_the_limit(endpoint, chosen):
    sent = []

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hello")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent.append(65_536)
        except OSError:
            writer.close()

    async with raw_server(pour, endpoint.tls) as port:
        chosen["ports"] = (port,)
        async with opened(f"https://127.0.0.1:{port}/", **chosen) as post:
            assert (await post()).status == 200
    # What is on its way through the sockets' buffers was sent, and is a few megabytes at most.
    assert sum(sent) < 1_000_000_000 / 10
    assert ANSWER_MAX_BYTES == 65_536


async def test_an_endless_answer_does_not_hold_the_request(endpoint, chosen, monkeypatch):
    """A slow loris: a byte from time to time, for ever."""
    monkeypatch.setattr("processors.outbound.DRAIN_MAX_S", 0.1)
    closed = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hello")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        await drip_until_closed(writer)
        closed.set()

    async with raw_server(drip, endpoint.tls) as port:
        chosen["ports"] = (port,)
        async with opened(f"https://127.0.0.1:{port}/", timeout_s=300, **chosen) as post:
            async with asyncio.timeout(10):
                assert (await post()).status == 200
                await closed.wait()


async def test_headers_that_never_end_are_cut_off_by_the_time_out(endpoint, chosen):
    closed = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"hello")
            writer.write(b"HTTP/1.1 200 OK\r\nX: ")
            await drip_until_closed(writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()  # cut off before it could say anything: the machine is busy
        finally:
            closed.set()

    async with raw_server(drip, endpoint.tls) as port:
        chosen["ports"] = (port,)
        async with opened(f"https://127.0.0.1:{port}/", timeout_s=0.3, **chosen) as post:
            with pytest.raises(Unanswered, match=r"^no answer from https://127\.0\.0\.1:\d+ in time$"):
                await post()
            await asyncio.wait_for(closed.wait(), 10)


async def test_a_compressed_answer_is_not_unpacked(endpoint, chosen):
    bomb = gzip.compress(b"0" * 50 * ANSWER_MAX_BYTES)
    assert len(bomb) < ANSWER_MAX_BYTES
    endpoint.answer = lambda _: web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
    async with opened(endpoint.url, **chosen) as post:
        for _ in range(2):
            assert (await post()).status == 200
    # It was short enough as it came, so that its connection was kept.
    assert len({request.peer for request in endpoint.requests}) == 1


async def test_a_request_that_is_cancelled_leaves_no_connection_behind(endpoint, chosen):
    arrived = asyncio.Event()

    async def hang(_):
        arrived.set()
        await asyncio.sleep(60)

    endpoint.answer = hang
    async with opened(endpoint.url, **chosen) as post:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(post())
            await arrived.wait()
            task.cancel()
        await endpoint.until(lambda: endpoint.connections == 0)


@asynccontextmanager
async def raw_server(serve, tls: ssl.SSLContext) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def drip_until_closed(writer: asyncio.StreamWriter) -> None:
    try:
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)
    except OSError:
        pass
    writer.close()
