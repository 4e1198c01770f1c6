"""What Faust reads from a spread topic comes to the same as what is read from a keyed hub."""

from __future__ import annotations

import json
import random
from pathlib import Path

from aiokafka import AIOKafkaProducer
from harness.kafka_worlds import KafkaWorld, event, open_kafka_world

from consumer.hub import HubSettings, LocalHub, LocalHubSettings

EVENTS = 8_000
OBJECTS = 200


def awkward_numbers(seed: int) -> list[int]:
    """Every event, some twice, many overtaken by their neighbours: within the reorder window."""
    rng = random.Random(seed)
    places = [(number + rng.uniform(0, 3 * OBJECTS), number) for number in range(EVENTS)]
    places += [(place + rng.uniform(0, OBJECTS), number) for place, number in places if rng.random() < 0.1]
    return [number for _, number in sorted(places)]


async def through_the_hub(world: KafkaWorld, numbers: list[int]) -> str:
    """Send them to a hub, keyed by object, and give the digest of what the Event Hubs engine made of them."""
    async with LocalHub(LocalHubSettings(hubs=(HubSettings(name="events", partitions=4),))) as hub:
        for number in numbers:
            hub.publish("events", event(number, OBJECTS), partition_key=str(number % OBJECTS))
        settings = json.loads((world.folder / "inturn.yaml").read_text())
        source = {"type": "eventhub", "hub": "events", "connection_string": hub.connection_string()}
        settings |= {"source": source, "state": {"type": "memory"}}
        (world.folder / "inturn.yaml").write_text(json.dumps(settings))
        worker = await world.start(engine="eventhub")
        await world.until_done(EVENTS)
        assert await worker.stop() == 0
    return world.digest()


async def test_both_engines_give_every_object_the_same_order(
    kafka_bootstrap, figure, explain, seed, tmp_path: Path
):
    numbers = awkward_numbers(seed)
    async with open_kafka_world(tmp_path, kafka_bootstrap) as world:
        worker = await world.start()
        async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, linger_ms=2) as producer:
            for number in numbers:
                partition = world.rng.randrange(4)
                await producer.send(world.topic, event(number, OBJECTS), partition=partition)
            await producer.flush()
        await world.until_done(EVENTS)
        assert await worker.stop() == 0
        spread, outcome = world.digest(), world.outcome(EVENTS)
        (tmp_path / "effects.jsonl").rename(tmp_path / "effects-kafka.jsonl")
        keyed = await through_the_hub(world, numbers)
        explain(world.explain(outcome))
        figure("faust-equal-digests", int(spread == keyed), "digests", "==", 1)
        figure("faust-equal-events", EVENTS - len(outcome.lost), "events", "==", EVENTS)
        assert not outcome.out_of_order
