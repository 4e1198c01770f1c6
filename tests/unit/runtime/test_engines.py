"""Several engines in one process: they do not wait for each other, and stop together."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.errors import SourceUnavailable
from consumer.events import PartitionId
from consumer.runtime.clock import SystemClock
from consumer.runtime.engine import Engine, EngineParts
from consumer.runtime.engines import Engines, merged
from consumer.stores.memory import MemoryDeadLetters, MemoryStore

from .conftest import POLICY, Recorder, ScriptedSource, batch, running, versions


class Groups:
    """Engines of two consumer groups, each with a source that the test plays and one processor."""

    def __init__(self, **targets) -> None:
        self.store, self.letters = MemoryStore(), MemoryDeadLetters()
        self.sources = {group: ScriptedSource() for group in targets}
        self.processors = {group: running(target, group or "keep") for group, target in targets.items()}
        self.engines = Engines({group: self._engine(group) for group in targets})

    def _engine(self, group: str) -> Engine:
        parts = EngineParts(
            source=self.sources[group],
            checkpoints=self.store,
            dead_letters=self.letters,
            processors=[self.processors[group]],
            admission=Admission(None, None),
            catalogue=Catalogue(),
            policy=POLICY,
            name_partition=lambda partition: PartitionId(
                "hub.test", "events", group or "$Default", partition
            ),
            source_name=f"group {group or '$Default'}",
            version="0",
            drain_timeout_s=5.0,
        )
        return Engine(parts, SystemClock())

    @asynccontextmanager
    async def running(self, on_stuck=None):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.engines.run(on_stuck))
            for source in self.sources.values():
                await source.is_running.wait()
                await source.intake.assigned("0")
            yield task
            self.engines.drain()

    async def give(self, group: str, bodies: list[bytes]) -> None:
        await self.sources[group].intake.received(batch(*bodies))

    async def until(self, condition) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is waited for says nothing when it comes
                await asyncio.sleep(0.002)


@pytest.fixture
def two():
    def make(**targets):
        shared = targets.pop("shared", None) or Recorder()
        return Groups(**{"": shared}, **targets)

    return make


async def test_each_group_has_its_own_checkpoint_and_both_are_shown_as_one(two):
    audit = Recorder()
    groups = two(audit=audit)
    async with groups.running():
        await groups.give("", versions(3))
        await groups.give("audit", versions(5))
        await groups.until(lambda: groups.engines.status().outcomes == {"handled": 8})
        await groups.until(lambda: [p.checkpoint for p in groups.engines.status().partitions] == [2, 4])
        status = groups.engines.status()

    assert [each.partition for each in status.partitions] == ["0", "audit/0"]
    assert [(each.name, each.group, each.handled) for each in status.processors] == [
        ("keep", "", 3),
        ("audit", "audit", 5),
    ]
    assert status.source == "group $Default; groups of their own: audit"
    assert status.ready
    assert groups.engines.status().state == "stopped"
    assert groups.engines.was_clean


async def test_a_group_that_hangs_costs_the_other_one_nothing_and_a_stop_ends_both(two):
    entered = asyncio.Event()

    async def hang(_event):
        entered.set()
        await asyncio.Event().wait()

    shared = Recorder()
    groups = two(shared=shared, audit=Recorder(before=hang))
    async with groups.running():
        await groups.give("audit", versions(5))
        await entered.wait()
        await groups.give("", versions(3_000))
        await groups.until(lambda: len(shared.handled) == 3_000)
        groups.engines.hurry()

    assert not groups.engines.was_clean, "the attempt that hung was cut off"


async def test_one_that_fails_ends_all_and_its_error_is_what_comes_out(two):
    groups = two(audit=Recorder())

    async def refused(_intake):
        await asyncio.sleep(0.01)
        raise SourceUnavailable("There is no consumer group named audit at the hub events.")

    groups.sources["audit"].run = refused
    with pytest.raises(SourceUnavailable, match="named audit"):
        await groups.engines.run()
    assert groups.sources[""].is_stopped
    assert groups.engines.status().state == "stopped"


async def test_the_process_is_ended_for_a_stuck_attempt_only_when_the_other_group_is_through(two):
    is_free = asyncio.Event()
    ended_with: list[str] = []

    async def cling(_event):
        while not is_free.is_set():
            try:
                await is_free.wait()
            except asyncio.CancelledError:
                continue

    async def brief(_event):
        await asyncio.sleep(1.0)

    shared = Recorder(before=brief)
    clinging = Recorder(before=cling)
    groups = two(shared=shared, audit=clinging)
    groups.processors["audit"].deadline_s = 0.01

    async def end() -> None:
        ended_with.extend(event.id for event in shared.handled)
        is_free.set()

    async with groups.running(end):
        await groups.give("audit", versions(1))
        await groups.give("", versions(1))
        await groups.until(lambda: all(each.counts.running for each in groups.processors.values()))

    assert ended_with == ["m-1"]
    assert not groups.engines.was_clean


def test_what_is_true_of_all_groups_is_said_once_and_what_is_true_of_one_with_its_name(engine_status):
    shared = engine_status(ready=False, not_ready=["inturn is draining.", "The source cannot be read: no."])
    audit = engine_status(ready=False, not_ready=["inturn is draining.", "Partition 0 is halted: gone."])
    status = merged({"": shared, "audit": audit})
    assert status.not_ready == [
        "inturn is draining.",
        "The source cannot be read: no.",
        "Consumer group audit: Partition 0 is halted: gone.",
    ]
    assert not status.ready


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("running", "running"), "running"),
        (("running", "starting"), "starting"),
        (("stopped", "draining"), "draining"),
        (("stopped", "stopped"), "stopped"),
    ],
)
def test_the_state_of_all_is_that_of_the_one_that_is_least_far(engine_status, states, expected):
    statuses = {str(number): engine_status(state=state) for number, state in enumerate(states)}
    assert merged(statuses).state == expected


def test_events_are_counted_for_each_group_and_dead_letters_of_the_one_store_are_not_added_up(engine_status):
    status = merged({"": engine_status(dead_letters=3), "audit": engine_status(dead_letters=4)})
    assert status.outcomes["handled"] == 160
    assert status.dead_letters == 4
