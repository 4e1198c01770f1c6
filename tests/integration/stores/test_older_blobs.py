"""Blobs of dead letters that an inturn without objects in them has written, in real storage."""

from __future__ import annotations

import json
import uuid

import msgspec
import pytest
from harness.older_letter import LETTER, PARTITION

from consumer.events import Reason
from consumer.stores import LetterFilter
from consumer.stores.blob_container import BlobContainer
from consumer.stores.blob_dead_letters import BlobDeadLetters

DOCUMENT = {
    **dict(zip(("namespace", "hub", "consumer_group", "partition"), PARTITION, strict=True)),
    "key": "key",
    "sequence_number": 7,
    "element": 0,
    "reason": "rejected",
    "error": "No.",
    "processor": "deploy",
    "attempts": 5,
    "enqueued_time_ms": 1,
    "dead_lettered_at_ms": 2,
    "event_id": "1",
    "event_type": "T",
    "topic": "/t",
    "subject": "s",
    "original": "e30=",
    "original_text": "{}",
}
NAME = "contoso.servicebus.windows.net/models/$default/dead-letters/key.json"
AGE = f"{2:016d}.{7:020d}.{0:06d}.key"


@pytest.fixture
async def letters(azurite):
    container = BlobContainer(
        f"older-{uuid.uuid4().hex}", connection_string=azurite.connection_string, create_container=True
    )
    store = BlobDeadLetters(container)
    async with container.call():
        await container.client.upload_blob(NAME, json.dumps(DOCUMENT).encode(), metadata={"inturnage": AGE})
    yield store
    await store.close()


async def test_they_are_read_picked_counted_and_removed(letters):
    assert [each async for each in letters.letters()] == [LETTER]
    picked = letters.letters(where=LetterFilter(reasons=(Reason.REJECTED,), processors=("deploy",)))
    assert [each async for each in picked] == [LETTER]
    assert [each async for each in letters.letters(where=LetterFilter(processors=("mail",)))] == []
    assert await letters.count(LetterFilter(since_ms=3)) == 0
    assert await letters.remove([LETTER]) == 1
    assert await letters.count() == 0


async def test_one_takes_its_place_in_line_when_it_is_written_anew(letters):
    known = msgspec.structs.replace(LETTER, object_path="models/fraud")
    assert await letters.replace(known)
    assert [each async for each in letters.letters()] == [known]
    assert await letters.holds(PARTITION, "deploy", "/t", "models/fraud")
