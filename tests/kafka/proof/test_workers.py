"""Two workers share a spread topic on Apache Kafka: killed, stopped, beside a broker that goes away."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from harness.kafka_worlds import bound_on_repeats, open_kafka_world

EVENTS = 40_000
RATE_PER_S = 2_000


@pytest.mark.timeout(400)
async def test_no_kill_loses_an_event_or_turns_two_round(kafka_bootstrap, figure, explain, tmp_path: Path):
    async with open_kafka_world(tmp_path, kafka_bootstrap) as world:
        alive, killed = [await world.start() for _ in range(2)], []
        for worker in alive:
            await world.until_assigned(worker)
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(world.send(0, EVENTS, per_s=RATE_PER_S))
            for _ in range(3):
                await asyncio.sleep(4)
                doomed = await world.someone_at_work(alive)
                alive.remove(doomed)
                await doomed.kill()
                killed.append(doomed)
                alive.append(await world.start())
            await sending
        await world.until_done(EVENTS)
        codes = [await worker.stop() for worker in alive]
        outcome = world.outcome(EVENTS)
        explain(world.explain(outcome))
        bound = bound_on_repeats(world.effects(), killed)
        pids = {worker.pid for worker in killed}
        after_kills = [again for before, again in outcome.repeats if before.pid in pids]
        figure("faust-kills-lost", len(outcome.lost), "events", "==", 0)
        figure("faust-kills-out-of-order", len(outcome.out_of_order), "events", "==", 0)
        figure("faust-kills-repeated", len(after_kills), "events", "<=", bound)
        figure("faust-kills-repeated-without", len(outcome.repeats) - len(after_kills), "events", "==", 0)
        assert codes == [0, 0]


@pytest.mark.timeout(300)
async def test_a_rolling_stop_loses_and_repeats_nothing(kafka_bootstrap, figure, explain, tmp_path: Path):
    async with open_kafka_world(tmp_path, kafka_bootstrap) as world:
        alive = [await world.start() for _ in range(2)]
        for worker in alive:
            await world.until_assigned(worker)
        codes = []
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(world.send(0, 20_000, per_s=RATE_PER_S))
            for _ in range(2):
                await asyncio.sleep(3)
                codes.append(await alive.pop(0).stop(signal.SIGTERM))
                alive.append(await world.start())
                await world.until_assigned(alive[-1])
            await sending
        await world.until_done(20_000)
        codes += [await worker.stop() for worker in alive]
        outcome = world.outcome(20_000)
        explain(world.explain(outcome))
        figure("faust-stops-lost", len(outcome.lost), "events", "==", 0)
        figure("faust-stops-out-of-order", len(outcome.out_of_order), "events", "==", 0)
        figure("faust-stops-repeated", len(outcome.repeats), "events", "==", 0)
        assert codes == [0] * 4
