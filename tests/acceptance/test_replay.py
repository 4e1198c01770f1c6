"""`inturn replay` as a process: effects once more, under keys of their own, beside a live consumer."""

from __future__ import annotations

import json
import signal
import uuid
from collections import Counter
from typing import Any

import pytest
from azure.eventhub.extensions.checkpointstoreblobaio._vendor.storage.blob.aio import ContainerClient
from harness.replays import configure, effects, end_of, replay, rows, start_replay, versions

from .conftest import bodies, inturn, registered, stop

pytestmark = pytest.mark.slow


async def consume(place, count: int) -> None:
    """Run live until there are so many effects, and stop in good order."""
    async with place.running() as process:
        await place.until(lambda: len(effects(place, "")) >= count)
        assert await stop(process) == 0, place.log()


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
    first = ended.out.split()[1]
    behind = await replay(
        bench, "--from", "checkpoint", "--yes", "--id", "behind", "--state", "replays.sqlite"
    )

    assert (ended.code, behind.code) == (1, 1), (ended, behind)  # what is poison is dead-lettered
    assert before
    assert await stored() == before
    letters = await inturn(bench.folder, "dlq", "list", "--json")
    groups = [json.loads(line)["partition"][2] for line in letters.out.splitlines() if line[0] == "{"]
    assert {each.partition("~")[2] for each in groups} == {"replay-behind", f"replay-{first}"}
    assert len(groups) == 2
    assert len(effects(bench, "behind")) == 40


async def test_a_live_consumer_goes_on_unharmed_beside_a_replay(bench):
    bench.publish(bodies(models=4, each=20))

    async with bench.running() as live:
        await bench.until(lambda: len(effects(bench, "")) >= 160)
        replaying = await start_replay(bench, "--from", "earliest", "--group", "second", "--id", "r", "--yes")
        bench.publish(bodies(models=4, each=20, first=21))
        ended = await end_of(replaying)
        await bench.until(lambda: len(effects(bench, "")) >= 320)
        assert await stop(live) == 0

    assert ended.code == 0, ended
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
        assert effects(bench, "r") == []
        resumed = await replay(bench, "--resume", "--group", "second")
        assert await stop(live) == 0

    assert resumed.code == 0, resumed
    assert ended.code == 75
    assert "--group" in ended.errors
    assert "Traceback" not in ended.errors
    assert "[warning" not in bench.log()
    assert len(effects(bench, "r")) == 40


async def test_after_ctrl_c_a_resumed_replay_repeats_nothing(bench):
    # So that a drain, which finishes what is in flight, does not finish everything.
    limits = {"sequence": {"window_s": 0.2, "held_max": 20}, "limits": {"in_flight_max": 40}}
    configure(bench, "one", how="note_slowly", **limits)
    bench.publish(bodies(models=10, each=100))

    first = await start_replay(bench, "--from", "earliest", "--id", "r", "--yes")
    await bench.until(lambda: len(effects(bench, "r")) >= 50)
    first.send_signal(signal.SIGINT)
    ended = await end_of(first)
    before = len(effects(bench, "r"))
    listed = await replay(bench, "--list")
    configure(bench, "one", **limits)
    second = await replay(bench, "--resume")

    assert ended.code == 75
    assert "inturn replay --resume r" in ended.out
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
    await end_of(first)
    second = await replay(bench, "--resume", "r")

    assert second.code == 0, second
    assert "cut off" in second.out
    done = effects(bench, "r")
    keys = {each.event: each.key for each in done}
    assert len(keys) == 600
    assert all(keys[each.event] == each.key for each in done)
    for model in range(10):
        assert list(dict.fromkeys(versions(done, f"m{model}"))) == list(range(1, 61))


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
