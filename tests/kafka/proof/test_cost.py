"""What a worker costs beside stock Faust that does the same, and what a second worker brings."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from harness.kafka_worlds import KafkaWorld, open_kafka_world
from harness.worlds import Worker

EVENTS = 40_000
STOCK_EVENTS = 10_000
OBJECTS = 5_000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """What a process has used so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


async def stock(world: KafkaWorld) -> float:
    """Seconds of CPU an event of stock Faust, with `STOCK_EVENTS` in the topic."""
    script = Path(__file__).with_name("stock_faust.py")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script), world.bootstrap, world.topic, str(STOCK_EVENTS)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            async for line in process.stdout:
                if line.startswith(b"cpu_s "):
                    return float(line.split()[1]) / STOCK_EVENTS
    finally:
        process.kill()
        await process.wait()
    raise AssertionError("Stock Faust ended before it was through.")


async def ours(world: KafkaWorld, workers: int, events: int) -> tuple[float, float]:
    """Seconds of CPU an event, and events a second from the first effect to the last."""
    alive = [await world.start() for _ in range(workers)]
    async with asyncio.timeout(60):
        while not all(worker.owned() for worker in alive):  # noqa: ASYNC110 - it is in their logs
            await asyncio.sleep(0.02)
    before_s = sum(cpu_s(worker.pid) for worker in alive)
    await world.until_done(events, poll_s=0.1)
    spent_s = sum(cpu_s(worker.pid) for worker in alive) - before_s
    await stop(alive)
    times_s = [effect.at_s for effect in world.effects()]
    assert not world.outcome(events).lost
    return spent_s / events, events / (max(times_s) - min(times_s))


async def stop(workers: list[Worker]) -> None:
    for worker in workers:
        assert await worker.stop() == 0


@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_a_worker_costs_a_third_of_stock_faust(kafka_bootstrap, figure, tmp_path: Path):
    async with open_kafka_world(tmp_path / "stock", kafka_bootstrap) as world:
        await world.send(0, STOCK_EVENTS, objects=OBJECTS)
        stock_s = await stock(world)
    async with open_kafka_world(tmp_path / "ours", kafka_bootstrap) as world:
        await world.send(0, EVENTS, objects=OBJECTS)
        ours_s, rate_per_s = await ours(world, 1, EVENTS)
    figure("faust-stock-cpu", stock_s * 1e6, "us/event")
    figure("faust-cpu", ours_s * 1e6, "us/event")
    figure("faust-cpu-stock-over-ours", stock_s / ours_s, "times", ">=", 3)
    figure("faust-rate-of-a-worker", rate_per_s, "events/s")


@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_a_second_worker_brings_more(kafka_bootstrap, figure, tmp_path: Path):
    costs, rates = [], []
    for workers in (1, 2):
        async with open_kafka_world(tmp_path / str(workers), kafka_bootstrap) as world:
            await world.send(0, EVENTS, objects=OBJECTS)
            cost_s, rate_per_s = await ours(world, workers, EVENTS)
            costs.append(cost_s)
            rates.append(rate_per_s)
    # Workers, broker and test share the cores of the machine: with fewer than four it says little.
    figure("faust-two-workers-over-one", rates[1] / rates[0], "times", ">=", 1.6)
    figure("faust-two-workers-cpu-over-one", costs[1] / costs[0], "times")
