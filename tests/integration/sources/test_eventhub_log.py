"""A stretch of a hub is read once and in order, whatever happens to connections, and owning nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from consumer.errors import SourceUnavailable
from consumer.hub import LocalHub
from consumer.sources import eventhub_log
from consumer.sources.eventhub_log import HubLog
from consumer.sources.eventhub_settings import EventHubSettings, address_of
from consumer.sources.stretch import Extent, Stretch, StretchSource

OpenLog = Callable[..., Any]


@pytest.fixture
def open_log(local_hub: LocalHub) -> OpenLog:
    @asynccontextmanager
    async def open_log(**changes: Any) -> AsyncIterator[HubLog]:
        options = {"connection_string": local_hub.connection_string("events"), "stall_after_s": 2, **changes}
        settings = EventHubSettings(**options)
        log = HubLog(settings, address_of(settings))
        yield log
        await log.close()

    return open_log


def fill(hub: LocalHub, count: int, partition: str = "0") -> None:
    hub.publish("events", *(b"%d" % number for number in range(count)), partition=partition)


async def test_exactly_the_stretch_is_handed_over_and_then_it_has_ended(local_hub, open_log, intake):
    for partition in ("0", "1"):
        fill(local_hub, 500, partition)

    async with open_log() as log:
        source = StretchSource(log, [Stretch("0", 9, 399), Stretch("1", -1, 0)])
        await source.run(intake)

    assert intake.numbers == {"0": list(range(10, 400)), "1": [0]}
    assert intake.bodies["0"] == [b"%d" % number for number in range(10, 400)]
    assert (intake.count("ended", "0"), intake.count("revoked", "0")) == (1, 1)
    assert {batch.newest_sequence_number for batch in intake.batches if batch.partition == "0"} == {399}


async def test_a_reset_connection_costs_nothing(local_hub, open_log, intake, running, until):
    fill(local_hub, 4_000)

    async with open_log(batch_max=50) as log:
        source = StretchSource(log, [Stretch("0", -1, 3_999)])
        async with running(source, intake) as task:
            for _ in range(3):
                reached = intake.total
                await until(lambda reached=reached: intake.total > reached or task.done())
                local_hub.faults.drop_connections("events")
            await until(task.done)

    assert intake.numbers == {"0": list(range(4_000))}
    assert log.missing == 0


async def test_a_consumer_that_comes_puts_it_out_with_advice(local_hub, open_log, intake, running, until):
    fill(local_hub, 2_000)
    intake.may_receive.clear()

    async with open_log(batch_max=50, prefetch=50) as log:
        source = StretchSource(log, [Stretch("0", -1, 1_999)])
        reading = asyncio.gather(source.run(intake), return_exceptions=True)
        await until(lambda: intake.waiting)
        local_hub.faults.steal("events", "0")
        intake.may_receive.set()
        (error,) = await reading

    assert isinstance(error, SourceUnavailable)
    assert "--group" in str(error)
    assert intake.calls[-1] == ("revoked", "0", False)


async def test_what_retention_takes_while_it_is_read_is_missed_and_counted(local_hub, open_log, intake):
    fill(local_hub, 100)

    async with open_log() as log:
        local_hub.trim("events", "0", before=40)
        await StretchSource(log, [Stretch("0", 9, 59)]).run(intake)

    assert intake.numbers == {"0": list(range(40, 60))}
    assert log.missing == 30


async def test_an_end_that_is_gone_is_not_waited_for(local_hub, open_log, intake):
    fill(local_hub, 100)
    local_hub.trim("events", "0", before=100)

    async with open_log(stall_after_s=1) as log:
        source = StretchSource(log, [Stretch("0", 9, 59)])
        await source.run(intake)

    assert intake.total == 0
    assert log.missing == 50
    assert source.lasts == {"0": 9}


async def test_a_hub_that_stays_away_is_given_up(local_hub, open_log, intake, monkeypatch):
    monkeypatch.setattr(eventhub_log, "_FAILURES_MAX", 1)
    fill(local_hub, 10)

    async with open_log() as log:
        await local_hub.close()
        with pytest.raises(SourceUnavailable):
            await StretchSource(log, [Stretch("0", -1, 9)]).run(intake)

    assert intake.count("revoked", "0") == 1


async def test_extents_and_times_are_found(local_hub, open_log):
    for second in range(10):
        local_hub.publish("events", b"x", partition="0", enqueued_time_ms=1_000_000 + 1_000 * second)
    local_hub.trim("events", "0", before=3)

    async with open_log() as log:
        extents = {extent.partition: extent for extent in await log.extents()}
        assert extents["0"] == Extent("0", 3, 9)
        assert extents["1"] == Extent("1", 0, -1)

        async def before(time_s: float) -> int:
            return await log.before(extents["0"], datetime.fromtimestamp(time_s, UTC))

        assert await before(1_005) == 4
        assert await before(1_005.5) == 5
        assert await before(0) == 2
        assert await before(9_999) == 9
        assert await log.before(extents["1"], datetime.fromtimestamp(5, UTC)) == -1
