"""What the Event Hubs source promises, against a local hub, through the real client and a socket."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from consumer.errors import CorruptState, FenceLost, SourceUnavailable, StoreUnavailable
from consumer.events import NOTHING_DONE, Checkpoint, PartitionId
from consumer.hub.server import LocalHub
from consumer.hub.settings import HubSettings, LocalHubSettings
from consumer.sources.eventhub import EventHubSource
from consumer.sources.eventhub_settings import EventHubSettings
from consumer.stores.memory import MemoryStore

both_paths = pytest.mark.parametrize("receive", ["fast", "sdk"])


def publish(hub, count, *, partition="0", first=0):
    hub.publish("events", *(b"%d" % number for number in range(first, first + count)), partition=partition)


def _partition(hub, partition):
    return PartitionId(f"127.0.0.1:{hub.port}", "events", "$Default", partition)


async def ownerships(store, hub):
    return await store.list_ownership(f"127.0.0.1:{hub.port}", "events", "$Default")


@both_paths
async def test_every_event_of_every_partition_arrives_once_and_in_order(
    local_hub, make_source, running, intake, until
):
    for partition in "0123":
        publish(local_hub, 500, partition=partition)
    async with running(make_source(), intake):
        await until(lambda: intake.total == 2_000)
    assert intake.numbers == {partition: list(range(500)) for partition in "0123"}
    assert intake.bodies["3"] == [b"%d" % number for number in range(500)]
    assert not intake.violations
    assert not intake.owned


@both_paths
async def test_keys_times_offsets_and_properties_come_with_the_events(
    local_hub, make_source, running, intake, until
):
    local_hub.publish(
        "events",
        b"{}",
        partition_key="model-ä",
        properties={"aeg-event-type": "Notification", "n": 5},
        enqueued_time_ms=1_800_000_000_000,
    )
    async with running(make_source(), intake):
        await until(lambda: intake.total == 1)
    (batch,) = intake.batches
    (logged,) = local_hub.log("events", batch.partition)
    assert batch.partition_keys == ["model-ä"]
    assert batch.enqueued_times_ms == [1_800_000_000_000]
    assert batch.offsets == [logged.offset]
    assert batch.properties_at(0) == {"aeg-event-type": "Notification", "n": 5}
    assert batch.newest_sequence_number == 0


@both_paths
async def test_nothing_stored_means_from_the_earliest_event(local_hub, make_source, running, intake, until):
    publish(local_hub, 10)
    local_hub.trim("events", "0", 4)
    source = make_source()
    async with running(source, intake):
        await until(lambda: intake.total == 6)
    assert intake.numbers["0"] == [4, 5, 6, 7, 8, 9]
    assert ("assigned", "0", NOTHING_DONE) in [(*call[:2], call[2] or NOTHING_DONE) for call in intake.calls]
    assert source.counts("0").gaps == 0


async def test_latest_means_behind_what_is_there_when_the_partition_is_first_taken(
    local_hub, make_source, running, intake, until
):
    publish(local_hub, 10)
    async with running(make_source(start="latest"), intake):
        await until(lambda: len(intake.owned) == 4)
        publish(local_hub, 3, first=10)
        await until(lambda: intake.total == 3)
    assert intake.numbers == {"0": [10, 11, 12]}
    start = next(call[2] for call in intake.calls if call[:2] == ("assigned", "0"))
    assert start == Checkpoint(9, local_hub.log("events", "0")[9].offset)


async def test_a_time_becomes_the_checkpoint_before_its_first_event(
    local_hub, make_source, running, intake, until
):
    for number in range(6):
        local_hub.publish("events", b"x", partition="0", enqueued_time_ms=1_800_000_000_000 + number * 1_000)
    start = datetime.fromtimestamp(1_800_000_003, UTC)
    async with running(make_source(start=start), intake):
        await until(lambda: intake.total == 3)
    assert intake.numbers == {"0": [3, 4, 5]}
    told = {call[1]: call[2] for call in intake.calls if call[0] == "assigned"}
    assert told["0"] == Checkpoint(2, local_hub.log("events", "0")[2].offset)
    assert told["1"] in (None, NOTHING_DONE)


@pytest.mark.parametrize(("second", "expected"), [(1, [0, 1]), (9, [])])
async def test_a_time_before_or_after_all_events_means_earliest_or_latest(
    local_hub, make_source, running, intake, until, second, expected
):
    for number in (4, 5):
        local_hub.publish("events", b"x", partition="0", enqueued_time_ms=1_800_000_000_000 + number * 1_000)
    start = datetime.fromtimestamp(1_800_000_000 + second, UTC)
    async with running(make_source(start=start), intake):
        await until(lambda: len(intake.owned) == 4)
        publish(local_hub, 1, first=2)
        await until(lambda: intake.total == len(expected) + 1)
    assert intake.numbers == {"0": [*expected, 2]}


async def test_what_the_store_has_counts_more_than_the_start(local_hub, make_source, running, intake, until):
    publish(local_hub, 10)
    store = MemoryStore()
    offset = local_hub.log("events", "0")[5].offset
    await store.save(_partition(local_hub, "0"), Checkpoint(5, offset), b"", "")
    intake.checkpoints["0"] = Checkpoint(5, offset)
    source = make_source(store, start="latest")
    async with running(source, intake):
        await until(lambda: intake.total == 4)
    assert intake.numbers == {"0": [6, 7, 8, 9]}
    assert source.counts("0").redelivered == 0


@pytest.mark.parametrize(
    "error",
    [FenceLost("faster"), StoreUnavailable("away"), CorruptState("broken")],
    ids=lambda e: type(e).__name__,
)
async def test_a_partition_that_cannot_be_assigned_is_not_read_and_tried_again(
    local_hub, make_source, running, intake, until, error
):
    publish(local_hub, 5)
    intake.errors = [error] * 5
    async with running(make_source(), intake):
        await until(lambda: intake.total == 5)
    assert not intake.errors
    assert intake.numbers == {"0": [0, 1, 2, 3, 4]}


@both_paths
async def test_a_partition_of_which_the_intake_lost_the_fence_is_given_up_and_taken_again(
    local_hub, make_source, make_intake, running, until
):
    class Fenced(make_intake):
        failures = iter([True])

        async def received(self, batch):
            if next(self.failures, False):
                raise FenceLost("Another version is stored.")
            await super().received(batch)

    intake = Fenced()
    publish(local_hub, 5)
    async with running(make_source(), intake):
        await until(lambda: intake.total == 5)
    told = [call for call in intake.calls if call[1] == "0" and call[0] != "received"]
    assert [call[0] for call in told] == ["assigned", "revoked", "assigned", "revoked"]
    assert told[1][2] is True
    assert intake.numbers == {"0": [0, 1, 2, 3, 4]}


# The look for the group is still under way, and the client leaves a connection that is being made open.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_partition_that_the_hub_gained_is_read(make_source, running, intake, until):
    few, many = (LocalHubSettings(hubs=(HubSettings(name="events", partitions=n),)) for n in (1, 2))
    async with LocalHub(few) as hub:
        source = make_source(connection_string=hub.connection_string("events"), stall_after_s=2)
        async with running(source, intake):
            await until(lambda: intake.owned == {"0"})
            port = hub.port
            await hub.close()
            async with LocalHub(msgspec.structs.replace(many, port=port)):
                await until(lambda: intake.owned == {"0", "1"})


async def test_a_checkpoint_beyond_the_end_of_the_hub_is_a_problem_and_nothing_is_read(
    local_hub, make_source, running, intake, until
):
    publish(local_hub, 5)
    intake.checkpoints["0"] = Checkpoint(1_000, "64000")
    source = make_source()
    async with running(source, intake):
        await until(lambda: source.problems and len(intake.owned) == 3)
    assert "checkpoint (1000) lies beyond the newest event (4)" in source.problems["0"]
    assert intake.numbers == {}


@both_paths
async def test_events_that_retention_took_are_counted_exactly(local_hub, make_source, running, intake, until):
    publish(local_hub, 20)
    store = MemoryStore()
    checkpoint = Checkpoint(4, local_hub.log("events", "0")[4].offset)
    await store.save(_partition(local_hub, "0"), checkpoint, b"", "")
    intake.checkpoints["0"] = checkpoint
    local_hub.trim("events", "0", 12)
    source = make_source(store)
    async with running(source, intake):
        await until(lambda: intake.total == 8)
    assert source.counts("0").gaps == 7


@both_paths
async def test_the_newest_number_is_known_though_nothing_arrives(
    local_hub, make_source, running, intake, until
):
    intake.may_receive.clear()
    source = make_source()
    async with running(source, intake):
        await until(lambda: len(intake.owned) == 4)
        publish(local_hub, 1)
        await until(lambda: intake.waiting)
        publish(local_hub, 999, first=1)
        await until(lambda: source.newest("0") == 999)
        intake.may_receive.set()
    assert source.newest("7") is None


@both_paths
async def test_a_partition_that_is_paused_for_long_is_left_alone(
    local_hub, make_source, running, intake, until
):
    publish(local_hub, 2_000)
    intake.may_receive.clear()
    intake.paused = set("0123")
    source = make_source(stall_after_s=1)
    async with running(source, intake):
        await until(lambda: intake.waiting)
        await asyncio.sleep(4)
        assert intake.count("revoked") == 0
        intake.paused = set()
        intake.may_receive.set()
        await until(lambda: intake.total == 2_000)
        assert intake.count("revoked") == 0


@both_paths
async def test_two_sources_share_the_partitions_and_hand_over_at_once_when_one_closes(
    local_hub, make_source, make_intake, running, until
):
    store, first, second = MemoryStore(), make_intake(), make_intake()
    second.checkpoints = first.checkpoints
    async with running(make_source(store), first):
        await until(lambda: len(first.owned) == 4)
        async with running(make_source(store), second):
            await until(lambda: len(first.owned) == len(second.owned) == 2)
            assert first.owned | second.owned == set("0123")
            for partition in "0123":
                publish(local_hub, 50, partition=partition)
            await until(lambda: first.total + second.total == 200)
        await until(lambda: len(first.owned) == 4, within_s=5)
        publish(local_hub, 10, partition="0", first=50)
        await until(lambda: first.total + second.total == 210)
    # Ownership moved twice; what was taken by both is only what a steal may repeat, and none is missing.
    for partition in "0123":
        assert set(first.numbers.get(partition, [])) | set(second.numbers.get(partition, [])) >= set(
            range(50)
        )


@both_paths
async def test_after_close_every_partition_is_released_and_drained(
    local_hub, make_source, running, intake, until
):
    store = MemoryStore()
    async with running(make_source(store), intake) as task:
        await until(lambda: len(intake.owned) == 4)
        assert all(each["owner_id"] for each in await ownerships(store, local_hub))
    assert task.done()
    assert [call[2] for call in intake.calls if call[0] == "revoked"] == [False] * 4
    assert [each["owner_id"] for each in await ownerships(store, local_hub)] == [""] * 4


async def test_closing_twice_or_before_running_does_nothing(make_source, running, intake):
    source = make_source()
    await source.close()
    await source.close()
    await source.run(intake)
    assert not intake.calls


async def test_probing_tells_what_is_in_the_hub(local_hub, make_source):
    publish(local_hub, 10)
    local_hub.trim("events", "0", 4)
    described = await make_source().probe()
    assert (described.hub, described.consumer_group) == ("events", "$Default")
    assert [each.partition for each in described.partitions] == list("0123")
    assert (described.partitions[0].begin, described.partitions[0].newest) == (4, 9)
    assert described.partitions[1].is_empty


async def test_no_listener_is_said_in_one_line_when_the_time_is_up(make_source, local_hub, intake):
    source = make_source(connect_timeout_s=1)
    await local_hub.close()
    with pytest.raises(
        SourceUnavailable, match=r"^No Event Hub answers at 127.0.0.1:\d+: connection refused.$"
    ):
        await source.run(intake)
    assert not intake.calls


async def test_a_hub_that_comes_up_in_time_is_waited_for(make_source, local_hub, running, intake, until):
    local_hub.pause_listening()
    async with running(make_source(connect_timeout_s=20), intake):
        await asyncio.sleep(0.2)
        await local_hub.resume_listening()
        await until(lambda: len(intake.owned) == 4)


async def test_a_listener_that_says_nothing_is_said_so(make_source, local_hub):
    with (
        local_hub.faults.mute(),
        pytest.raises(SourceUnavailable, match="accepts a connection and says nothing"),
    ):
        await make_source().probe()


@pytest.mark.slow
async def test_a_wrong_key_a_wrong_hub_and_a_wrong_group_are_refused_at_once(intake):
    hub = LocalHubSettings(hubs=(HubSettings(name="events"),), key="cmlnaHQ=")
    async with LocalHub(hub) as running_hub:
        right = running_hub.connection_string()
        wrong = [
            (
                {"connection_string": right.replace("cmlnaHQ=", "d3Jvbmc="), "hub": "events"},
                "^The key for .*refused",
            ),
            ({"connection_string": right, "hub": "orders"}, "^There is no hub named orders at 127.0.0.1:"),
            (
                {"connection_string": right, "hub": "events", "consumer_group": "nobody"},
                "^There is no consumer group named nobody at the hub events",
            ),
        ]
        for settings, message in wrong:
            source = EventHubSource(EventHubSettings(**settings, connect_timeout_s=60), MemoryStore())
            with pytest.raises(SourceUnavailable, match=message) as probed:
                await source.probe()
            with pytest.raises(SourceUnavailable, match=message):
                async with asyncio.timeout(20):
                    await source.run(intake)
            assert "d3Jvbmc" not in str(probed.value)
    assert not intake.owned


@both_paths
async def test_a_drain_that_the_end_of_a_session_cuts_short_is_done_again(
    local_hub, make_source, make_intake, running, until
):
    class Slow(make_intake):
        draining = asyncio.Event()

        async def revoked(self, partition, *, lost):
            if partition == "0" and not self.draining.is_set():
                self.draining.set()
                await asyncio.sleep(60)
            await super().revoked(partition, lost=lost)

    intake = Slow()
    publish(local_hub, 500)
    async with running(make_source(deliveries_max=100, batch_max=50), intake):
        await until(intake.draining.is_set)
    assert not intake.owned
    assert ("revoked", "0", False) in intake.calls
