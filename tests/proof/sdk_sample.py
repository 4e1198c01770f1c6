"""The SDK's own sample of receiving batches with a checkpoint store, as `test_sdk_sample` runs it.

A client, a `BlobCheckpointStore`, `receive_batch`, and a callback that says "put your code here" and then
calls `update_checkpoint`. Our code is what anybody would put there: read the JSON, bring every event to the
receiver. It comes in two forms, by the last argument:

* ``raises``: literally the sample. An error leaves the callback; the SDK closes the partition and begins
  again at the last checkpoint when it balances load the next time.
* ``logs``: with the `try` that people put around the work when the first bad event has stopped a partition.

Its load balancing is faster than the default, in its favour: the partitions of a consumer that crashed are
free after seconds and not after three minutes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore

log = logging.getLogger("sample")


class Receiver:
    """Where effects are had; the other end is `harness.receiver`."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def bring(self, effect: dict[str, Any]) -> None:
        """Raises when it is not taken."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(json.dumps(effect).encode() + b"\n")
            answer = await reader.readline()
        finally:
            writer.close()
        if answer != b"taken\n":
            message = f"the receiver said {answer!r}"
            raise RuntimeError(message)


class Sample:
    """The callbacks."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def on_event_batch(self, partition_context: PartitionContext, event_batch: list[EventData]) -> None:
        """The sample."""
        for event in event_batch:
            await self._handle(partition_context, event)
        await partition_context.update_checkpoint()

    async def on_event_batch_logged(
        self, partition_context: PartitionContext, event_batch: list[EventData]
    ) -> None:
        """The sample with a `try`."""
        for event in event_batch:
            try:
                await self._handle(partition_context, event)
            except Exception:
                log.exception("An event could not be handled.")
        await partition_context.update_checkpoint()

    async def _handle(self, partition_context: PartitionContext, event: EventData) -> None:
        for index, element in enumerate(event.body_as_json()):
            await self._receiver.bring(
                {
                    "key": element["id"],
                    "partition": partition_context.partition_id,
                    "sequence_number": event.sequence_number,
                    "index": index,
                    "topic": "",
                    "path": element["subject"],
                    "token": "",
                    "pid": os.getpid(),
                }
            )


async def main(arguments: Sequence[str]) -> None:
    """Receive until killed."""
    hub, group, storage, container, port, form = arguments
    checkpoint_store = BlobCheckpointStore.from_connection_string(storage, container)
    client = EventHubConsumerClient.from_connection_string(
        hub,
        consumer_group=group,
        checkpoint_store=checkpoint_store,
        load_balancing_interval=1,
        partition_ownership_expiration_interval=6,
    )
    sample = Sample(Receiver(int(port)))
    async with client:
        await client.receive_batch(
            on_event_batch=sample.on_event_batch if form == "raises" else sample.on_event_batch_logged,
            starting_position="-1",
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
