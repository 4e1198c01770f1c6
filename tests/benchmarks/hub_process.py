"""The local hub in a process of its own: ``python -m benchmarks.hub_process LOG OPTIONS``.

It prints its connection string when it is ready, and ends when its standard input does. With `rate` it begins
to send when every partition is read, and prints what rate it reached; else the whole log is in the hub from
the beginning, with the log's enqueued times, and costs nothing more than to be handed out.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import orjson

from benchmarks.work import Log, load
from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.telemetry.logs import configure_logging

HUB = "events"
_PROPERTIES = {
    "aeg-subscription-name": "INTURN",
    "aeg-delivery-count": "0",
    "aeg-event-type": "Notification",
    "aeg-metadata-version": "1",
    "aeg-data-version": "1",
}
_ID = re.compile(rb'"id":"([^"]*)"')
_LATER_MS = 600_000
"""Behind the last event comes one that is not for us, so late that nothing is held any longer."""
_SETTLE_S = 2.0
"""Between the moment at which a client reads and the first event."""
_TURN_S = 0.001
"""Of sending at a rate: in a turn goes what is due, as one sending for each partition. The shortest that the
loop can wait; what is due in a longer one waits for itself, which then counts as latency."""


class HubOptions(NamedTuple):
    """What a hub is told."""

    partitions: int = 4
    core: int | None = None
    rate: float = 0
    """Events a second; 0: the log is there from the beginning."""
    messages: int = 0
    """How many of them."""
    waits: bool = False
    """Whether next to nothing is handed out until it is told ``go``."""


def main(log_file: str, told: str = "{}") -> None:
    """Run a hub."""
    options = HubOptions(**json.loads(told))
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    configure_logging(level="error")
    asyncio.run(_serve(load(Path(log_file)), options))


async def _serve(log: Log, options: HubOptions) -> None:
    hubs = (HubSettings(name=HUB, partitions=options.partitions, retention_bytes_max=2**32),)
    async with LocalHub(LocalHubSettings(hubs=hubs, port=0)) as hub:
        if not options.rate:
            _fill(hub, log)
        sys.stdout.write(hub.connection_string() + "\n")
        sys.stdout.flush()
        if options.waits:
            with hub.faults.slow(1, HUB):
                await asyncio.to_thread(sys.stdin.readline)
        if options.rate:
            while hub.stats()["open_links"] < options.partitions:  # noqa: ASYNC110 - the hub tells nobody
                await asyncio.sleep(0.1)
            await asyncio.sleep(_SETTLE_S)
            await _send(hub, log, options)
        await asyncio.to_thread(sys.stdin.read)


def _fill(hub: LocalHub, log: Log) -> None:
    for batch in log.in_order_of_arrival():
        partition = str(batch.partition)
        for body, time_ms, key in zip(
            batch.bodies, batch.enqueued_times_ms, batch.partition_keys, strict=True
        ):
            place = {"partition": partition, "partition_key": key}
            # As Event Grid has it: no two messages have the same properties.
            found = _ID.search(body)
            properties = _PROPERTIES | {"aeg-output-event-id": found[1].decode() if found else ""}
            hub.publish(HUB, body, properties=properties, enqueued_time_ms=time_ms, **place)
    for batches in log.partitions:
        at_ms = batches[-1].enqueued_times_ms[-1] + _LATER_MS
        hub.publish(HUB, b"[]", partition=str(batches[-1].partition), enqueued_time_ms=at_ms)


async def _send(hub: LocalHub, log: Log, options: HubOptions) -> None:
    """Send the first so many events that are admitted, at a rate, with the time at which each was sent."""
    bodies = _fresh(log, options.messages)
    began_s, sent = time.monotonic(), 0
    while sent < len(bodies):
        due = min(len(bodies), int((time.monotonic() - began_s) * options.rate) + 1)
        turn: dict[int, list[bytes]] = {}
        for partition, body in bodies[sent:due]:
            stamped = body.replace(b'"data":{', b'"data":{"sentAtNs":%d,' % time.monotonic_ns(), 1)
            turn.setdefault(partition, []).append(stamped)
        for partition, stamped_bodies in turn.items():
            place = {"partition": str(partition), "partition_key": "k"}
            hub.publish(HUB, *stamped_bodies, properties=_PROPERTIES, **place)
        sent = due
        await asyncio.sleep(_TURN_S)
    took_s = time.monotonic() - began_s
    sys.stdout.write(f"{len(bodies) / took_s}\n")
    sys.stdout.flush()


def _fresh(log: Log, count: int) -> list[tuple[int, bytes]]:
    seen: set[str] = set()
    fresh: list[tuple[int, bytes]] = []
    for batch in log.in_order_of_arrival():
        for body in batch.bodies:
            event_id = orjson.loads(body)[0]["id"]
            if event_id in log.objects and event_id not in seen:
                seen.add(event_id)
                fresh.append((batch.partition, body))
            if len(fresh) == count:
                return fresh
    return fresh


if __name__ == "__main__":
    main(*sys.argv[1:])
