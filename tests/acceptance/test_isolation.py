"""A processor that hangs, one added later, one with a consumer group of its own: in real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request

import pytest

from consumer.hub import LocalHub

from .conftest import Place, inturn, registered, stop

pytestmark = pytest.mark.slow

HANGING = """
import asyncio
import os

async def hang(event, context):
    with open("began.txt", "a") as file:
        file.write(event.id + "\\n")
    while os.path.exists("hang"):
        await asyncio.sleep(0.05)
    with open("done.txt", "a") as file:
        file.write(event.id + "\\n")
"""
KEEP = {"name": "keep", "type": "archive", "with": {"path": "archive"}}
QUEUE_MAX = 20
SOURCE_STAYS = 60
"""Events of one model, so all on one partition: three times what the slow processor's queue takes."""


def hanging(**told):
    known = {"name": "slow", "type": "hanging:hang", "deadline_s": 600, "queue_max": QUEUE_MAX}
    return known | told


@pytest.fixture
def hung(place: Place) -> Place:
    """A place with a processor that hangs as long as the file ``hang`` is there."""
    (place.folder / "hanging.py").write_text(HANGING)
    (place.folder / "hang").touch()
    return place


def written(place: Place, name: str) -> list[str]:
    file = place.folder / name
    return file.read_text().split() if file.exists() else []


def source(hub: LocalHub, **told):
    known = {"type": "eventhub", "connection_string": hub.connection_string(), "hub": "events"}
    return known | {"load_balancing_interval_s": 1} | told


def status(place: Place) -> dict:
    """What the admin port says."""
    url = next(
        json.loads(line)["url"] for line in place.log().splitlines() if "The admin port is open." in line
    )
    with urllib.request.urlopen(f"{url}/status", timeout=10) as answer:
        return json.loads(answer.read())


async def test_neighbours_of_one_that_hangs_go_on_to_the_end_of_its_queue_and_a_restart_repeats_nothing(hung):
    """Then the source pauses, so that memory is bounded; what they did is known to the next process."""
    hung.configure(processors=[KEEP, hanging()], logging={"format": "json"}, drain={"timeout_s": 2})
    hung.publish([registered("m", version) for version in range(1, SOURCE_STAYS + 1)])

    async with hung.running() as process:
        await hung.until(lambda: len(hung.ids()) >= QUEUE_MAX)
        assert written(hung, "began.txt") == ["m-1"]
        assert await stop(process) == 75, "the attempt that hung was cut off"
    before = hung.ids()
    assert before == [f"m-{version}" for version in range(1, len(before) + 1)]

    (hung.folder / "hang").unlink()
    async with hung.running() as process:
        await hung.until(lambda: len(written(hung, "done.txt")) == SOURCE_STAYS)
        await hung.until(lambda: len(hung.ids()) == SOURCE_STAYS)
        assert await stop(process) == 0

    every = [f"m-{version}" for version in range(1, SOURCE_STAYS + 1)]
    assert hung.ids() == every, "each once, in order, though the second process read them all again"
    assert written(hung, "done.txt") == every


async def test_what_waits_for_one_that_hangs_is_bounded_however_much_comes(hung, local_hub):
    """By the queue, by what may be held until its turn, and by the batches that were on their way."""
    held_max, batch_max, count = 100, 50, 3_000
    hung.configure(
        source=source(local_hub, batch_max=batch_max),
        processors=[KEEP, hanging()],
        sequence={"window_s": 0.2, "idle_margin_s": 0.5, "held_max": held_max},
        logging={"format": "json"},
        admin={"port": 0},
        drain={"timeout_s": 2},
    )
    hung.publish([registered("m", version) for version in range(1, count + 1)])

    async with hung.running() as process:
        await hung.until(lambda: "The admin port is open." in hung.log() and _is_paused(hung))
        shown = status(hung)
        (slow,) = [each for each in shown["processors"] if each["name"] == "slow"]
        bound = QUEUE_MAX + held_max + 2 * batch_max
        assert QUEUE_MAX <= slow["queued"] + slow["running"] <= bound
        assert sum(each["in_flight"] for each in shown["partitions"]) <= bound
        (hung.folder / "hang").unlink()
        await hung.until(lambda: len(hung.ids()) == count)
        assert await stop(process) == 0


def _is_paused(place: Place) -> bool:
    return any(each["state"] == "paused" for each in status(place)["partitions"])


async def test_with_a_consumer_group_of_its_own_one_that_hangs_costs_the_others_nothing(hung, local_hub):
    hung.configure(
        source=source(local_hub),
        processors=[KEEP, hanging(consumer_group="second")],
        logging={"format": "json"},
        admin={"port": 0},
        drain={"timeout_s": 2},
    )
    count = 10 * QUEUE_MAX
    hung.publish([registered("m", version) for version in range(1, count + 1)])

    async with hung.running() as process:
        await hung.until(lambda: len(hung.ids()) == count)
        await hung.until(lambda: written(hung, "began.txt") == ["m-1"])
        shown = status(hung)
        names = {each["partition"] for each in shown["partitions"]}
        assert {"0", "1", "2", "3", "second/0", "second/1", "second/2", "second/3"} >= names
        assert {(each["name"], each["group"]) for each in shown["processors"]} == {
            ("keep", ""),
            ("slow", "second"),
        }
        (hung.folder / "hang").unlink()
        await hung.until(lambda: len(written(hung, "done.txt")) == count)
        assert await stop(process) == 0

    every = [f"m-{version}" for version in range(1, count + 1)]
    assert hung.ids() == every
    assert written(hung, "done.txt") == every


async def test_a_processor_added_later_begins_at_the_checkpoint_and_the_others_get_nothing_twice(place):
    place.configure()
    place.publish([registered("m", version) for version in range(1, 6)])
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == 5)
        assert await stop(process) == 0

    (place.folder / "hanging.py").write_text(HANGING)
    place.configure(processors=[KEEP, hanging(name="late")])
    place.publish([registered("m", version) for version in range(6, 9)])
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == 8 and len(written(place, "done.txt")) == 3)
        assert await stop(process) == 0

    assert written(place, "done.txt") == ["m-6", "m-7", "m-8"]
    assert place.ids() == [f"m-{version}" for version in range(1, 9)]


async def test_added_with_a_group_of_its_own_it_gets_everything_from_the_beginning_and_goes_on_there(
    place, local_hub
):
    place.configure()
    place.publish([registered("m", version) for version in range(1, 6)])
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == 5)
        assert await stop(process) == 0

    (place.folder / "hanging.py").write_text(HANGING)
    late = hanging(name="late", consumer_group="second") | {"from": "earliest"}
    place.configure(source=source(local_hub), processors=[KEEP, late])
    async with place.running() as process:
        await place.until(lambda: len(written(place, "done.txt")) == 5)
        assert await stop(process) == 0
    place.publish([registered("m", version) for version in range(6, 9)])
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == 8 and len(written(place, "done.txt")) == 8)
        assert await stop(process) == 0

    every = [f"m-{version}" for version in range(1, 9)]
    assert place.ids() == every
    assert written(place, "done.txt") == every, "the second time it began at its own checkpoint"


async def test_check_checkpoint_and_replay_know_each_group_by_itself(place, local_hub):
    (place.folder / "hanging.py").write_text(HANGING)
    place.configure(
        source=source(local_hub), processors=[KEEP, hanging(name="late", consumer_group="second")]
    )
    place.publish([registered("m", version) for version in range(1, 9)])
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == 8 and len(written(place, "done.txt")) == 8)
        assert await stop(process) == 0

    show, replay = ("checkpoint", "show", "--json"), ("replay", "--from", "checkpoint", "--dry-run")
    checked, shown, refused, mixed = await asyncio.gather(
        inturn(place.folder, "check", "--deep"),
        inturn(place.folder, *show),
        inturn(place.folder, *show, "--consumer-group", "third"),
        inturn(place.folder, *replay),
    )
    assert "processor late: hanging:hang, in_turn, all, consumer group second" in checked.out
    assert checked.out.count("checkpoint 7 of 7, lag 0") == 2, "each group is through the one partition"
    at = {each["partition"]: each["sequence_number"] for each in map(json.loads, shown.out.splitlines())}
    (number,) = [name for name, position in at.items() if "/" not in name and position == 7]
    assert at[f"second/{number}"] == 7
    assert (refused.code, "$Default, second" in refused.errors) == (2, True)
    assert (mixed.code, "several consumer groups" in mixed.errors) == (2, True)

    of_second = ("--consumer-group", "second")
    back = ("--partition", number, "--to", "5", "--yes", "--force")
    moved = await inturn(place.folder, "checkpoint", "rewind", *of_second, *back)
    assert "checkpoint 7 -> 4" in moved.out, moved.errors
    both, second, late, keep = await asyncio.gather(
        inturn(place.folder, *show, number),
        inturn(place.folder, *show, *of_second, number),
        inturn(place.folder, *replay, "--processor", "late"),
        inturn(place.folder, *replay, "--processor", "keep"),
    )
    assert [json.loads(line)["sequence_number"] for line in both.out.splitlines()] == [7, 4]
    assert json.loads(second.out)["sequence_number"] == 4
    assert "3 messages" in late.out
    assert "nothing to replay" in keep.out


async def test_several_workers_and_signals_know_the_groups_too(place, local_hub):
    (place.folder / "hanging.py").write_text(HANGING)
    own = hanging(name="late", consumer_group="second")
    place.configure(
        source=source(local_hub),
        processors=[KEEP, own],
        workers=2,
        logging={"format": "json"},
        admin={"port": 0},
    )
    place.publish([registered(f"m{number}", 1) for number in range(40)])
    async with place.running() as process:
        await place.until(lambda: len(written(place, "done.txt")) == 40 and len(place.ids()) == 40)
        await place.until(lambda: len(status(place)["partitions"]) == 8)
        await place.until(lambda: status(place)["outcomes"].get("handled") == 80)
        shown = status(place)
        assert [each["partition"] for each in shown["partitions"]] == [
            *("0", "1", "2", "3"),
            *("second/0", "second/1", "second/2", "second/3"),
        ]
        assert {each["name"]: each["handled"] for each in shown["processors"]} == {"keep": 40, "late": 40}
        assert await stop(process, signal.SIGTERM) == 0

    assert sorted(place.ids()) == sorted(written(place, "done.txt"))


async def test_a_consumer_group_that_is_not_there_ends_inturn_and_says_so(place, local_hub):
    place.configure(
        source=source(local_hub, connect_timeout_s=2),
        processors=[KEEP, {"name": "late", "type": "console", "consumer_group": "nobody"}],
    )
    async with place.running() as process:
        code = await process.wait()
    assert code == os.EX_TEMPFAIL
    assert "There is no consumer group named nobody" in place.log()


FALLIBLE = """
import os

async def send(event, context):
    if os.path.exists("down"):
        raise OSError("refused")
    with open("done.txt", "a") as file:
        file.write(event.id + "\\n")
"""


async def test_a_target_that_is_down_makes_no_dead_letters_and_inturn_stays_ready(place):
    """Fifty times as many events as could have spent their attempts, and the neighbour has all of them."""
    (place.folder / "fallible.py").write_text(FALLIBLE)
    (place.folder / "down").touch()
    quick = {
        "retry": {"attempts": 5, "backoff_s": 0.01, "backoff_max_s": 0.01},
        "breaker": {"open_s": 0.2, "open_max_s": 0.5},
    }
    place.configure(
        processors=[KEEP, {"name": "send", "type": "fallible:send", **quick}],
        logging={"format": "json"},
        admin={"port": 0},
    )
    count = 400
    place.publish([registered(f"m{number % 40}", 1 + number // 40) for number in range(count)])

    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == count)
        await place.until(lambda: _sending(place)["breaker_opened"] == 1)
        tried = _sending(place)["attempts_failed"]
        await place.until(lambda: _sending(place)["attempts_failed"] >= tried + 4)
        assert _sending(place)["breaker"] in {"open", "half_open"}
        assert status(place)["ready"]
        (place.folder / "down").unlink()
        await place.until(lambda: len(written(place, "done.txt")) == count)
        assert status(place)["dead_letters"] == 0
        assert _sending(place)["breaker"] == "closed"
        assert await stop(process) == 0

    for model in range(40):
        ours = [name for name in written(place, "done.txt") if name.startswith(f"m{model}-")]
        assert ours == [f"m{model}-{version}" for version in range(1, 11)]


def _sending(place: Place) -> dict:
    (found,) = [each for each in status(place)["processors"] if each["name"] == "send"]
    return found
