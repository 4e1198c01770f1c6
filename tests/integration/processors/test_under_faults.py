"""Mails, forwarding and the archive while everything goes wrong: nothing lost, nothing overtaken."""

from __future__ import annotations

import gc
import uuid
from collections import defaultdict

import orjson
import pytest
from azure.eventhub.extensions.checkpointstoreblobaio._vendor.storage.blob.aio import ContainerClient

from consumer.testing import Faults, make_context, make_event, run_under_faults
from processors.archive import Archive
from processors.email import Email
from processors.forward import Forward

MODELS, VERSIONS = 6, 8
FAULTS = Faults(before=0.15, after=0.1, cut_off=0.2, crashes=2)


@pytest.fixture
def events():
    """Versions of some models; the versions of each have to stay in order."""
    return [
        make_event(
            "Microsoft.MachineLearningServices.ModelRegistered",
            f"models/m{model}:{version}",
            {"modelName": f"m{model}", "modelVersion": version},
        )
        for version in range(1, VERSIONS + 1)
        for model in range(MODELS)
    ]


@pytest.fixture
async def under_faults(events):
    """Runs a processor, and closes all that were made, those of processes that died too."""
    made = []

    async def run(make, seed):
        report = await run_under_faults(
            lambda: made.append(make()) or made[-1], events, seed=seed, faults=FAULTS
        )
        assert report.crashes == FAULTS.crashes
        assert report.dead_letters == []

    yield run
    for processor in made:
        await processor.close()
    gc.collect()


def judge(events, keys):
    """Every event is there, and of every model its versions came for the first time in order."""
    by_key = {make_context(event).idempotency_key: event for event in events}
    seen = defaultdict(list)
    for key in dict.fromkeys(keys):
        event = by_key.pop(key)
        seen[event.field("modelName")].append(event.field("modelVersion"))
    assert by_key == {}, "lost"
    assert all(versions == sorted(versions) for versions in seen.values())


@pytest.mark.parametrize(("seed", "group_s"), [(1, 0.0), (2, 0.02)], ids=["each its own", "grouped"])
async def test_every_event_is_told_in_turn(mail_server, authority, events, under_faults, seed, group_s):
    settings = {
        "host": "localhost",
        "port": mail_server.port,
        "ca_file": authority.ca_file,
        "username": "inturn",
        "password": "let me in",
        "from": "inturn@contoso.com",
        "to": ["ops@contoso.com"],
        "group_s": group_s,
    }
    await under_faults(lambda: Email(Email.Settings(**settings)), seed)
    judge(events, mail_server.keys)
    if group_s:
        assert len(mail_server.mails) < len(events)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the hub's client leaves broken connections
async def test_every_event_is_forwarded_in_turn(local_hub, events, under_faults):
    settings = {"hub": "events", "connection_string": local_hub.connection_string()}
    await under_faults(lambda: Forward(Forward.Settings(**settings)), 3)
    by_subject = {event.subject: make_context(event).idempotency_key for event in events}
    logs = [each for number in range(4) for each in local_hub.log("events", str(number))]
    judge(events, [by_subject[orjson.loads(each.body)[0]["subject"]] for each in logs])


async def test_every_event_is_archived_in_turn(azurite, events, under_faults):
    place = {"connection_string": azurite.connection_string, "container": f"test-{uuid.uuid4().hex}"}
    settings = {"blob": {**place, "create_container": True}}
    await under_faults(lambda: Archive(Archive.Settings(**settings)), 4)
    keys = []
    client = ContainerClient.from_connection_string(place["connection_string"], place["container"])
    async with client:
        names = [blob.name async for blob in client.list_blobs()]
        for name in names:
            content = await (await client.download_blob(name)).readall()
            keys += [orjson.loads(line)["idempotency_key"] for line in content.splitlines()]
    assert set(keys) == {make_context(event).idempotency_key for event in events}
