"""`inturn run` as a process: what it handles, how it stops, and what a crash costs."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from .conftest import registered, stop

SLOW = """
import asyncio, json, os

async def write(event, context):
    await asyncio.sleep(0.005)
    line = json.dumps({"id": event.id, "idempotency_key": context.idempotency_key}) + "\\n"
    with open(f"archive/{os.getppid()}.jsonl", "a") as file:
        file.write(line)
"""
"""A processor that takes its time, so that there is something in flight when it is stopped."""


def take_time(place) -> None:
    (place.folder / "slow.py").write_text(SLOW)
    (place.folder / "archive").mkdir()
    place.configure(
        processors=[{"name": "slow", "type": "slow:write"}],
        # What is held comes out at once when its time has come, however much is in flight by then.
        sequence={"window_s": 0.2, "idle_margin_s": 0.5, "held_max": 50},
        limits={"in_flight_max": 100},
    )


async def test_events_arrive_in_turn_without_duplicates_whatever_order_they_came_in(place):
    rng = random.Random(7)
    bodies = [registered(f"m{number % 20}", 1 + number // 20) for number in range(400)]
    for start in range(0, 400, 60):  # overtaken within the window, and a fifth twice
        part = bodies[start : start + 60]
        rng.shuffle(part)
        place.publish(part + rng.sample(part, 12))
    place.configure()

    async with place.running() as process:
        await place.until(lambda: len(place.ids()) >= 400)
        assert await stop(process) == 0

    for number in range(20):
        assert place.versions(f"m{number}") == list(range(1, 21))
    assert len(place.ids()) == 400
    assert all(line["ordered_by"] == "version" for line in place.archived())


async def test_a_stop_before_it_has_begun_is_a_stop(place):
    place.configure()

    for after_s in (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4):
        async with place.running() as process:
            await asyncio.sleep(after_s)
            # Before Python itself is up, a signal ends it as it ends any program.
            assert await stop(process) in (0, -signal.SIGTERM), after_s


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_in_full_flight_repeats_nothing_and_loses_nothing(place, with_signal):
    take_time(place)
    bodies = [registered(f"m{number % 8}", 1 + number // 8) for number in range(4_000)]
    place.publish(bodies)

    async with place.running() as process:
        await place.until(lambda: len(place.ids()) >= 200)
        assert await stop(process, with_signal) == 0
    assert len(place.ids()) < 4_000
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) >= 4_000)
        assert await stop(process) == 0

    assert len(place.ids()) == len(set(place.ids())) == 4_000
    for number in range(8):
        assert place.versions(f"m{number}") == list(range(1, 501))


async def test_a_kill_loses_nothing_and_what_it_repeats_has_the_same_key(place):
    take_time(place)
    bodies = [registered(f"m{number % 8}", 1 + number // 8) for number in range(3_000)]
    place.publish(bodies)

    for least in (100, 900, 1_700):
        async with place.running() as process:
            await place.until(lambda least=least: len(set(place.ids())) >= least)
            process.kill()
            await process.wait()
    async with place.running() as process:
        await place.until(lambda: len(set(place.ids())) >= 3_000)
        assert await stop(process) == 0

    keys: dict[str, set[str]] = {}
    for line in place.archived():
        keys.setdefault(line["id"], set()).add(line["idempotency_key"])
    assert len(keys) == 3_000
    assert all(len(each) == 1 for each in keys.values())
    for number in range(8):
        first = list(dict.fromkeys(place.versions(f"m{number}")))
        assert first == sorted(first)


async def test_a_second_signal_cuts_off_what_blocks_and_says_so(place):
    (place.folder / "blocking.py").write_text(
        "import asyncio, pathlib\n"
        "async def block(event, context):\n"
        "    pathlib.Path('began').touch()\n"
        "    await asyncio.sleep(3600)\n"
    )
    processor = {"name": "block", "type": "blocking:block", "deadline_s": 3600}
    place.configure(processors=[processor], drain={"timeout_s": 600})
    place.publish([registered("m", 1)])

    async with place.running() as process:
        await place.until((place.folder / "began").exists)
        process.send_signal(signal.SIGTERM)
        await place.until(lambda: "A second signal hurries" in place.log())
        assert await stop(process) == 75

    assert "Work was cut off" in place.log()


async def test_a_processor_that_will_not_be_cut_off_is_ended_by_a_third_signal(place):
    (place.folder / "stubborn.py").write_text(
        "import asyncio, pathlib\n"
        "async def hang(event, context):\n"
        "    pathlib.Path('began').touch()\n"
        "    while True:\n"
        "        try:\n"
        "            await asyncio.sleep(3600)\n"
        "        except asyncio.CancelledError:\n"
        "            pathlib.Path('refused').touch()\n"
    )
    place.configure(
        processors=[{"name": "hang", "type": "stubborn:hang", "deadline_s": 3600}], drain={"timeout_s": 600}
    )
    place.publish([registered("m", 1)])

    async with place.running() as process:
        await place.until((place.folder / "began").exists)
        process.send_signal(signal.SIGTERM)
        await place.until(lambda: "A second signal hurries" in place.log())
        process.send_signal(signal.SIGTERM)
        await place.until((place.folder / "refused").exists)
        assert await stop(process) == 75


async def test_a_hub_that_goes_away_and_comes_back_costs_nothing(place):
    place.configure()
    place.publish([registered("m", version) for version in range(1, 51)])

    async with place.running() as process:
        await place.until(lambda: len(place.ids()) == 50)
        with place.hub.faults.refuse():
            place.hub.faults.drop_connections()
            await asyncio.sleep(1.5)
        place.publish([registered("m", version) for version in range(51, 101)])
        await place.until(lambda: len(place.ids()) == 100)
        assert await stop(process) == 0

    assert place.versions("m") == list(range(1, 101))


async def test_files_are_read_to_their_end_once(place):
    lines = [registered("m", version) for version in (2, 1, 3)]
    (place.folder / "events.jsonl").write_bytes(b"\n".join([*lines, b"not JSON"]))
    place.configure(source={"type": "file", "paths": ["events.jsonl"]})

    for _ in range(2):
        async with place.running() as process:
            assert await asyncio.wait_for(process.wait(), 30) == 0

    assert place.versions("m") == [1, 2, 3]
