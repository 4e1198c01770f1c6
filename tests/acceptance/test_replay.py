"""`inturn replay` as a process: effects once more, under keys of their own, beside a live consumer."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sqlite3
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from azure.eventhub.extensions.checkpointstoreblobaio._vendor.storage.blob.aio import ContainerClient

from .conftest import Ended, inturn, registered, stop

pytestmark = pytest.mark.slow

NOTES = """
import asyncio, json

async def note(event, context):
    line = [context.processor, context.replay_id, event.id, context.idempotency_key]
    with open("notes.jsonl", "a") as file:
        file.write(json.dumps(line) + "\\n")

async def note_slowly(event, context):
    await asyncio.sleep(0.01)
    await note(event, context)
"""


class Effect(NamedTuple):
    processor: str
    replay: str
    event: str
    key: str


@pytest.fixture
def bench(place):
    """The place, with processors that note what they do."""
    (place.folder / "notes.py").write_text(NOTES)
    configure(place)
    return place


def configure(place, *names: str, how: str = "note", **changes: Any) -> None:
    processors = [{"name": name, "type": f"notes:{how}"} for name in names or ("one", "two")]
    place.configure(**{"processors": processors, **changes})


def effects(place, replay: str | None = None) -> list[Effect]:
    """What was done, in order; live (""), in a replay, or all."""
    file = place.folder / "notes.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    found = [Effect(*json.loads(line)) for line in lines]
    return [effect for effect in found if replay in (None, effect.replay)]


def versions(done: list[Effect], model: str) -> list[int]:
    return [int(each.event.rpartition("-")[2]) for each in done if each.event.rpartition("-")[0] == model]


def bodies(models: int, each: int, first: int = 1) -> list[bytes]:
    return [registered(f"m{model}", first + at) for at in range(each) for model in range(models)]


async def replay(place, *arguments: str) -> Ended:
    os.environ["PYTHONPATH"] = str(place.folder)
    try:
        return await inturn(place.folder, "replay", *arguments)
    finally:
        del os.environ["PYTHONPATH"]


async def start_replay(place, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer", "replay", *arguments),
        cwd=place.folder,
        env=os.environ | {"PYTHONPATH": str(place.folder), "COLUMNS": "200"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def consume(place, count: int) -> None:
    """Run live until there are so many effects, and stop in good order."""
    async with place.running() as process:
        await place.until(lambda: len(effects(place, "")) >= count)
        assert await stop(process) == 0


def rows(file: Path, *tables: str) -> dict[str, list[Any]]:
    with sqlite3.connect(file) as connection:
        found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    connection.close()
    return found


async def test_a_replay_makes_the_effects_again_in_turn_and_under_keys_of_its_own(bench):
    bench.publish(bodies(models=5, each=20))
    await consume(bench, 200)

    ended = await replay(bench, "--from", "earliest", "--id", "again", "--yes")

    assert ended.code == 0, ended
    live, again = effects(bench, ""), effects(bench, "again")
    assert Counter((each.processor, each.event) for each in again) == Counter(
        (each.processor, each.event) for each in live
    )
    for name in ("one", "two"):
        for model in range(5):
            done = [each for each in again if each.processor == name]
            assert versions(done, f"m{model}") == list(range(1, 21))
    keys = [each.key for each in again]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & {each.key for each in live}
    assert "Replay again is finished." in ended.out


@pytest.mark.parametrize("kind", ["sqlite", "blob"])
async def test_a_replay_leaves_the_live_state_as_it_is(bench, kind, request):
    async def stored() -> Any:
        if kind == "sqlite":
            return rows(bench.folder / "state.sqlite", "checkpoints", "ownerships")
        options = (state["connection_string"], state["container"])
        async with ContainerClient.from_connection_string(*options) as container:
            return [
                (blob.name, blob.etag, await (await container.download_blob(blob.name)).readall())
                async for blob in container.list_blobs(include=["metadata"])
                if "/dead-letters/" not in blob.name
            ]

    state: dict[str, Any] = {"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 0.2}
    if kind == "blob":
        state = {
            "type": "blob",
            "connection_string": request.getfixturevalue("azurite").connection_string,
            "container": f"replay-{uuid.uuid4().hex}",
            "create_container": True,
        }
    configure(bench, state=state)
    bench.publish(bodies(models=4, each=10))
    await consume(bench, 80)
    bench.hub.publish("events", b"poison", partition="0")
    bench.publish(bodies(models=4, each=5, first=11))
    before = await stored()

    ended = await replay(bench, "--from", "earliest", "--yes", "--state", "replays.sqlite")
    behind = await replay(
        bench, "--from", "checkpoint", "--yes", "--id", "behind", "--state", "replays.sqlite"
    )

    assert (ended.code, behind.code) == (1, 1), (ended, behind)  # what is poison is dead-lettered
    assert before
    assert await stored() == before
    assert len(effects(bench, "behind")) == 40


async def test_a_live_consumer_goes_on_unharmed_beside_a_replay(bench):
    bench.publish(bodies(models=4, each=20))

    async with bench.running() as live:
        await bench.until(lambda: len(effects(bench, "")) >= 160)
        replaying = await start_replay(bench, "--from", "earliest", "--group", "second", "--id", "r", "--yes")
        bench.publish(bodies(models=4, each=20, first=21))
        out, _ = await asyncio.wait_for(replaying.communicate(), 30)
        await bench.until(lambda: len(effects(bench, "")) >= 320)
        assert await stop(live) == 0

    assert replaying.returncode == 0, out
    done = effects(bench, "")
    assert len(done) == len({each.key for each in done}) == 320
    assert {each.event for each in effects(bench, "r")} >= {
        f"m{m}-{v}" for m in range(4) for v in range(1, 21)
    }
    assert '"warning"' not in bench.log()
    assert "[warning" not in bench.log()


async def test_with_the_group_of_a_running_consumer_a_replay_says_so_and_disturbs_nothing(bench):
    bench.publish(bodies(models=4, each=5))

    async with bench.running() as live:
        await bench.until(lambda: len(effects(bench, "")) >= 40)
        ended = await replay(bench, "--from", "earliest", "--id", "r", "--yes")
        bench.publish(bodies(models=4, each=5, first=6))
        await bench.until(lambda: len(effects(bench, "")) >= 80)
        assert await stop(live) == 0

    assert ended.code == 75
    assert "--group" in ended.errors
    assert "Traceback" not in ended.errors
    assert effects(bench, "r") == []
    assert "[warning" not in bench.log()
    resumed = await replay(bench, "--resume")  # now that nobody reads with it
    assert resumed.code == 0, resumed
    assert len(effects(bench, "r")) == 40


async def test_after_ctrl_c_a_resumed_replay_repeats_nothing(bench):
    # So that a drain, which finishes what is in flight, does not finish everything.
    limits = {"sequence": {"window_s": 0.2, "held_max": 20}, "limits": {"in_flight_max": 40}}
    configure(bench, "one", how="note_slowly", **limits)
    bench.publish(bodies(models=10, each=100))

    first = await start_replay(bench, "--from", "earliest", "--id", "r", "--yes")
    await bench.until(lambda: len(effects(bench, "r")) >= 50)
    first.send_signal(signal.SIGINT)
    out, _ = await asyncio.wait_for(first.communicate(), 30)
    before = len(effects(bench, "r"))
    listed = await replay(bench, "--list")
    configure(bench, "one", **limits)
    second = await replay(bench, "--resume")

    assert first.returncode == 75
    assert b"inturn replay --resume r" in out
    assert 50 <= before < 1_000
    assert "unfinished" in listed.out
    assert second.code == 0, second
    done = effects(bench, "r")
    assert len(done) == len({each.key for each in done}) == 1_000
    assert all(versions(done, f"m{model}") == list(range(1, 101)) for model in range(10))
    assert "handled" in second.out
    assert "1,000" in second.out  # of both runs together


async def test_after_a_kill_a_resumed_replay_loses_nothing_and_repeats_under_the_same_keys(bench):
    configure(bench, "one", how="note_slowly")
    bench.publish(bodies(models=10, each=60))

    first = await start_replay(bench, "--from", "earliest", "--id", "r", "--yes")
    await bench.until(lambda: len(effects(bench, "r")) >= 100)
    first.kill()
    await first.communicate()
    second = await replay(bench, "--resume", "r")

    assert second.code == 0, second
    assert "cut off" in second.out
    done = effects(bench, "r")
    keys = {each.event: each.key for each in done}
    assert len(keys) == 600
    assert all(keys[each.event] == each.key for each in done)
    for model in range(10):
        assert list(dict.fromkeys(versions(done, f"m{model}"))) == list(range(1, 61))


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


async def test_files_are_replayed_like_a_hub(bench):
    lines = [json.dumps(json.loads(body)[0]) for body in bodies(models=2, each=30)]
    blob = [json.loads(line) | {"deadLetterReason": "MaxDeliveryAttemptsExceeded"} for line in lines[40:]]
    (bench.folder / "a.jsonl").write_text("\n".join(lines[:40]))
    (bench.folder / "b.json").write_text(json.dumps(blob))
    paths = ("--source", "file", "--path", "a.jsonl", "--path", "b.json")

    whole = await replay(bench, *paths, "--from", "earliest", "--id", "whole", "--yes", "--processor", "one")
    part = await replay(
        bench, *paths, "--from", "10", "--to", "19", "--id", "part", "--yes", "--processor", "one"
    )

    assert (whole.code, part.code) == (0, 0), (whole, part)
    done = effects(bench, "whole")
    assert len(done) == 60
    assert all(versions(done, f"m{model}") == list(range(1, 31)) for model in range(2))
    assert sorted(each.event for each in effects(bench, "part")) == sorted(
        f"m{model}-{version}" for model in range(2) for version in range(6, 11)
    )


async def test_what_came_before_the_stretch_makes_nothing_in_it_stale(bench):
    bench.hub.publish("events", registered("m", 9), partition="0", enqueued_time_ms=1_000_000)
    bench.hub.publish("events", registered("m", 3), partition="0", enqueued_time_ms=2_000_000)
    bench.hub.publish("events", registered("m", 4), partition="0", enqueued_time_ms=3_000_000)

    whole = await replay(bench, "--from", "earliest", "--id", "whole", "--processor", "one", "--yes")
    part = await replay(
        bench, "--from", "1", "--partition", "0", "--id", "part", "--processor", "one", "--yes"
    )

    assert (whole.code, part.code) == (0, 0), (whole, part)
    assert versions(effects(bench, "whole"), "m") == [9]
    assert versions(effects(bench, "part"), "m") == [3, 4]


async def test_a_stretch_ends_where_it_was_told_to(bench):
    for version in range(1, 31):
        bench.hub.publish(
            "events", registered("m", version), partition="1", enqueued_time_ms=1_795_240_800_000 + version
        )
    await consume(bench, 60)
    bench.hub.publish("events", registered("m", 31), partition="1")
    only = ("--partition", "1", "--processor", "one", "--yes")

    for number, (begin, end, first, last) in enumerate(
        [
            ("5", "9", 6, 10),
            ("earliest", "2026-11-21T06:00:00.010Z", 1, 9),
            ("2026-11-21T07:00:00.010+01:00", "checkpoint", 10, 30),
            ("checkpoint", "now", 31, 31),
        ]
    ):
        ended = await replay(bench, "--from", begin, "--to", end, "--id", f"r{number}", *only)
        assert ended.code == 0, ended
        assert versions(effects(bench, f"r{number}"), "m") == list(range(first, last + 1))


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
