"""Thousands of awkward events through all processors at once, each with a real target.

Every effect has to come exactly once and in the order of its object; and when one target is away, the others
are not to notice. ``--effort full`` is `make accept`: 50,000 events.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from azure.eventhub.extensions.checkpointstoreblobaio._vendor.storage.blob.aio import ContainerClient
from harness.side_by_side import loss
from harness.team import make_trace, open_team
from harness.team_at_work import Run, live

Lives = Callable[..., Awaitable[Run]]


@pytest.fixture
def lives(tmp_path: Path, azurite: Any, seed: int) -> Lives:
    """Lets a worker do a trace of so many events with every processor there is."""

    async def life(number: int, events: int, **told: Any) -> Run:
        folder = tmp_path / str(number)
        folder.mkdir()
        container = f"archive-{uuid.uuid4().hex}"
        archive = {
            "connection_string": azurite.connection_string,
            "container": container,
            "create_container": True,
        }
        async with open_team(folder) as team:
            team.publish(make_trace(seed, events))
            return await live(team, {"blob": archive}, lambda: archived(archive), **told)

    return life


async def archived(place: Mapping[str, Any]) -> list[str]:
    """The keys in an archive, in the order of its blobs and lines."""
    keys: list[str] = []
    client = ContainerClient.from_connection_string(place["connection_string"], place["container"])
    async with client:
        names = [blob.name async for blob in client.list_blobs()]
        for name in sorted(names):
            stream = await client.download_blob(name)
            keys += [orjson.loads(line)["idempotency_key"] for line in (await stream.readall()).splitlines()]
    return keys


def faults(run: Run) -> list[str]:
    """What is wrong, for a person."""
    return [
        f"{name}: lost {each.lost[:3]}, repeated {each.repeated[:3]}, out of order {each.out_of_order[:3]}"
        for name, each in run.judged.items()
        if not each.is_well
    ]


def steps_back(run: Run) -> int:
    """Deployments of a version that was there already, or of a lower one."""
    orders = run.deployed.values()
    return sum(after <= before for order in orders for before, after in itertools.pairwise(order))


async def test_every_effect_of_every_processor_comes_once_and_in_turn(lives, figure, effort, explain):
    run = await lives(0, effort.pick(short=2_000, full=50_000, deep=200_000))

    explain("\n".join(faults(run)))
    judged = run.judged.values()
    figure("accept-effects", sum(run.due.values()), "effects")
    figure("accept-lost", sum(len(each.lost) for each in judged), "effects", "==", 0)
    figure("accept-repeated", sum(len(each.repeated) for each in judged), "effects", "==", 0)
    figure("accept-out-of-order", sum(len(each.out_of_order) for each in judged), "effects", "==", 0)
    figure("accept-deployments", sum(map(len, run.deployed.values())), "deployments", "==", run.due["deploy"])
    figure("accept-deployments-not-upwards", steps_back(run), "deployments", "==", 0)
    figure("accept-told", run.told.total(), "events", "==", run.due["deploy"] + run.due["retrain"])
    figure("accept-told-twice", run.told_twice, "events", "==", 0)
    figure("accept-retrainings-started", run.told["Inturn.RetrainingStarted"], "runs", "==", 1)


async def test_a_mail_server_that_is_away_for_half_of_the_time_costs_nobody_else_anything(
    lives, figure, effort, explain
):
    pairs, events = effort.pick(short=(1, 2_000), full=(3, 50_000), deep=(9, 50_000))
    losses: list[float] = []
    work: list[float] = []
    wrong: list[str] = []
    for pair in range(pairs):
        together = asyncio.Barrier(2)
        async with asyncio.TaskGroup() as tasks:
            calmly = tasks.create_task(lives(2 * pair + 1, events, together=together))
            without = tasks.create_task(lives(2 * pair + 2, events, together=together, mail_is_down=True))
        calm, troubled = calmly.result(), without.result()
        losses.append(loss(calm.neighbours, troubled.neighbours))
        work.append(100 * (troubled.cpu_s / calm.cpu_s - 1))
        wrong += faults(calm) + faults(troubled)
    explain("\n".join([*wrong, f"losses {losses}, more work {work}"]))
    figure("accept-mail-down-wrong", len(wrong), "processors", "==", 0)
    if pairs > 1:  # what one pair of short runs took says nothing
        figure("accept-neighbours-loss", max(0.0, statistics.median(losses)), "%", "<=", 5)
        # The targets are one process: where the workers wait for that, more work is not more time.
        figure("accept-mail-down-more-work", max(0.0, statistics.median(work)), "%", "<=", 5)
