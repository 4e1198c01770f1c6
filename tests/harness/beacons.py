"""A steady flow to every partition of a world, by which it shows at once whether all are being read."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from consumer.samples.trace import TOPICS
from harness.worlds import HUB, World

BEACONS_PER_S = 5.0
"""Of each partition: events about objects of their own, so that there is always something to handle."""
GIVE_UP_S = 60.0


def beacon() -> bytes:
    """An event about an object of its own."""
    name = uuid.uuid4().hex
    event = {
        "id": name,
        "topic": next(topic for topic in TOPICS if "Microsoft.Storage" in topic),
        "subject": f"/blobServices/default/containers/beacons/blobs/{name}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": datetime.now(UTC).isoformat(),
        "dataVersion": "1",
        "metadataVersion": "1",
        "data": {},
    }
    return json.dumps([event]).encode()


@asynccontextmanager
async def beacons(world: World) -> AsyncIterator[None]:
    """Send steadily to every partition for as long as the block lasts."""

    async def send() -> None:
        while True:
            for partition in world.logs():
                world.hub.publish(HUB, beacon(), partition=partition)
            await asyncio.sleep(1 / BEACONS_PER_S)

    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send())
        try:
            yield
        finally:
            sending.cancel()


async def until_handled_anew(world: World) -> float:
    """Wait until every partition has handled an event that is sent from now on; gives how long it took."""
    began_s = time.monotonic()
    # Nothing is trimmed, so the length is the next sequence number.
    ends = {partition: len(log) for partition, log in world.logs().items()}
    seen = len(world.receiver.effects)
    missing = set(ends)
    while missing and time.monotonic() - began_s < GIVE_UP_S:
        await asyncio.sleep(0.02)
        effects = world.receiver.effects
        for effect in effects[seen:]:
            if effect.position.sequence_number >= ends[effect.position.partition]:
                missing.discard(effect.position.partition)
        seen = len(effects)
    return time.monotonic() - began_s
