"""What is wrong is said in one line that names it, and the exit code says who must act."""

from __future__ import annotations

import json
import signal
import sqlite3

import pytest


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


def test_dead_letters_that_could_not_be_kept(fail, configure, hub, container):
    code, (line,) = fail(configure(hub, dead_letters=container))
    assert code == 75
    assert "the container does not exist" in line


def test_the_database_of_another_program_is_left_as_it_is(fail, configure, hub, tmp_path):
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        database.execute("CREATE TABLE theirs (it)")
    database.close()
    before = (tmp_path / "state.sqlite").read_bytes()
    code, (line,) = fail(configure(hub))
    assert code == 75
    assert "an SQLite file of another program" in line
    assert (tmp_path / "state.sqlite").read_bytes() == before


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
