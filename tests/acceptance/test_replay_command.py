"""`inturn replay` as a command: what it asks, refuses, lists and says."""

from __future__ import annotations

import asyncio
import os
import pty
import sys

import pytest
from harness.replays import effects, replay, rows, versions

from .conftest import bodies, registered

pytestmark = pytest.mark.slow


async def test_a_dry_run_tells_what_would_come_of_it_and_touches_nothing(bench):
    bench.hub.publish("events", b"poison", partition="0")
    bench.publish(bodies(models=3, each=10), key="k")
    bench.publish(bodies(models=3, each=2), key="k")  # once more: duplicates
    before = sorted(path.name for path in bench.folder.iterdir())

    ended = await replay(bench, "--from", "earliest", "--dry-run")

    assert ended.code == 1, ended
    assert effects(bench) == []
    after = sorted(path.name for path in bench.folder.iterdir())
    assert [name for name in after if name != "__pycache__"] == before
    told = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert "handled 30" in told
    assert "duplicate 6" in told
    assert "dead_lettered: invalid_json 1" in told
    assert "one Microsoft.MachineLearningServices.ModelRegistered 30" in told


async def test_one_processor_alone_can_be_given_events_again(bench):
    bench.publish(bodies(models=3, each=5))

    ended = await replay(bench, "--from", "earliest", "--processor", "two", "--id", "r", "--yes")

    assert ended.code == 0, ended
    assert [each.processor for each in effects(bench)] == ["two"] * 15


async def test_a_replay_is_begun_once_and_finished_once(bench):
    bench.publish(bodies(models=2, each=5))
    first = await replay(bench, "--from", "earliest", "--id", "r", "--yes")
    again = await replay(bench, "--from", "earliest", "--id", "r", "--yes")
    resumed = await replay(bench, "--resume", "r")
    none = await replay(bench, "--resume")
    listed = await replay(bench, "--list")

    assert (first.code, again.code, resumed.code, none.code, listed.code) == (0, 2, 0, 2, 0)
    assert "finished" in resumed.out
    assert "finished" in listed.out
    assert len(effects(bench)) == 20


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "now"], "--from"),
        (["--from", "yesterday"], "2026-11-21T06:30:00Z"),
        (["--from", "2026-11-21T06:30:00"], "no zone"),
        (["--from", "3"], "--partition"),
        (["--from", "99", "--partition", "0"], "no message 99"),
        (["--from", "3", "--to", "1", "--partition", "0"], "--from lies after --to"),
        (["--from", "-1h", "--to", "-2h"], "--from lies after --to"),
        (["--from", "earliest", "--partition", "7"], "no partition 7"),
        (["--from", "earliest", "--processor", "three"], "one, two"),
        (["--from", "earliest", "--source", "file"], "--path"),
        (["--from", "earliest", "--id", "A B"], "a-z"),
        (["--from", "earliest"], "--yes"),
        (["--resume", "--from", "earliest"], "--resume"),
        (["--list", "--dry-run"], "--list"),
        (["again", "--from", "earliest"], "--resume"),
    ],
)
async def test_what_makes_no_replay_is_refused_with_its_reason(bench, arguments, told):
    bench.publish(bodies(models=1, each=5), key="k")
    for number in range(5):
        bench.hub.publish("events", registered("n", number), partition="0")

    ended = await replay(bench, *arguments)

    assert ended.code == 2, ended
    assert told in ended.errors
    assert "Traceback" not in ended.errors
    assert effects(bench) == []


async def test_what_has_left_the_hub_is_said_before_it_is_missed(bench):
    for version in range(1, 11):
        bench.hub.publish("events", registered("m", version), partition="0")
    bench.hub.trim("events", "0", before=4)

    ended = await replay(bench, "--from", "1", "--partition", "0", "--processor", "one", "--id", "r", "--yes")

    assert ended.code == 0, ended
    assert "3 messages, 1 to 3, have left the hub" in ended.out
    assert versions(effects(bench, "r"), "m") == list(range(5, 11))


async def test_dead_letters_of_a_replay_are_kept_and_say_whose_they_are(bench):
    bench.publish(bodies(models=1, each=2))
    bench.hub.publish("events", b"poison", partition="0")

    ended = await replay(bench, "--from", "earliest", "--id", "r", "--yes")

    assert ended.code == 1
    letters = rows(bench.folder / "state.sqlite", "dead_letters")["dead_letters"]
    assert len(letters) == 1
    assert "$default~replay-r" in [str(field).casefold() for field in letters[0]]


@pytest.mark.parametrize(("answer", "code", "count"), [("y", 0, 20), ("n", 1, 0)])
async def test_on_a_terminal_somebody_is_asked_first(bench, answer, code, count):
    bench.publish(bodies(models=2, each=5))
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer", "replay", "--from", "earliest", "--id", "r"),
        cwd=bench.folder,
        env=os.environ | {"PYTHONPATH": str(bench.folder), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while b"Go on?" not in shown:
            shown += await asyncio.to_thread(os.read, ours, 4_096)
        os.write(ours, f"{answer}\n".encode())
        while True:
            shown += await asyncio.to_thread(os.read, ours, 4_096)
    except OSError:  # the other side is closed
        pass
    finally:
        os.close(ours)

    assert await asyncio.wait_for(process.wait(), 30) == code, shown
    assert b"10 messages" in shown
    assert b"one, two" in shown
    assert len(effects(bench)) == count
