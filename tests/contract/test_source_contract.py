"""What every source promises its intake: one suite for Event Hubs, Kafka, files and memory.

Each case is a source over the same messages, b"0" to b"n", in one partition.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from consumer.errors import FenceLost
from consumer.events import NOTHING_DONE, Checkpoint, PartitionId, RawBatch
from consumer.hub.server import LocalHub
from consumer.hub.settings import HubSettings, LocalHubSettings
from consumer.sources.eventhub import EventHubSource
from consumer.sources.eventhub_settings import EventHubSettings
from consumer.sources.file import FileSource
from consumer.sources.memory import MemorySource
from consumer.stores.memory import MemoryStore

WAIT_S = 30.0
COUNT = 1_200


class Watching:
    """An intake that holds the source to the contract, call by call."""

    def __init__(self, checkpoint: Checkpoint = NOTHING_DONE) -> None:
        self.checkpoint = checkpoint
        self.numbers: list[int] = []
        self.bodies: list[bytes] = []
        self.calls: list[str] = []
        self.begun = 0
        self.open = asyncio.Event()
        self.open.set()
        self._owned: set[str] = set()

    async def assigned(self, partition: str, *, start: Checkpoint | None = None) -> Checkpoint:
        assert partition not in self._owned
        self.calls.append("assigned")
        self._owned.add(partition)
        return self.checkpoint

    async def received(self, batch: RawBatch) -> None:
        assert batch.partition in self._owned
        columns = (batch.bodies, batch.offsets, batch.enqueued_times_ms, batch.partition_keys)
        assert [len(column) for column in columns] == [len(batch.sequence_numbers)] * 4
        assert len(batch) > 0
        self.begun += 1
        await self.open.wait()
        self.calls.append("received")
        self.numbers += batch.sequence_numbers
        self.bodies += batch.bodies
        self.checkpoint = Checkpoint(batch.sequence_numbers[-1], batch.offsets[-1])

    async def revoked(self, partition: str, *, lost: bool) -> None:
        assert partition in self._owned
        assert not lost
        self.calls.append("revoked")
        self._owned.discard(partition)

    async def ended(self, partition: str) -> None:
        assert partition in self._owned
        self.calls.append("ended")

    def is_lost(self, partition: str) -> bool:
        return False

    def is_paused(self, partition: str) -> bool:
        return not self.open.is_set()


class Refusing(Watching):
    async def assigned(self, partition: str, *, start: Checkpoint | None = None) -> Checkpoint:
        raise FenceLost("Somebody was faster.")


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.01)


@pytest.fixture(params=["eventhub fast", "eventhub sdk", "file", "kafka", "memory"])
async def make_source(request: pytest.FixtureRequest, tmp_path):
    bodies = [b"%d" % number for number in range(COUNT)]
    if request.param == "file":
        path = tmp_path / "events.jsonl"
        path.write_bytes(b"\n".join(bodies))
        yield lambda: FileSource(path)
    elif request.param == "memory":
        yield lambda: MemorySource({"0": [_batch(bodies, first) for first in range(0, COUNT, 100)]})
    elif request.param == "kafka":
        yield await _kafka(request, bodies)
    else:
        hub = HubSettings(name="events", partitions=1)
        async with LocalHub(LocalHubSettings(hubs=(hub,))) as local:
            local.publish("events", *bodies, partition="0")
            store = MemoryStore()

            async def stored(checkpoint: Checkpoint) -> None:
                name = PartitionId(f"127.0.0.1:{local.port}", "events", "$Default", "0")
                await store.save(name, checkpoint, b"", (await store.load(name)).fence)

            def make() -> EventHubSource:
                settings = EventHubSettings(
                    connection_string=local.connection_string("events"),
                    load_balancing_interval_s=1,
                    receive=request.param.removeprefix("eventhub "),
                )
                return EventHubSource(settings, store)

            make.stored = stored  # type: ignore[attr-defined]
            yield make


async def _kafka(request: pytest.FixtureRequest, bodies: list[bytes]) -> Callable[[], Any]:
    bootstrap = request.getfixturevalue("kafka_bootstrap")
    topic = request.getfixturevalue("kafka_topic")(partitions=1)
    from consumer.sources.faust import FaustSource
    from consumer.sources.faust_rekey import Rekeying
    from consumer.sources.faust_settings import FaustSettings

    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for body in bodies:
            await producer.send(topic, body, partition=0)
        await producer.flush()
    nothing: Any = None
    return lambda: FaustSource(FaustSettings(bootstrap, topic, topic), Rekeying(nothing, nothing))


def _batch(bodies: list[bytes], first: int) -> RawBatch:
    numbers = list(range(first, min(first + 100, len(bodies))))
    return RawBatch(
        partition="0",
        bodies=[bodies[number] for number in numbers],
        sequence_numbers=numbers,
        offsets=[str(number) for number in numbers],
        enqueued_times_ms=numbers,
        partition_keys=[None] * len(numbers),
        properties_at=lambda _: {},
    )


async def run_until(source, intake, condition) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(source.run(intake))
        await until(lambda: condition() or running.done())
        async with asyncio.timeout(WAIT_S):
            await source.close()
            await running


async def test_a_partition_is_assigned_then_received_then_revoked(make_source):
    intake = Watching()
    await run_until(make_source(), intake, lambda: len(intake.numbers) == COUNT)
    calls = [call for call in intake.calls if call != "ended"]
    assert calls[0] == "assigned"
    assert calls[-1] == "revoked"
    assert set(calls[1:-1]) == {"received"}


async def test_sequence_numbers_rise_and_every_message_comes_once(make_source):
    intake = Watching()
    await run_until(make_source(), intake, lambda: len(intake.numbers) == COUNT)
    assert intake.numbers == list(range(COUNT))
    assert intake.bodies == [b"%d" % number for number in range(COUNT)]


async def test_no_batch_is_handed_over_after_stop(make_source):
    intake, source = Watching(), make_source()
    intake.open.clear()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(source.run(intake))
        await until(lambda: intake.begun)
        source.stop()
        begun = intake.begun
        intake.open.set()
        await until(lambda: "received" in intake.calls)
        await asyncio.sleep(0.3)
        assert not running.done()
        assert "revoked" not in intake.calls
        await source.close()
    assert intake.begun == begun


async def test_an_intake_that_takes_nothing_holds_the_source_up_and_loses_nothing(make_source):
    intake = Watching()
    intake.open.clear()

    async def let_go_later() -> None:
        await until(lambda: intake.begun)
        await asyncio.sleep(0.3)
        assert intake.begun == 1
        assert not intake.numbers
        intake.open.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(let_go_later())
        await run_until(make_source(), intake, lambda: len(intake.numbers) == COUNT)
    assert intake.numbers == list(range(COUNT))


async def test_reading_goes_on_behind_the_checkpoint(make_source):
    first = Watching()
    await run_until(make_source(), first, lambda: first.numbers)
    if hasattr(make_source, "stored"):
        await make_source.stored(first.checkpoint)
    second = Watching(first.checkpoint)
    await run_until(make_source(), second, lambda: len(first.numbers) + len(second.numbers) == COUNT)
    assert first.numbers + second.numbers == list(range(COUNT))


async def test_a_checkpoint_in_the_middle_of_a_batch_is_respected(make_source):
    intake = Watching(Checkpoint(149, "149"))
    await run_until(make_source(), intake, lambda: len(intake.numbers) == COUNT - 150)
    assert intake.numbers == list(range(150, COUNT))


async def test_closing_ends_the_run_even_while_the_intake_takes_nothing(make_source):
    intake, source = Watching(), make_source()
    intake.open.clear()
    await run_until(source, intake, lambda: intake.begun)
    assert intake.calls == ["assigned", "revoked"]


async def test_what_was_never_assigned_is_never_read(make_source):
    intake, source = Refusing(), make_source()
    running = asyncio.gather(source.run(intake), return_exceptions=True)
    async with asyncio.timeout(WAIT_S):
        await asyncio.wait((running,), timeout=1.5)
        await source.close()
        await running
    assert not intake.calls


async def test_a_finite_source_says_that_it_has_ended(tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps({"id": "1"}))
    for source in (FileSource(path), MemorySource({"0": [_batch([b"x"], 0)]})):
        intake = Watching()
        async with asyncio.timeout(WAIT_S):
            await source.run(intake)
        assert intake.calls == ["assigned", "received", "ended", "revoked"]


async def test_a_memory_source_can_be_fed_and_ended():
    intake, source = Watching(), MemorySource({"0": []}, endless=True)
    bodies = [b"%d" % number for number in range(COUNT)]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(source.run(intake))
        for first in range(0, COUNT, 100):
            await source.feed(_batch(bodies, first))
        await until(lambda: len(intake.numbers) == COUNT)
        assert "ended" not in intake.calls
        await source.end()
    assert intake.calls[-2:] == ["ended", "revoked"]
