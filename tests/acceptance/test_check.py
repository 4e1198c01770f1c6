"""`inturn check`: what it finds without asking anybody, and what it finds by asking."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from harness.commands import ENDS_WITHIN_S

from .conftest import inturn as run_command

TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"


class Checked(NamedTuple):
    """What a command said."""

    code: int
    lines: list[str]
    errors: str

    @property
    def findings(self) -> list[str]:
        return [line for line in self.lines if line.startswith("finding: ")]


async def inturn(folder: Path, *arguments: str) -> Checked:
    """Run a command to its end."""
    ended = await run_command(folder, *arguments)
    return Checked(ended.code, ended.out.splitlines(), ended.errors)


def configure(folder: Path, **settings: Any) -> None:
    fine = {
        "source": {"type": "file", "paths": ["events.jsonl"]},
        "admission": {"topics": [TOPIC]},
        "processors": [{"name": "show", "type": "console"}],
        "admin": {"enabled": False},
    }
    (folder / "inturn.yaml").write_text(json.dumps(fine | settings))  # JSON is YAML as well


def hub_source(connection_string: str) -> dict[str, Any]:
    return {
        "type": "eventhub",
        "connection_string": connection_string,
        "hub": "events",
        "connect_timeout_s": 5,
        "load_balancing_interval_s": 1,
    }


async def test_a_configuration_without_surprises_is_fine(tmp_path):
    configure(tmp_path)

    checked = await inturn(tmp_path, "check")

    assert (checked.code, checked.errors) == (0, "")
    assert checked.lines[-1] == "fine"
    assert checked.findings == []
    assert not (tmp_path / "inturn-state").exists()  # to check makes nothing


async def test_what_will_surprise_is_a_finding(tmp_path):
    configure(
        tmp_path,
        admission={"topics": "any", "types": ["Mine.Made"]},
        state={"type": "memory"},
        processors=[{"name": "show", "type": "console", "types": ["Mine.Made", "Mine.Lost"]}],
    )

    checked = await inturn(tmp_path, "check")

    assert checked.code == 1
    assert "fine" not in checked.lines
    found = "\n".join(checked.findings)
    assert len(checked.findings) == 3
    assert "admission.topics is any" in found
    assert "state.type is memory" in found
    assert "processor show waits for Mine.Lost" in found


@pytest.mark.slow
async def test_deep_lists_every_partition_with_its_lag(tmp_path, local_hub):
    configure(
        tmp_path,
        source=hub_source(local_hub.connection_string()),
        state={"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 0.1},
        sequence={"window_s": 0, "idle_margin_s": 0},
    )
    for _ in range(3):
        local_hub.publish("events", b"not JSON", partition="0")

    before = await inturn(tmp_path, "check", "--deep")
    assert (before.code, before.findings) == (0, []), before
    assert partitions(before) == {
        "0": "no checkpoint; events 0 to 2",
        **dict.fromkeys("123", "no checkpoint; no events"),
    }
    assert "state: reached, and may be written" in before.lines

    await read_until_checkpoint(tmp_path, 2)
    for _ in range(2):
        local_hub.publish("events", b"not JSON", partition="0")

    after = await inturn(tmp_path, "check", "--deep")
    assert (after.code, after.lines[-1]) == (0, "fine"), after
    assert partitions(after)["0"] == "checkpoint 2 of 4, lag 2"
    assert "dead letters: 3" in after.lines


@pytest.mark.slow
async def test_deep_tells_what_left_the_hub_unread(tmp_path, local_hub):
    configure(
        tmp_path,
        source=hub_source(local_hub.connection_string()),
        state={"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 0.1},
    )
    for _ in range(3):
        local_hub.publish("events", b"not JSON", partition="0")
    await read_until_checkpoint(tmp_path, 2)
    for _ in range(5):
        local_hub.publish("events", b"not JSON", partition="0")
    local_hub.trim("events", "0", before=6)

    checked = await inturn(tmp_path, "check", "--deep")

    assert checked.code == 1
    assert len(checked.findings) == 1
    assert "partition 0: events 3 to 5 left the hub unread" in checked.findings[0]


async def test_deep_without_a_hub_is_temporary_trouble_and_the_stores_are_asked_all_the_same(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nowhere = f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0LWtleQ=="
    source = hub_source(f"{nowhere};UseDevelopmentEmulator=true") | {"connect_timeout_s": 1}
    configure(tmp_path, source=source)

    checked = await inturn(tmp_path, "check", "--deep")

    assert checked.code == 75
    assert len(checked.findings) == 1
    assert f"127.0.0.1:{port}" in checked.findings[0]
    assert "state: reached, and may be written" in checked.lines
    assert "fine" not in checked.lines
    assert "Traceback" not in checked.errors
    assert "c2VjcmV0LWtleQ==" not in "".join(checked.lines) + checked.errors


def partitions(checked: Checked) -> dict[str, str]:
    """What was said of each partition."""
    found = (re.fullmatch(r"partition (\d+): (.*)", line) for line in checked.lines)
    return {match[1]: match[2] for match in found if match}


async def read_until_checkpoint(folder: Path, checkpoint: int) -> None:
    """Let a consumer read until partition 0 is checkpointed there, and stop it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer", "run"),
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            wanted = f"checkpoint {checkpoint} of"
            while not partitions(await inturn(folder, "check", "--deep")).get("0", "").startswith(wanted):
                assert process.returncode is None
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), ENDS_WITHIN_S)
    assert process.returncode == 0
