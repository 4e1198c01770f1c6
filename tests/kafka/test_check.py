"""`inturn check --deep` looks at topics, and says how events are placed and what to re-key would cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from harness.kafka_worlds import TOPIC, event
from harness.processes import Inturn


@pytest.fixture
def check(kafka_bootstrap, kafka_topic, tmp_path: Path):
    topic, rekey_topic = kafka_topic("events"), kafka_topic("by-object")

    async def run(*, keyed: bool, **source: str):
        async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
            for number in range(100):
                partition = number % 10 % 4 if keyed else number % 4
                await producer.send(
                    topic, event(number, 10), key=b"k" if keyed else None, partition=partition
                )
            await producer.flush()
        told = {"type": "kafka", "bootstrap": kafka_bootstrap, "topic": topic, "security": {"tls": False}}
        if source["placement"] == "spread":
            told["rekey_topic"] = rekey_topic
        settings = {
            "source": told | source,
            "state": {"type": "sqlite"},
            "admission": {"topics": [TOPIC]},
            "processors": [{"name": "log", "type": "console"}],
        }
        (tmp_path / "inturn.yaml").write_text(json.dumps(settings))
        return Inturn(tmp_path)("check", "--deep")

    return run


async def test_spread_events_that_are_read_as_keyed_are_a_finding(check):
    said = await check(keyed=False, placement="keyed")
    assert said.returncode == 1, said.stderr
    assert "placement: spread; of the newest 100 messages 100 have no key" in said.stdout
    assert "of 10 objects 10 are on several partitions" in said.stdout
    assert "finding: the events of 10 objects lie on several partitions" in said.stdout
    assert "come in twice" in said.stdout


async def test_spread_events_that_are_rekeyed_are_fine_and_what_it_costs_is_told(check):
    said = await check(keyed=False, placement="spread")
    assert said.returncode == 0, said.stdout
    assert "placement: spread" in said.stdout
    assert "re-keying: about" in said.stdout


async def test_keyed_events_need_no_second_topic(check):
    said = await check(keyed=True, placement="spread")
    assert "finding: source.placement is spread, and no object is" in said.stdout
