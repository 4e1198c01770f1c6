"""Partitions change hands by plan: nothing is repeated, and the next owner starts within a second."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest
from harness.beacons import beacons, until_handled_anew
from harness.books import discrepancies
from harness.worlds import HUB, Worker, World, open_world

RATE_PER_S = 20.0
PARTITIONS = 4
IDLE_S = 1.0
DEAD_S = 20.0


class HandOver(NamedTuple):
    """A partition that went from one worker to another."""

    partition: str
    idle_s: float
    """From the last word of the old owner to the first effect of the new one."""


def given_up_s(worker: Worker, partition: str, after_s: float) -> float | None:
    """When a worker said that it had drained a partition, in seconds since 1970."""
    times = (
        datetime.fromisoformat(line["timestamp"]).timestamp()
        for line in worker.logged("A partition was drained.")
        if line["partition"] == partition
    )
    return min((each for each in times if each > after_s), default=None)


def first_effect_s(world: World, partition: str, pid: int, after_s: float) -> float | None:
    """When a worker first had an effect on a partition after a time."""
    times = (
        effect.at_s
        for effect in world.receiver.effects
        if effect.pid == pid and effect.position.partition == partition and effect.at_s > after_s
    )
    return next(times, None)


async def hand_overs(world: World, old: Worker, new: Worker, since_s: float) -> list[HandOver]:
    """Wait until everything that one worker has given up since then is at work with another."""
    found = []
    given = {
        str(number): at_s
        for number in range(PARTITIONS)
        if (at_s := given_up_s(old, str(number), since_s)) is not None
    }
    for partition, at_s in given.items():
        await world.until(
            lambda: first_effect_s(world, partition, new.pid, at_s),  # noqa: B023 - awaited at once
            f"partition {partition} is handled by the new owner",
        )
        took_s = (first_effect_s(world, partition, new.pid, at_s) or 0.0) - at_s
        found.append(HandOver(partition, took_s))
    return found


def configure(world: World, state: dict) -> None:
    """The configuration that users have: nothing is said of how fast partitions change hands."""
    source = {"type": "eventhub", "hub": HUB, "connection_string": world.hub.connection_string()}
    world.configure(source=source, state=state)


async def join(world: World, old: Worker) -> tuple[Worker, list[HandOver]]:
    """Start another worker and wait until it has its share."""
    since_s = time.time()
    new = await world.start()
    await world.until_reading(new, PARTITIONS // 2)
    return new, await hand_overs(world, old, new, since_s)


async def leave(world: World, old: Worker, new: Worker) -> list[HandOver]:
    """Stop a worker and wait until the other has taken everything over."""
    since_s = time.time()
    assert await old.stop() == 0
    return await hand_overs(world, old, new, since_s)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_planned_hand_over_repeats_nothing_and_the_next_owner_starts_at_once(
    effort, seed, figure, explain, tmp_path: Path, blob_state
):
    rounds = effort.pick(short=1, full=10, deep=100)
    joined: list[HandOver] = []
    left: list[HandOver] = []
    async with open_world(tmp_path, seed, PARTITIONS) as world:
        configure(world, blob_state)
        async with world.fed(RATE_PER_S), beacons(world):
            old = await world.start()
            await world.until_reading(old, PARTITIONS)
            await until_handled_anew(world)
            for _ in range(rounds):
                new, moved = await join(world, old)
                joined += moved
                await asyncio.sleep(world.rng.uniform(1, 3))
                left += await leave(world, old, new)
                old = new
                await asyncio.sleep(world.rng.uniform(1, 3))
        verdict = await world.settled()
        code = await old.stop()
        found = await discrepancies(world, world.truth()) + ([] if code == 0 else [f"it stopped with {code}"])
        explain(world.trouble(verdict.faults + found))
        explain("\n".join([*map(str, joined), "left", *map(str, left)]))
    idle_s = [each.idle_s for each in (*joined, *left)]
    figure("planned-handovers", len(idle_s), "partitions", ">=", rounds * PARTITIONS)
    figure("planned-handover-idle", median(idle_s), "s", "<=", IDLE_S)
    figure("planned-handover-idle-joining", median(each.idle_s for each in joined), "s")
    figure("planned-handover-idle-leaving", median(each.idle_s for each in left), "s")
    figure("planned-handover-idle-max", max(idle_s), "s")
    figure("planned-handover-repeats", len(verdict.repeats), "effects", "==", 0)
    figure("planned-handover-lost", len(verdict.lost), "events", "==", 0)
    figure("planned-handover-out-of-order", len(verdict.out_of_order), "events", "==", 0)
    figure("planned-handover-unaccounted", len(found), "events", "==", 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_partitions_of_a_worker_that_was_killed_soon_go_on_elsewhere(
    effort, seed, figure, tmp_path: Path, blob_state
):
    kills = effort.pick(short=1, full=5, deep=50)
    took_s: list[float] = []
    async with open_world(tmp_path, seed, PARTITIONS) as world:
        configure(world, blob_state)
        async with beacons(world):
            workers = [await world.start() for _ in range(2)]
            for _ in range(kills):
                for worker in workers:
                    await world.until(lambda: len(worker.owned()) >= 2, "both have a share")  # noqa: B023
                await until_handled_anew(world)
                doomed = workers.pop(0)
                await doomed.kill()
                took_s.append(await until_handled_anew(world))
                workers.append(await world.start())
    figure("crash-takeover-median", median(took_s), "s")
    figure("crash-takeover-max", max(took_s), "s", "<=", DEAD_S)
