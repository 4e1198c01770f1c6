"""A redrive put together from settings: whose events are whose, signals, and the right to the store."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from harness.letters import TOPIC, Bench, body, letter, undecoded

from consumer.errors import StoreUnavailable
from consumer.redrive import carrying_out, right
from consumer.redrive.carrying_out import Carrier, Request, open_redrive
from consumer.settings import Settings
from consumer.stores import LetterFilter
from consumer.stores.memory import MemoryDeadLetters

SECRET = "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=s"
handled: list[str] = []


class Noting:
    """A processor that notes its own name."""

    async def __call__(self, event, context) -> None:
        handled.append(context.processor)


def noting(make):
    """Makes processors as configured, that only note what they are given."""

    def made(*arguments, **options):
        processor = make(*arguments, **options)
        processor.target = Noting()
        return processor

    return made


@pytest.fixture
def store(monkeypatch):
    """The store that the settings lead to."""
    store = MemoryDeadLetters()

    @asynccontextmanager
    async def opened(_place):
        yield store

    monkeypatch.setattr(carrying_out, "open_dead_letters", opened)
    monkeypatch.setattr(carrying_out, "running_processor", noting(carrying_out.running_processor))
    handled.clear()
    return store


def settings() -> Settings:
    processor = {"type": "console"}
    return Settings.model_validate(
        {
            "source": {"type": "eventhub", "connection_string": SECRET, "hub": "models"},
            "admission": {"topics": [TOPIC]},
            "processors": [
                {"name": "deploy", **processor},
                {"name": "audit", "consumer_group": "audit", **processor},
                {"name": "other", "types": ["Microsoft.Storage.*"], **processor},
                {"name": "picky", "filter": {"subject_begins_with": "models/churn"}, **processor},
            ],
        }
    )


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("$Default", ["deploy"]),
        ("audit", ["audit"]),
        ("unheard-of", ["deploy"]),
        ("$Default~replay-1", ["audit", "deploy"]),
    ],
)
async def test_what_is_an_event_now_goes_to_the_processors_of_its_consumer_group(store, group, expected):
    await store.put([undecoded(body("fraud", 1), partition=letter("a", 1).partition._replace(group=group))])

    async with open_redrive(settings(), Request(LetterFilter())) as carrier:
        await carrier.carry_out()

    assert sorted(handled) == expected
    assert await store.count() == 0


async def test_the_topics_of_today_are_asked_for(store):
    await store.put([undecoded(body("fraud", 1, topic=TOPIC + "2"))])

    async with open_redrive(settings(), Request(LetterFilter())) as carrier:
        await carrier.carry_out()

    (kept,) = [each async for each in store.letters()]
    assert (kept.reason, kept.error) == ("topic", "the topic is not in admission.topics")
    assert handled == []


# Signals, and the right to the store.


async def test_a_second_signal_cuts_off_what_runs_and_it_stays(bench: Bench):
    await bench.put(letter("fraud", 1))
    begun = asyncio.Event()

    async def hang(event) -> None:
        begun.set()
        await asyncio.sleep(60)

    bench.deploy.before = hang
    carrier = Carrier(bench.make(), bench.store)
    async with asyncio.TaskGroup() as tasks:
        carrying = tasks.create_task(carrier.carry_out())
        await begun.wait()
        carrier.drain()
        carrier.hurry()
        await carrying

    assert await bench.kept() == [letter("fraud", 1)]
    assert carrier.redrive.pace.is_stopped
    assert await bench.store.claim("another", 15)  # the right was given back


async def test_a_redrive_whose_right_another_takes_begins_nothing_new_and_says_so(bench: Bench, monkeypatch):
    monkeypatch.setattr(right, "_TRUST_S", 0.3)
    monkeypatch.setattr(right, "_LOOK_EVERY_S", 0.02)
    await bench.put(*(letter("fraud", version) for version in range(1, 4)))

    async def stolen(event) -> None:
        bench.store._claim = ("another", float("inf"))
        await asyncio.sleep(0.5)

    bench.deploy.before = stolen
    with pytest.raises(StoreUnavailable, match="has taken the right"):
        await Carrier(bench.make(), bench.store).carry_out()

    assert len(await bench.keys()) >= 2
    assert bench.deploy.attempts == 1


async def test_a_redrive_that_cannot_renew_its_right_ends(bench: Bench, monkeypatch):
    monkeypatch.setattr(right, "_TRUST_S", 0.3)
    monkeypatch.setattr(right, "_LOOK_EVERY_S", 0.02)
    await bench.put(letter("fraud", 1))

    async def away(*_arguments) -> bool:
        raise StoreUnavailable("gone")

    async def hang(event) -> None:
        bench.store.claim = away
        await asyncio.sleep(60)

    bench.deploy.before = hang
    with pytest.raises(StoreUnavailable, match="not answered for too long"):
        await Carrier(bench.make(), bench.store).carry_out()
    assert await bench.keys() == ["fraud-1"]


async def test_processors_are_opened_before_their_first_letter_and_closed_after_the_last(bench: Bench):
    told: list[str] = []

    class Opened(type(bench.deploy)):
        async def open(self) -> None:
            told.append("open")

        async def close(self) -> None:
            told.append("close")

        async def __call__(self, event, context) -> None:
            told.append(event.id)

    bench.targets = {"deploy": Opened(), "idle": Opened()}
    await bench.put(letter("fraud", 1), letter("fraud", 2))
    await Carrier(bench.make(), bench.store).carry_out()
    assert told == ["open", "fraud-1", "fraud-2", "close"]
