"""The archive in blobs, by the real Azurite: by hour, one writer a blob, nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import gzip
import time
import uuid

import orjson
import pytest
from azure.core.credentials import AccessToken
from azure.eventhub.extensions.checkpointstoreblobaio._vendor.storage.blob.aio import (
    BlobClient,
    ContainerClient,
)
from harness.proxy import open_proxy
from pydantic import ValidationError

from consumer.errors import ProcessorSettingsError, StoreUnavailable
from consumer.processor import Context, Retry
from processors import archive_blobs
from processors.archive import Archive

SIX_MS = 1_795_240_800_000  # 2026-11-21T06:00:00Z
HOUR_MS = 3_600_000


@pytest.fixture
def place(azurite):
    """A container of the test's own, which is made."""
    return {
        "connection_string": azurite.connection_string,
        "container": f"test-{uuid.uuid4().hex}",
        "prefix": "events/ml",
        "create_container": True,
    }


@pytest.fixture
async def make_archive(place):
    """Makes archives in the container, and closes them."""
    made = []

    async def make(*, blob=None, **settings):
        archive = Archive(Archive.Settings(blob={**place, **(blob or {})}, **settings))
        await archive.open()
        made.append(archive)
        return archive

    yield make
    for archive in made:
        await archive.close()


async def blobs(place):
    """Everything in the container, by name."""
    found = {}
    client = ContainerClient.from_connection_string(place["connection_string"], place["container"])
    async with client:
        async for blob in client.list_blobs():
            found[blob.name] = await (await client.download_blob(blob.name)).readall()
    return found


async def numbers(place):
    """The sequence numbers of all lines, in the order of the blobs' names."""
    return [
        orjson.loads(line)["sequence_number"]
        for _, content in sorted((await blobs(place)).items())
        for line in content.splitlines()
    ]


async def test_events_lie_in_the_hour_in_which_the_hub_took_them(place, make_archive, handle, event):
    archive = await make_archive()
    hours = [SIX_MS, SIX_MS + HOUR_MS - 1, SIX_MS + HOUR_MS, SIX_MS + 18 * HOUR_MS]
    events = [event(sequence_number=n, enqueued_time_ms=time) for n, time in enumerate(hours)]
    await handle(archive, events)
    found = await blobs(place)
    folders = {
        name.rpartition("/")[0]: [orjson.loads(line)["sequence_number"] for line in content.splitlines()]
        for name, content in found.items()
    }
    assert folders == {
        "events/ml/2026/11/21/06": [0, 1],
        "events/ml/2026/11/21/07": [2],
        "events/ml/2026/11/22/00": [3],
    }


async def test_a_line_is_the_same_as_in_a_file(place, make_archive, handle, event):
    await handle(await make_archive(), [event()])
    ((_, content),) = (await blobs(place)).items()
    assert content.endswith(b"\n")
    assert orjson.loads(content)["idempotency_key"] == "key-id-7"
    assert orjson.loads(content)["data"] == orjson.loads(event().original)


async def test_batches_are_appended_to_one_blob_in_order(place, make_archive, handle, event):
    archive = await make_archive()
    for batch in range(5):
        await handle(archive, [event(sequence_number=10 * batch + n) for n in range(10)])
    assert len(await blobs(place)) == 1
    assert await numbers(place) == list(range(50))


async def test_replicas_and_lanes_side_by_side_never_mix_their_lines(place, make_archive, handle, event):
    replicas = [await make_archive(), await make_archive(blob={"create_container": False})]
    async with asyncio.TaskGroup() as lanes:
        for lane in range(20):
            events = [event(sequence_number=100 * lane + n) for n in range(10)]
            lanes.create_task(handle(replicas[lane % 2], events))
    assert len(await blobs(place)) == 2
    got = await numbers(place)
    assert sorted(got) == sorted(100 * lane + n for lane in range(20) for n in range(10))
    assert all(got[at : at + 10] == list(range(got[at], got[at] + 10)) for at in range(0, 200, 10))


async def test_a_blob_is_finished_before_it_is_too_large_or_has_too_many_blocks(
    place, make_archive, handle, event, monkeypatch
):
    monkeypatch.setattr(archive_blobs, "BLOCKS_MAX", 3)
    archive = await make_archive()
    for number in range(7):
        await handle(archive, [event(sequence_number=number)])
    assert len(await blobs(place)) == 3
    small = await make_archive(rotate_mb=0.001)
    for number in range(7, 10):
        await handle(small, [event(sequence_number=number), event(sequence_number=number)])
    assert len(await blobs(place)) == 6
    assert sorted(set(await numbers(place))) == list(range(10))


async def test_a_batch_larger_than_a_block_is_several(place, make_archive, handle, event):
    archive = await make_archive()
    large = orjson.dumps({"x": "y" * 1_000_000})
    await handle(archive, [event(sequence_number=number, original=large) for number in range(9)])
    assert await numbers(place) == list(range(9))


async def test_packed_blobs_can_be_read_as_a_whole(place, make_archive, handle, event):
    archive = await make_archive(compress="gzip")
    for number in range(3):
        await handle(archive, [event(sequence_number=number)])
    ((name, content),) = (await blobs(place)).items()
    assert name.endswith(".jsonl.gz")
    lines = gzip.decompress(content).splitlines()
    assert [orjson.loads(line)["sequence_number"] for line in lines] == [0, 1, 2]


async def test_a_lost_answer_writes_no_line_twice(place, make_archive, handle, event, monkeypatch):
    archive = await make_archive()
    await handle(archive, [event(sequence_number=0)])
    real = BlobClient.append_block

    async def sent_twice(self, data, **options):
        await real(self, data, **options)
        data.seek(0)
        return await real(self, data, **options)

    with monkeypatch.context() as unlucky:
        unlucky.setattr(BlobClient, "append_block", sent_twice)
        await handle(archive, [event(sequence_number=1)])
    await handle(archive, [event(sequence_number=2)])
    assert await numbers(place) == [0, 1, 2]
    assert len(await blobs(place)) == 1


async def test_a_storage_that_is_away_loses_nothing_and_what_follows_goes_elsewhere(
    azurite, place, make_archive, handle, event
):
    async with open_proxy(azurite.port) as proxy:
        through = place["connection_string"].replace(f":{azurite.port}/", f":{proxy.port}/")
        archive = await make_archive(blob={"connection_string": through})
        await handle(archive, [event(sequence_number=0)])
        proxy.refuse()
        proxy.reset()
        with pytest.raises(Retry, match="does not take the archive: no answer"):
            await handle(archive, [event(sequence_number=1)])
        await proxy.heal()
        await handle(archive, [event(sequence_number=1)], attempt=2)
        assert await numbers(place) == [0, 1]
        assert len(await blobs(place)) == 2


async def test_a_batch_that_fails_half_way_keeps_its_first_half_once(
    place, make_archive, handle, event, monkeypatch
):
    archive = await make_archive()
    events = [event(sequence_number=n, enqueued_time_ms=SIX_MS + n * HOUR_MS) for n in range(3)]
    real, calls = BlobClient.append_block, []

    async def second_fails(self, data, **options):
        calls.append(data)
        if len(calls) == 2:
            raise TimeoutError
        return await real(self, data, **options)

    with monkeypatch.context() as broken:
        broken.setattr(BlobClient, "append_block", second_fails)
        with pytest.raises(Retry):
            await handle(archive, events)
    await handle(archive, events, attempt=2)
    assert await numbers(place) == [0, 1, 2]


async def test_a_container_that_is_missing_keeps_it_from_opening(make_archive):
    with pytest.raises(StoreUnavailable, match="does not exist; create it"):
        await make_archive(blob={"create_container": False})


async def test_a_wrong_key_keeps_it_from_opening_and_is_not_told(azurite, place, make_archive):
    wrong = azurite.connection_string_with("d3Jvbmc=")
    with pytest.raises(StoreUnavailable, match="access is refused") as raised:
        await make_archive(blob={"connection_string": wrong})
    assert "d3Jvbmc" not in str(raised.value)


async def test_an_identity_is_asked_for_a_token_and_let_go(place, make_archive, monkeypatch):
    asked, closed = [], []

    class Identity:
        async def get_token(self, *scopes, **_):
            asked.extend(scopes)
            return AccessToken("a token", int(time.time()) + 3_600)

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            closed.append(True)

    monkeypatch.setattr(archive_blobs, "credential_of", lambda *_: Identity())
    monkeypatch.setitem(archive_blobs._OPTIONS, "retry_total", 0)
    with pytest.raises(StoreUnavailable, match="no answer"):
        await make_archive(blob={"connection_string": None, "account_url": "https://127.0.0.1:1/a"})
    assert set(asked) == {"https://storage.azure.com/.default"}
    assert closed


async def test_what_is_no_connection_string_keeps_it_from_opening(make_archive):
    with pytest.raises(ProcessorSettingsError, match="not one of a storage account"):
        await make_archive(blob={"connection_string": "nonsense"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "either path or blob"),
        ({"path": "p", "blob": {"container": "abc", "connection_string": "x"}}, "either path or blob"),
        ({"blob": {"container": "abc"}}, "exactly one of"),
        ({"blob": {"container": "abc", "connection_string": "x", "client_id": "c"}}, "no effect"),
        ({"blob": {"container": "abc", "connection_string": "x"}, "fsync": "never"}, "no effect on blobs"),
        ({"blob": {"container": "abc", "connection_string": "x", "prefix": "a/../b"}}, "match pattern"),
        ({"blob": {"container": "abc", "connection_string": "x", "prefix": "/a"}}, "match pattern"),
        ({"blob": {"container": "abc", "account_url": "http://a.blob.core.windows.net"}}, "match pattern"),
    ],
)
def test_what_cannot_work_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Archive.Settings.model_validate(settings)


def test_a_preview_says_where_the_line_would_be(place, event):
    archive = Archive(Archive.Settings(blob=place))
    said = archive.preview(event(), Context("keep", 1, [event()], lambda _: "key"))
    assert said["folder"] == "events/ml/2026/11/21/06/"
    assert said["line"]["idempotency_key"] == "key"
