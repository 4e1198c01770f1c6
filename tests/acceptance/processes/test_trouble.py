"""What is wrong is said in one line that names it, and the exit code says who must act."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3

import pytest

KEY = "cmlnaHQ="
WRONG_KEY = "d3Jvbmc="


@pytest.fixture
def fail(inturn):
    """Runs `inturn run`, which must end by itself; gives its code and what it says besides its log."""

    def fail(config):
        ended = inturn("run", "-c", config)
        assert "Traceback" not in ended.stderr
        assert ended.stdout == ""
        return ended.returncode, [line for line in ended.stderr.splitlines() if not line.startswith("{")]

    return fail


@pytest.fixture
def container(azurite, request):
    """The settings of a container that is not there."""
    return {
        "type": "blob",
        "connection_string": azurite.connection_string,
        "container": f"missing-{abs(hash(request.node.name))}",
    }


# The configuration: 78.


def test_no_configuration(fail):
    code, (line,) = fail("inturn.yaml")
    assert code == 78
    assert line.startswith("inturn.yaml: ")


def test_everything_that_is_wrong_with_a_configuration_is_said_at_once_and_where(fail, tmp_path):
    (tmp_path / "wrong.yaml").write_text(
        "source: {type: eventhub, hub: h}\n"
        "sequence:\n"
        "  windows_s: 5\n"
        "admission:\n"
        "  topics: some\n"
        "processors:\n"
        "  - name: keep\n"
        "    type: archive\n"
        "    with: {path: x, rotate_mb: -1}\n"
    )
    code, lines = fail("wrong.yaml")
    assert code == 78
    assert [line.split(" ")[:2] for line in lines] == [
        ["wrong.yaml:1:9:", "source:"],
        ["wrong.yaml:3:3:", "sequence.windows_s:"],
        ["wrong.yaml:5:11:", "admission.topics:"],
        ["wrong.yaml:9:32:", "processors[0].with.rotate_mb:"],
    ]
    assert "did you mean window_s?" in lines[1]


def test_a_processor_of_an_unknown_type(fail, configure, hub):
    code, (line,) = fail(configure(hub, processors=[{"name": "keep", "type": "archiv"}]))
    assert code == 78
    assert "processors[0].type: there is no such processor; did you mean archive?" in line


def test_a_processor_that_finds_its_settings_wrong_when_it_is_opened(fail, configure, hub, tmp_path):
    (tmp_path / "file").touch()
    keep = {"name": "keep", "type": "archive", "with": {"path": "file/archive"}}
    code, (line,) = fail(configure(hub, processors=[keep]))
    assert code == 78
    assert line.startswith("Processor keep: path: the archive cannot be written in ")


# Something outside: 75.


def test_no_hub(fail, configure, hub):
    source = hub.source(connect_timeout_s=2)
    hub.stop()
    assert fail(configure(source=source)) == (
        75,
        [f"No Event Hub answers at 127.0.0.1:{hub.port}: connection refused."],
    )


def test_a_key_that_the_hub_refuses(fail, configure, start_hub):
    hub = start_hub(key=KEY)
    source = hub.source(connection_string=hub.connection_string_with(WRONG_KEY))
    assert fail(configure(source=source)) == (
        75,
        [f"The key for 127.0.0.1:{hub.port}/events was refused."],
    )


def test_no_such_hub(fail, configure, hub):
    assert fail(configure(source=hub.source(hub="nowhere"))) == (
        75,
        [f"There is no hub named nowhere at 127.0.0.1:{hub.port}."],
    )


def test_no_such_consumer_group(fail, configure, hub):
    assert fail(configure(source=hub.source(consumer_group="nobody"))) == (
        75,
        ["There is no consumer group named nobody at the hub events."],
    )


def test_no_such_container(fail, configure, hub, container):
    code, (line,) = fail(configure(hub, state=container))
    assert code == 75
    assert line.startswith(f"Container '{container['container']}' at 127.0.0.1:")
    assert "the container does not exist" in line


def test_a_key_that_the_storage_refuses(fail, configure, hub, azurite, container):
    secret = azurite.connection_string_with(WRONG_KEY)
    code, (line,) = fail(configure(hub, state={**container, "connection_string": secret}))
    assert code == 75
    assert "access is refused" in line
    assert WRONG_KEY not in line


def test_dead_letters_that_could_not_be_kept(fail, configure, hub, container):
    code, (line,) = fail(configure(hub, dead_letters=container))
    assert code == 75
    assert "the container does not exist" in line


def test_a_damaged_state_file_is_left_as_it_is(fail, configure, hub, tmp_path):
    damaged = b"SQLite format 3\0" + b"damaged" * 1_000
    (tmp_path / "state.sqlite").write_bytes(damaged)
    code, (line,) = fail(configure(hub))
    assert code == 75
    assert "state.sqlite: it is not an SQLite file" in line
    assert (tmp_path / "state.sqlite").read_bytes() == damaged
    assert [path.name for path in tmp_path.glob("state.sqlite*")] == ["state.sqlite"]


def test_the_database_of_another_program_is_left_as_it_is(fail, configure, hub, tmp_path):
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        database.execute("CREATE TABLE theirs (it)")
    database.close()
    before = (tmp_path / "state.sqlite").read_bytes()
    code, (line,) = fail(configure(hub))
    assert code == 75
    assert "an SQLite file of another program" in line
    assert (tmp_path / "state.sqlite").read_bytes() == before


def test_an_admin_port_that_is_taken(fail, configure, hub):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, (line,) = fail(configure(hub, admin={"port": port}))
    assert code == 75
    assert line.startswith(f"The admin port 127.0.0.1:{port} is taken by another program.")


# A fault: 70, with everything that helps to mend it.


def test_a_processor_that_breaks_when_it_is_opened_is_named(inturn, configure, hub, write_processors):
    write_processors(
        "class Broken:\n"
        "    async def open(self):\n"
        "        raise OSError('The receiver is away.')\n"
        "    async def close(self): ...\n"
        "    async def __call__(self, event, context): ...\n"
    )
    ended = inturn("run", "-c", configure(hub, processors=[{"name": "mine", "type": "mine:Broken"}]))
    assert ended.returncode == 70
    assert "OSError: The receiver is away." in ended.stderr
    assert "While opening the processor mine." in ended.stderr


# Poison among good events.

POISON = {
    "Run 42 failed, please have a look": "invalid_json",
    "[": "invalid_json",
    '"text"': "not_an_object",
    "[42]": "not_an_object",
    '[{"device":"pump-7"}]': "unknown_schema",
    '[{"id":"1","id":"2"}]': "duplicate_key",
    f"[{'[' * 60}{']' * 60}]": "too_deep",
    '[{"celsius": NaN}]': "not_a_number",
}


def test_poison_is_put_aside_with_its_reason_and_its_neighbours_are_handled(
    inturn, hub, configure, archive, tell, eventually
):
    story = tell(objects=4, each=6)
    lines = list(story.lines)
    for number, body in enumerate(POISON):
        lines.insert(number * 3, body)
    spoofed = json.loads(story.lines[0]) | {"eventType": "Microsoft.EventHub.CaptureFileCreated"}
    halves = [spoofed, json.loads(story.lines[0]) | {"id": "whole", "subject": "another"}]
    lines.append(json.dumps(halves))
    config = configure(hub)
    running = inturn.start("run", "-c", config).until_owning(4)
    hub.send(lines, "--no-partition-key")
    archive.until(len(story.ids) + 1)
    dead = [*POISON.values(), "spoofed_type"]
    eventually(lambda: sum(running.status()["outcomes"].values()) == 25 + len(dead), "every outcome")
    assert running.end(signal.SIGTERM) == 0, running.errors

    assert sorted(archive.ids()) == sorted([*story.ids, "whole"])
    listed = inturn("dlq", "list", "-c", config, "--json")
    assert listed.returncode == 0, listed.stderr
    letters = [json.loads(line) for line in listed.stdout.splitlines()]
    assert sorted(letter["reason"] for letter in letters) == sorted(dead)
    whole = {letter["original"] for letter in letters if letter["reason"] == "invalid_json"}
    assert whole == {body for body, reason in POISON.items() if reason == "invalid_json"}
