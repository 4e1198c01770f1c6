"""What is wrong outside of inturn: one clear line, the exit code that belongs to it, and no traceback."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from consumer.hub import LocalHub, LocalHubSettings

from .conftest import inturn as run_command

WRONG_KEY = "d3Jvbmcta2V5LW9mLXRoZS10ZXN0"
RIGHT_KEY = "cmlnaHQta2V5LW9mLXRoZS10ZXN0"
PROCESSORS = [{"name": "show", "type": "console"}]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    output: str
    """All of it: standard output and standard error."""
    said: list[str]
    """The lines on standard error that are no log entries."""


async def inturn(folder: Path, *arguments: str) -> Ended:
    """Run a command to its end."""
    ended = await run_command(folder, *arguments)
    said = [line for line in ended.errors.splitlines() if not line.startswith("{")]
    return Ended(ended.code, ended.out + ended.errors, said)


async def run_with(folder: Path, **settings: Any) -> Ended:
    """`inturn run` with a configuration that is fine but for `settings`."""
    (folder / "events.jsonl").touch()
    fine = {
        "source": {"type": "file", "paths": ["events.jsonl"]},
        "state": {"type": "memory"},
        "admission": {"topics": "any"},
        "processors": PROCESSORS,
        "admin": {"enabled": False},
        "logging": {"format": "json"},
    }
    (folder / "inturn.yaml").write_text(json.dumps(fine | settings))  # JSON is YAML as well
    return await inturn(folder, "run")


def hub_source(connection_string: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "eventhub",
        "connection_string": connection_string,
        "hub": "events",
        "connect_timeout_s": 1,
        **fields,
    }


def assert_one_line(ended: Ended, code: int, *words: str) -> None:
    assert "Traceback" not in ended.output
    assert ended.code == code, ended.output
    assert len(ended.said) == 1, ended.said
    for word in words:
        assert word in ended.said[0]


# The configuration.


async def test_without_a_configuration_it_says_how_to_begin_one(tmp_path):
    assert_one_line(
        await inturn(tmp_path, "run"), 78, "inturn.yaml: there is no such file", "inturn config init"
    )


@pytest.mark.parametrize("command", ["run", "check"])
async def test_every_error_of_a_configuration_is_told_at_once_with_its_place(tmp_path, command):
    (tmp_path / "inturn.yaml").write_text(
        "source: {type: file, paths: [events.jsonl]}\n"
        "admission: {topics: all}\n"
        "sequence:\n"
        "  window_s: soon\n"
        "  windows: 5\n"
        "processors:\n"
        "  - {name: one, type: consol}\n"
        "  - {name: Two, type: console, concurrency: 0}\n"
    )

    ended = await inturn(tmp_path, command)

    assert ended.code == 78
    assert "Traceback" not in ended.output
    assert all(re.match(r"inturn\.yaml:\d+:\d+: [\w.\[\]]+: \S", line) for line in ended.said), ended.said
    told = {tuple(line.split(": ")[:2]) for line in ended.said}
    lines_and_paths = {(place.split(":")[1], path) for place, path in told}
    assert lines_and_paths == {
        ("2", "admission.topics"),
        ("4", "sequence.window_s"),
        ("5", "sequence.windows"),
        ("7", "processors[0].type"),
        ("8", "processors[1].name"),
        ("8", "processors[1].concurrency"),
    }


async def test_an_unknown_processor_is_an_error_of_the_configuration(tmp_path):
    ended = await run_with(tmp_path, processors=[{"name": "mail", "type": "pigeon"}])

    assert_one_line(
        ended, 78, "processors[0].type: there is no such processor", "console", "module:attribute"
    )


async def test_a_processor_that_does_not_open_is_named_and_nothing_is_read(tmp_path):
    (tmp_path / "events.jsonl").write_text("not JSON\n")
    (tmp_path / "mine.py").write_text(
        "class Mine:\n"
        "    async def open(self):\n"
        "        raise OSError('the mailbox is on fire')\n"
        "    async def close(self):\n"
        "        pass\n"
        "    async def __call__(self, event, context):\n"
        "        pass\n"
    )

    ended = await run_with(
        tmp_path,
        processors=[{"name": "mail", "type": "mine:Mine"}],
        state={"type": "sqlite", "path": "state.sqlite"},
    )

    assert ended.code == 70
    assert "the mailbox is on fire" in ended.output
    assert "While opening the processor mail." in ended.output
    assert "A partition was assigned." not in ended.output


async def test_a_processor_that_refuses_its_settings_when_it_opens_is_an_error_of_the_configuration(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from consumer.errors import ConfigurationError\n"
        "class Mine:\n"
        "    async def open(self):\n"
        "        raise ConfigurationError('there is no such mailbox')\n"
        "    async def close(self):\n"
        "        pass\n"
        "    async def __call__(self, event, context):\n"
        "        pass\n"
    )

    ended = await run_with(tmp_path, processors=[{"name": "mail", "type": "mine:Mine"}])

    assert_one_line(ended, 78, "Processor mail: there is no such mailbox")


# The hub.


async def test_no_hub_at_all_ends_it_after_the_time_to_connect(tmp_path, free_port):
    nowhere = f"Endpoint=sb://127.0.0.1:{free_port};SharedAccessKeyName=k;SharedAccessKey={WRONG_KEY}"
    source = hub_source(f"{nowhere};UseDevelopmentEmulator=true")

    async with asyncio.timeout(15):
        ended = await run_with(tmp_path, source=source)

    assert_one_line(ended, 75, f"127.0.0.1:{free_port}")
    assert WRONG_KEY not in ended.output


async def test_a_wrong_key_is_told_and_not_shown(tmp_path):
    async with LocalHub(LocalHubSettings(key=RIGHT_KEY)) as hub:
        wrong = hub.connection_string().replace(RIGHT_KEY, WRONG_KEY)
        ended = await run_with(tmp_path, source=hub_source(wrong))

    assert_one_line(ended, 75)
    assert WRONG_KEY not in ended.output


async def test_a_hub_that_is_not_there_is_named(tmp_path, local_hub):
    source = hub_source(local_hub.connection_string(), hub="elsewhere")

    assert_one_line(await run_with(tmp_path, source=source), 75, "elsewhere")


async def test_a_consumer_group_that_is_not_there_is_named(tmp_path, local_hub):
    source = hub_source(local_hub.connection_string(), consumer_group="nobody")

    assert_one_line(await run_with(tmp_path, source=source), 75, "nobody")


# The stores.


async def test_a_container_that_is_not_there_is_named_and_what_to_do(tmp_path, azurite):
    state = {"type": "blob", "container": "not-there", "connection_string": azurite.connection_string}

    assert_one_line(
        await run_with(tmp_path, state=state), 75, "'not-there'", "does not exist", "create_container"
    )


async def test_a_wrong_storage_key_is_told_and_not_shown(tmp_path, azurite):
    connection_string = azurite.connection_string_with(WRONG_KEY)
    state = {"type": "blob", "container": "inturn", "connection_string": connection_string}

    ended = await run_with(tmp_path, state=state)

    assert_one_line(ended, 75, "'inturn'", "access is refused")
    assert WRONG_KEY not in ended.output


async def test_a_state_file_that_is_damaged_is_left_as_it_is(tmp_path):
    file = tmp_path / "state.sqlite"
    damaged = b"SQLite format 3\0" + b"this is no page of a database. " * 200
    file.write_bytes(damaged)

    ended = await run_with(tmp_path, state={"type": "sqlite", "path": "state.sqlite"})

    assert_one_line(ended, 75, "state.sqlite", "Nothing was changed")
    assert file.read_bytes() == damaged


# This machine.


async def test_an_admin_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = await run_with(tmp_path, admin={"port": port})

    assert_one_line(ended, 75, f"127.0.0.1:{port}", "taken")


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
