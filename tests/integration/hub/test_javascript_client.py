"""A second, independent client of the hub: Azure's own for JavaScript."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from consumer.hub import LocalHub
from consumer.hub.placement import partition_of

HERE = Path(__file__).parent
MODULES = Path(os.environ.get("INTURN_NODE_MODULES") or HERE.parents[2] / ".venv" / "node_modules")


@pytest.fixture
def node() -> str:
    """The Node.js program; skips without it or without the client."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node.js is not installed.")
    if not (MODULES / "@azure" / "event-hubs").is_dir():
        pytest.skip(f"@azure/event-hubs is not installed in {MODULES}: see tests/npm/package.json.")
    return found


async def run(node: str, hub: LocalHub) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        node,
        str(HERE / "javascript_client.mjs"),
        hub.connection_string("events"),
        str(MODULES),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(90):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    seen: dict[str, Any] = json.loads(output)
    return seen


async def test_the_javascript_client_sends_receives_and_asks(local_hub: LocalHub, node: str) -> None:
    seen = await run(node, local_hub)

    assert seen["hub"] == {"name": "events", "partitionIds": ["0", "1", "2", "3"]}
    of_one = local_hub.log("events", "1")
    assert len(of_one) >= 50
    assert seen["partition"]["isEmpty"] is False
    assert seen["partition"]["beginning"] == 0
    assert of_one[seen["partition"]["last"]].offset == seen["partition"]["offset"]

    keyed = [event for event in seen["events"] if event["key"] == "run/17"]
    assert [event["partition"] for event in keyed] == [str(partition_of("run/17", 4))]
    assert [event["body"] for event in seen["events"] if event["partition"] == "2"][-1] == 900_000

    for event in seen["events"]:
        stored = local_hub.log("events", event["partition"])[event["sequenceNumber"]]
        assert (event["offset"], event["enqueuedTimeMs"]) == (stored.offset, stored.enqueued_time_ms)
        assert event["key"] == stored.partition_key
    batch = [event for event in seen["events"] if isinstance(event["body"], dict)]
    assert [event["body"] for event in batch] == [{"index": index} for index in range(50)]
    assert [event["properties"] for event in batch] == [{"index": index} for index in range(50)]

    assert [event["sequenceNumber"] for event in seen["later"]] == [45, 46, 47, 48, 49]
    assert seen["later"][0]["last"] == len(of_one) - 1
    assert seen["refused"]["code"] == "MessagingEntityNotFoundError"
    assert "nobody" in seen["refused"]["message"]
