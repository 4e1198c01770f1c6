"""What a blob store says when the storage refuses, vanishes or does not answer. Real Azurite, and a proxy."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from consumer.errors import FenceLost, StoreUnavailable
from consumer.events import Checkpoint, PartitionId
from consumer.stores import CopyKind
from consumer.stores.blob_container import BlobContainer
from consumer.stores.blob_dead_letters import BlobDeadLetters

PARTITION = PartitionId("contoso.servicebus.windows.net", "models", "$Default", "0")
NAMES = PARTITION[:3]
CLAIM = {
    "fully_qualified_namespace": PARTITION.namespace,
    "eventhub_name": PARTITION.hub,
    "consumer_group": PARTITION.group,
    "partition_id": "0",
    "owner_id": "me",
}


async def save(store, number=1, fence=""):
    return await store.save(PARTITION, Checkpoint(number, str(number)), f"state {number}".encode(), fence)


def every_call(store):
    return [
        store.load(PARTITION),
        save(store),
        save(store, fence='"0x1"'),
        store.keep(PARTITION, Checkpoint(1, "1"), b"state", CopyKind.GOOD),
        store.kept(PARTITION),
        store.probe(),
        store.partitions(),
        store.list_checkpoints(*NAMES),
        store.claim_ownership([CLAIM]),
    ]


async def unavailable(store, words):
    for call in every_call(store):
        with pytest.raises(StoreUnavailable, match=words) as caught:
            await call
        assert "\n" not in str(caught.value)


async def test_a_missing_container_is_named_with_what_to_do(open_blob_store):
    store = open_blob_store("no-such-container", create_container=False)
    await unavailable(store, "'no-such-container'.*does not exist. Create it, or configure create_container")


async def test_a_container_deleted_meanwhile_is_not_taken_for_a_lost_fence(open_blob_store):
    store = open_blob_store()
    fence = await save(store)
    await store._container.client.delete_container()
    with pytest.raises(StoreUnavailable, match="does not exist"):
        await save(store, 2, fence)


async def test_a_blob_deleted_meanwhile_is_a_lost_fence(open_blob_store):
    store = open_blob_store()
    fence = await save(store)
    await store._container.client.delete_blob("contoso.servicebus.windows.net/models/$default/checkpoint/0")
    with pytest.raises(FenceLost):
        await save(store, 2, fence)
    assert (await store.load(PARTITION)).fence == ""


async def test_a_wrong_key_is_refused_without_being_repeated(open_blob_store, azurite):
    key = base64.b64encode(b"wrong" * 12).decode()
    store = open_blob_store(connection_string=azurite.connection_string_with(key), create_container=False)
    await unavailable(store, "access is refused .* Check the key")
    with pytest.raises(StoreUnavailable) as caught:
        await store.probe()
    assert key not in str(caught.value)


async def test_a_key_that_is_no_key_is_refused(open_blob_store, azurite):
    store = open_blob_store(connection_string=azurite.connection_string_with("?"), create_container=False)
    with pytest.raises(StoreUnavailable):
        await store.load(PARTITION)


async def test_two_stores_that_create_the_container_at_once_both_go_on(open_blob_store):
    import asyncio

    await asyncio.gather(*(open_blob_store().probe() for _ in range(4)))


async def test_a_probe_leaves_no_blob(open_blob_store):
    store = open_blob_store()
    await store.probe()
    assert [blob async for blob in store._container.client.list_blobs()] == []


async def test_a_closed_store_says_so(open_blob_store):
    store = open_blob_store()
    await save(store)
    await store.close()
    await unavailable(store, "closed")


class Proxy:
    """Passes requests to Azurite, and can lose an answer, or turn it into a 503, after it was obeyed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.puts: list[str] = []
        self.lose_answers = 0
        self.fail_answers = 0
        self.cut_answers = 0
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        """What happens after the storage obeyed and before its answer is lost."""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        url = f"http://127.0.0.1:{self.port}{request.raw_path}"
        body = await request.read()
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(request.method, url, headers=request.headers, data=body or None) as answer,
        ):
            content = await answer.read()
            headers = CIMultiDict(answer.headers)
        for hop in ("Transfer-Encoding", "Content-Length", "Connection", "Keep-Alive"):
            headers.popall(hop, None)
        if request.method == "PUT" and ("/checkpoint/" in request.path or "/inturn/" in request.path):
            self.puts.append(f"{answer.status}")
            if self.lose_answers:
                self.lose_answers -= 1
                if self.meanwhile:
                    await self.meanwhile()
                request.transport.abort()
            elif self.fail_answers:
                self.fail_answers -= 1
                return web.Response(status=503, headers={"x-ms-error-code": "ServerBusy"})
        if request.method == "GET" and self.cut_answers and content:
            self.cut_answers -= 1
            cut = web.StreamResponse(status=answer.status, headers=headers)
            cut.content_length = len(content)
            await cut.prepare(request)
            await cut.write(content[: len(content) // 2])
            request.transport.abort()
            return cut
        return web.Response(status=answer.status, headers=headers, body=content)


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[tuple[Proxy, int]]:
    proxy = Proxy(port)
    runner = web.ServerRunner(web.Server(proxy))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield proxy, runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def proxied(azurite, open_blob_store):
    """A proxy, and a store that speaks through it to a container that is there."""
    await open_blob_store().probe()
    async with proxy_to(azurite.port) as (proxy, port):
        way = azurite.connection_string_with(key_of(azurite), port=port)
        store = open_blob_store(connection_string=way, create_container=False)
        yield proxy, store
        await store.close()


def key_of(azurite):
    return azurite.connection_string.split("AccountKey=")[1].split(";")[0]


async def test_an_answer_lost_on_the_way_is_not_a_lost_fence(proxied):
    """The HTTP client sends again by itself, and the storage refuses what it has obeyed already."""
    proxy, store = proxied
    fence = await save(store)
    proxy.lose_answers = 1
    newer = await save(store, 2, fence)
    assert proxy.puts == ["201", "201", "412"]
    stored = await store.load(PARTITION)
    assert (stored.checkpoint, stored.fence) == (Checkpoint(2, "2"), newer)
    await save(store, 3, newer)


async def test_an_answer_lost_for_good_means_unavailable_and_the_caller_finds_what_it_wrote(proxied):
    proxy, store = proxied
    proxy.lose_answers = 2
    with pytest.raises(StoreUnavailable, match="no answer"):
        await save(store)
    assert proxy.puts == ["201", "409"]  # the HTTP client's own resend, and no more
    stored = await store.load(PARTITION)
    assert stored.snapshot == b"state 1"


async def test_an_error_after_the_write_means_unavailable_and_nothing_is_sent_again(proxied):
    proxy, store = proxied
    fence = await save(store)
    proxy.fail_answers = 1
    with pytest.raises(StoreUnavailable, match="503 ServerBusy"):
        await save(store, 2, fence)
    assert proxy.puts == ["201", "201"]
    assert (await store.load(PARTITION)).checkpoint == Checkpoint(2, "2")


async def test_an_own_write_that_was_overtaken_is_a_lost_fence(proxied, open_blob_store):
    """Obeyed, answer lost, and another owner wrote before the resend: the partition is not ours."""
    proxy, store = proxied
    other = open_blob_store()

    async def overtake():
        await save(other, 5, (await other.load(PARTITION)).fence)

    fence = await save(store)
    proxy.lose_answers, proxy.meanwhile = 1, overtake
    with pytest.raises(FenceLost):
        await save(store, 2, fence)
    assert (await store.load(PARTITION)).checkpoint == Checkpoint(5, "5")


async def test_a_body_that_is_cut_on_its_way_is_never_taken_for_the_state(proxied):
    proxy, store = proxied
    fence = await save(store)
    await store.keep(PARTITION, Checkpoint(1, "1"), b"state 1", CopyKind.GOOD)
    for times in (1, 8):
        proxy.cut_answers = times
        try:
            stored = await store.load(PARTITION)
        except StoreUnavailable as error:
            assert "no answer" in str(error)  # noqa: PT017 - one of two ways that are both right
        else:
            assert (stored.snapshot, stored.fence) == (b"state 1", fence)
    proxy.cut_answers = 8
    with pytest.raises(StoreUnavailable):
        await store.kept(PARTITION)
    proxy.cut_answers = 0
    assert [copy.snapshot for copy in await store.kept(PARTITION)] == [b"state 1"]


async def test_a_copy_whose_answer_was_lost_is_there_once(proxied):
    proxy, store = proxied
    proxy.lose_answers = 1
    await store.keep(PARTITION, Checkpoint(1, "1"), b"state 1", CopyKind.GOOD)
    assert [copy.snapshot for copy in await store.kept(PARTITION)] == [b"state 1"]


async def test_claims_fail_when_the_storage_is_gone_and_giving_back_does_not(azurite, open_blob_store):
    await open_blob_store().probe()
    async with proxy_to(azurite.port) as (_, port):
        way = azurite.connection_string_with(key_of(azurite), port=port)
        store = open_blob_store(connection_string=way, create_container=False)
        (held,) = await store.claim_ownership([CLAIM])
    with pytest.raises(StoreUnavailable, match="no answer"):
        await store.claim_ownership([held])
    assert await store.claim_ownership([held | {"owner_id": ""}]) == []


async def test_dead_letters_that_cannot_be_kept_say_so(azurite):
    from consumer.events import DeadLetter, Position, Reason

    container = BlobContainer("no-such-container", connection_string=azurite.connection_string)
    letters = BlobDeadLetters(container)
    letter = DeadLetter("key", PARTITION, Position("0", 7, 0), Reason.REJECTED, "No.", b"{}", 1, 2)
    with pytest.raises(StoreUnavailable, match="does not exist"):
        await letters.put([letter, letter])
    with pytest.raises(StoreUnavailable, match="does not exist"):
        await letters.count()
    with pytest.raises(StoreUnavailable, match="does not exist"):
        [found async for found in letters.letters()]
    await letters.close()
