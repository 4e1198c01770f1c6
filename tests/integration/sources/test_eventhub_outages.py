"""What becomes of a client whose hub is away, mute or dead: D5 to D7 of `consumer.sources.eventhub`."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from consumer.sources.eventhub_credentials import Pace

both_paths = pytest.mark.parametrize("receive", ["fast", "sdk"])


def publish(hub, count, *, partition="0", first=0):
    hub.publish("events", *(b"%d" % number for number in range(first, first + count)), partition=partition)


@both_paths
@pytest.mark.slow
async def test_d5_no_number_of_disconnects_costs_a_partition(local_hub, make_source, running, intake, until):
    async with running(make_source(), intake):
        await until(lambda: len(intake.owned) == 4)
        for number in range(50):
            publish(local_hub, 1, first=number)
            await until(lambda: intake.total == number + 1)  # noqa: B023 - awaited at once
            assert local_hub.faults.drop_connections("events", "0")
        publish(local_hub, 1, first=50)
        await until(lambda: intake.total == 51)
        assert intake.count("revoked") == 0
    assert intake.numbers["0"] == list(range(51))


@both_paths
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_d5b_an_outage_is_told_once_and_is_not_stormed(local_hub, make_source, running, intake, until):
    publish(local_hub, 10)
    with capture_logs() as logs:
        async with running(make_source(), intake):
            await until(lambda: intake.total == 10)
            with local_hub.faults.refuse():
                local_hub.faults.drop_connections()
                await until(lambda: intake.count("revoked") == 4)
                before = local_hub.stats()["connections"]
                await asyncio.sleep(4)
                attempts = local_hub.stats()["connections"] - before
            publish(local_hub, 10, first=10)
            await until(lambda: intake.total == 20)
    # Left to itself the client makes about 20 attempts a second for each of the four partitions.
    assert attempts <= 10
    told = [entry for entry in logs if "event hub" in entry["event"]]
    assert [entry["log_level"] for entry in told] == ["warning", "info"]
    assert told[1]["event"] == "The event hub answers again."
    assert intake.numbers["0"] == list(range(20))


@both_paths
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_d6_a_hub_that_accepted_and_said_nothing_is_read_again_when_it_is_well(
    local_hub, make_source, running, intake, until
):
    publish(local_hub, 10)
    async with running(make_source(stall_after_s=2), intake):
        await until(lambda: intake.total == 10)
        with local_hub.faults.mute():
            local_hub.faults.drop_connections()
            await until(lambda: intake.count("revoked") == 4)
        publish(local_hub, 10, first=10)
        await until(lambda: intake.total == 20)
    assert intake.numbers["0"] == list(range(20))


@both_paths
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_d6_one_receiver_that_hangs_is_opened_anew_without_the_others(
    local_hub, make_source, running, intake, until
):
    async with running(make_source(stall_after_s=2), intake):
        await until(lambda: local_hub.stats()["open_links"] >= 4)
        with local_hub.faults.stall("events", "0"):
            publish(local_hub, 10)
            publish(local_hub, 10, partition="1")
            await until(lambda: intake.count("revoked", "0"))
        await until(lambda: intake.total == 20)
        assert intake.count("revoked", "1") == 0
    assert intake.numbers["0"] == list(range(10))


@both_paths
async def test_d7_a_connection_that_went_dead_is_given_up_after_the_idle_timeout(
    local_hub, make_source, running, intake, until
):
    async with running(make_source(idle_timeout_s=1, stall_after_s=600), intake):
        await until(lambda: local_hub.stats()["open_links"] >= 4)
        with local_hub.faults.stall():
            before = local_hub.stats()["connections"]
            await until(lambda: local_hub.stats()["connections"] >= before + 4)
        publish(local_hub, 5)
        await until(lambda: intake.total == 5)


@both_paths
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_d5b_a_hub_that_turns_receivers_away_is_not_stormed(
    local_hub, make_source, running, intake, until, monkeypatch
):
    monkeypatch.setattr("consumer.sources.eventhub_credentials.Pace", lambda: Pace(burst=8, per_second=0.5))
    publish(local_hub, 1)
    with capture_logs() as logs:
        async with running(source := make_source(stall_after_s=600), intake):
            await until(lambda: intake.total == 1 and len(intake.owned) == 4)
            await until(lambda: all(lease.is_verified.is_set() for lease in source._session.leases.values()))
            with local_hub.faults.busy():
                await until(lambda: any("slowed down" in entry["event"] for entry in logs))
                before = local_hub.stats()["connections"]
                await asyncio.sleep(4)
                attempts = local_hub.stats()["connections"] - before
            publish(local_hub, 1, first=1)
            await until(lambda: intake.total == 2)
    # Left to itself the client makes more than one attempt a second for each of the four partitions.
    assert attempts <= 8
    assert intake.count("revoked", "0") == 1
