"""An event that is too large for the re-key topic is put aside, and nothing else waits for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness.kafka_places import EVENTS, OBJECTS, Memory, Place, orders, until
from harness.kafka_worlds import TOPIC, event

from consumer.composition import Application
from consumer.events import DeadLetter, Reason
from consumer.sources import faust as source
from consumer.sources.faust_app import REQUEST_MAX_BYTES
from consumer.sources.faust_sending import Sender
from consumer.sources.faust_settings import FaustSecurity, FaustSettings

LIMIT = 1_500


def large(number: int, size: int = LIMIT, **fields: str) -> bytes:
    """Event `number`, whose own bytes are more than so many."""
    [body] = json.loads(event(number, OBJECTS))
    body["data"]["url"] = "https://spread/" + "".join(chr(65 + each * 7919 % 26) for each in range(size))
    return json.dumps([body | fields], separators=(",", ":")).encode()


@pytest.fixture
def place(kafka_bootstrap, kafka_topic, tmp_path: Path) -> Place:
    rekey_topic = kafka_topic("by-object", max_message_bytes=str(LIMIT))
    return Place(kafka_bootstrap, tmp_path, kafka_topic("events"), rekey_topic)


async def letters(application: Application) -> list[DeadLetter]:
    return [each async for each in application.dead_letters.letters()]


def put_aside(application: Application) -> float | None:
    return application.metrics.registry.get_sample_value("inturn_kafka_put_aside_total")


async def nobody_says(*_: object) -> None:
    return None


async def send_among_others(place: Place, *bodies: bytes) -> None:
    half = EVENTS // 2
    await place.send(*[event(number, OBJECTS) for number in range(half)])
    await place.send(*bodies)
    await place.send(*[event(number, OBJECTS) for number in range(half, EVENTS)])


def check_others(memory: Memory) -> None:
    assert sorted(int(each.id) for each in memory.events) == [*range(EVENTS)]
    assert all(order == sorted(order) for order in orders(memory.events).values())


async def test_it_is_a_dead_letter_with_its_bytes_and_its_place(place, memory):
    body = large(EVENTS)
    await send_among_others(place, body)
    async with place.running() as application:
        await until(lambda: len(memory.events) == EVENTS)
        await until(lambda: put_aside(application) == 1)
        [letter] = await letters(application)
    assert (letter.reason, letter.original) == (Reason.TOO_LARGE, body[1:-1])
    assert letter.partition.hub == place.topic
    assert (letter.position.partition, letter.position.sequence_number) == ("0", EVENTS // 8)
    assert (letter.event_id, letter.processor) == (str(EVENTS), None)
    assert f"more than the {LIMIT} of topic {place.rekey_topic}" in letter.error
    check_others(memory)
    assert sum(filter(None, await place.committed(place.topic))) == EVENTS + 1


async def test_the_others_in_its_message_go_on(place, memory):
    await place.send(event(0, OBJECTS)[:-1] + b"," + large(1)[1:-1] + b"," + event(2, OBJECTS)[1:])
    async with place.running() as application:
        await until(lambda: len(memory.events) == 2)
        await until(lambda: put_aside(application) == 1)
        [letter] = await letters(application)
    assert (letter.event_id, letter.position.index) == ("1", 1)
    assert {each.id for each in memory.events} == {"0", "2"}


async def test_where_the_limit_is_not_told_the_brokers_refusal_says_which_it_was(place, memory, monkeypatch):
    monkeypatch.setattr(source, "largest_batch", nobody_says)
    await send_among_others(place, large(EVENTS), large(EVENTS + 1))
    async with place.running() as application:
        await until(lambda: len(memory.events) == EVENTS)
        await until(lambda: put_aside(application) == 2)
        kept = await letters(application)
    assert {(each.event_id, each.reason) for each in kept} == {
        (str(EVENTS), Reason.TOO_LARGE),
        (str(EVENTS + 1), Reason.TOO_LARGE),
    }
    assert all("refuses" in each.error for each in kept)
    check_others(memory)


async def test_more_than_any_request_may_have_is_put_aside_too(place, kafka_topic, memory):
    place.topic, place.rekey_topic = [kafka_topic(max_message_bytes="1200000") for _ in range(2)]
    await place.send(event(0, OBJECTS), large(1, 1_000_000), event(2, OBJECTS))
    async with place.running() as application:
        await until(lambda: len(memory.events) == 2)
        await until(lambda: put_aside(application) == 1)
        [letter] = await letters(application)
    assert (letter.event_id, letter.reason) == ("1", Reason.TOO_LARGE)


async def test_what_nobody_wants_is_no_dead_letter_however_large(place, memory):
    await place.send(large(0, topic=TOPIC + "2"), large(1), event(2, OBJECTS))
    async with place.running() as application:
        await until(lambda: len(memory.events) == 1)
        await until(lambda: put_aside(application) == 1)
        assert [each.event_id for each in await letters(application)] == ["1"]
    assert sum(filter(None, await place.committed(place.topic))) == 3


async def test_what_fits_once_it_is_compressed_is_sent(place, memory):
    body = event(0, OBJECTS).replace(b"x" * 400, b"x" * 4 * LIMIT)
    await place.send(body)
    spread = {"placement": "spread", "rekey_topic": place.rekey_topic}
    async with place.running(**spread, compression="gzip"):
        await until(lambda: memory.events)
    assert [each.original for each in memory.events] == [body[1:-1]]


@pytest.mark.parametrize("partitions", [1, 4, 32, 1_024])
def test_a_request_with_a_batch_for_every_partition_is_one_that_event_hubs_takes(partitions):
    security = FaustSecurity("connection_string", tls=True, secret="")
    sender = Sender(FaustSettings("b:1", "t", "g", "r", security=security), partitions, nobody_says)
    assert 0 < partitions * sender.batch_bytes <= REQUEST_MAX_BYTES
