"""What Azure's client gets wrong, D1 to D14 of `consumer.sources.eventhub`, and what comes of it.

D5 to D7 are in `test_eventhub_outages`.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid

import pytest
from structlog.testing import capture_logs

from consumer.errors import FenceLost, StoreUnavailable
from consumer.events import Checkpoint, PartitionId
from consumer.sources.eventhub_internals import open_links
from consumer.sources.eventhub_ownership import OwnershipLedger
from consumer.stores.blob import BlobStore
from consumer.stores.blob_container import BlobContainer
from consumer.stores.memory import MemoryStore
from consumer.stores.sqlite import SqliteStore

both_paths = pytest.mark.parametrize("receive", ["fast", "sdk"])


def publish(hub, count, *, partition="0", first=0):
    hub.publish("events", *(b"%d" % number for number in range(first, first + count)), partition=partition)


def partition_id(hub, partition="0"):
    return PartitionId(f"127.0.0.1:{hub.port}", "events", "$Default", partition)


async def take_away(store, hub, partition="0", owner="somebody-else"):
    """Do in the store what another replica does when it steals a partition."""
    group = partition_id(hub)[:3]
    (found,) = [each for each in await store.list_ownership(*group) if each["partition_id"] == partition]
    (won,) = await store.claim_ownership([found | {"owner_id": owner}])
    return won


@pytest.fixture(params=["sqlite", "blob"])
async def fenced_store(request, tmp_path):
    if request.param == "sqlite":
        store = SqliteStore(path=tmp_path / "inturn.db")
    else:
        azurite = request.getfixturevalue("azurite")
        store = BlobStore(
            BlobContainer(
                f"sources-{uuid.uuid4().hex}",
                connection_string=azurite.connection_string,
                create_container=True,
            )
        )
    yield store
    await store.close()


async def test_d1_a_zombie_cannot_write_the_checkpoint_back(
    local_hub, make_source, running, intake, until, fenced_store
):
    publish(local_hub, 100)
    name = partition_id(local_hub)
    async with running(make_source(fenced_store), intake):
        await until(lambda: intake.total == 100)
        zombies = await fenced_store.save(name, Checkpoint(49, "49"), b"zombie", "")
        await fenced_store.save(name, Checkpoint(99, "99"), b"new owner", zombies)
        with pytest.raises(FenceLost):
            await fenced_store.save(name, Checkpoint(60, "60"), b"zombie", zombies)
    assert (await fenced_store.load(name)).checkpoint == Checkpoint(99, "99")


async def test_d1_the_clients_own_unconditional_write_is_refused(fenced_store):
    ledger = OwnershipLedger(fenced_store, resolve=None, tempo=None)
    with pytest.raises(NotImplementedError):
        await ledger.update_checkpoint({"partition_id": "0", "sequence_number": 1, "offset": "1"})


@both_paths
async def test_d2_a_busy_partition_falls_silent_soon_after_another_owner_has_it(
    local_hub, make_source, running, intake, until
):
    store = MemoryStore()
    publish(local_hub, 3_000)
    intake.may_receive.clear()
    async with running(make_source(store), intake):
        await until(lambda: intake.waiting)
        await take_away(store, local_hub)
        await until(lambda: ("revoked", "0", True) in intake.calls, within_s=5)
        await until(lambda: not intake.waiting, within_s=5)
        intake.may_receive.set()
        await asyncio.sleep(0.5)
        assert intake.numbers == {}


@both_paths
async def test_d2_a_stolen_link_ends_the_old_receiver(local_hub, make_source, running, intake, until):
    store = MemoryStore()
    async with running(make_source(store, load_balancing_interval_s=5), intake):
        await until(lambda: local_hub.stats()["open_links"] >= 4)
        await take_away(store, local_hub)
        local_hub.faults.steal("events", "0")
        await until(lambda: ("revoked", "0", True) in intake.calls, within_s=4)


@both_paths
@pytest.mark.slow
async def test_d3_a_cancelled_batch_is_taken_whole_or_not_at_all(
    local_hub, make_source, make_intake, running, until
):
    class Hesitant(make_intake):
        """Takes a batch after many awaits, each of which may be the one that is cancelled."""

        cancelled = 0

        async def received(self, batch):
            try:
                for _ in range(5):
                    await asyncio.sleep(0.03)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            await super().received(batch)

    store, intake = MemoryStore(), Hesitant()
    publish(local_hub, 600)
    async with running(make_source(store, batch_max=20), intake):
        for round_ in range(2):
            await until(lambda: intake.total > 100 + 100 * round_)  # noqa: B023 - awaited at once
            stolen = await take_away(store, local_hub)
            await until(lambda: intake.count("revoked", "0") == round_ + 1)  # noqa: B023
            await store.save(
                partition_id(local_hub),
                intake.checkpoints["0"],
                b"",
                (await store.load(partition_id(local_hub))).fence,
            )
            await store.claim_ownership([stolen | {"owner_id": ""}])
        await until(lambda: intake.total >= 600)
    assert intake.cancelled
    assert intake.numbers["0"] == list(range(600))


@both_paths
async def test_d4_a_dropped_connection_repeats_nothing_and_goes_back_nowhere(
    local_hub, make_source, running, intake, until, receive
):
    source = make_source()
    expected = 0  # what the hub has delivered, repetitions included

    def delivered():
        return local_hub.stats()["delivered"] >= expected

    async with running(source, intake):
        for drop in range(3):
            intake.may_receive.clear()
            publish(local_hub, 20, first=200 * drop)
            await until(lambda: intake.waiting)
            publish(local_hub, 180, first=200 * drop + 20)
            expected += 200
            await until(delivered)
            # The client has more in its buffer than it has handed over; its own loop gets that once more.
            assert local_hub.faults.drop_connections("events", "0")
            expected += 180 if receive == "sdk" else 0
            await until(delivered)
            intake.may_receive.set()
            await until(lambda: intake.total == 200 * (drop + 1))  # noqa: B023 - awaited at once
    assert intake.numbers["0"] == list(range(600))
    # Our own loop goes on behind what it has, the client behind what it has handed over.
    assert (
        source.counts("0").redelivered > 3 * 100 if receive == "sdk" else not source.counts("0").redelivered
    )
    assert source.counts("0").gaps == 0


async def test_d8_tags_of_deliveries_do_not_pile_up(local_hub, make_source, running, intake, until):
    source = make_source()
    async with running(source, intake):
        await until(lambda: local_hub.stats()["open_links"] >= 4)
        client = source._session.client
        links = [link for link in open_links(client) if link._handler and link._handler._link]
        assert len(links) == 4
        for link in links:
            link._handler._link._received_delivery_tags |= {b"%d" % number for number in range(10_000)}
        await until(
            lambda: not any(link._handler._link._received_delivery_tags for link in links), within_s=5
        )


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_d8_with_an_unknown_release_of_the_client_links_are_renewed_instead(
    local_hub, make_source, running, intake, until, monkeypatch
):
    monkeypatch.setattr("azure.eventhub.__version__", "5.99.0")
    monkeypatch.setattr("consumer.sources.eventhub_patrol.DELIVERIES_MAX_UNSEEN", 100)
    source = make_source(receive="auto")
    publish(local_hub, 500)
    async with running(source, intake):
        await until(lambda: intake.count("revoked", "0") and intake.total == 500)
        assert open_links(source._session.client) == []
        assert source.path("1") == "sdk"
    assert intake.numbers["0"] == list(range(500))


@both_paths
async def test_d9_stopping_hands_over_nothing_new_and_keeps_the_partitions_until_close(
    local_hub, make_source, running, intake, until
):
    store = MemoryStore()
    group = partition_id(local_hub)[:3]
    source = make_source(store)
    async with running(source, intake):
        publish(local_hub, 5)
        await until(lambda: intake.total == 5)
        source.stop()
        publish(local_hub, 5, first=5)
        earlier = {each["partition_id"]: each for each in await store.list_ownership(*group)}
        await until(lambda: _renewed(store, earlier))
        assert intake.total == 5
        assert intake.count("revoked") == 0
        assert all(each["owner_id"] for each in await store.list_ownership(*group))
    assert intake.total == 5
    assert [each["owner_id"] for each in await store.list_ownership(*group)] == [""] * 4


def _renewed(store, earlier):
    return all(
        ownership["etag"] != earlier[key.partition]["etag"] for key, ownership in store._ownerships.items()
    )


@both_paths
async def test_d9_a_partition_is_drained_before_it_is_released(
    local_hub, make_source, make_intake, running, until
):
    store = MemoryStore()
    group = partition_id(local_hub)[:3]

    class Draining(make_intake):
        owners_while_draining: list[str] = []  # noqa: RUF012 - one intake, one test

        async def revoked(self, partition, *, lost):
            await asyncio.sleep(2.5)
            self.owners_while_draining += [
                each["owner_id"]
                for each in await store.list_ownership(*group)
                if each["partition_id"] == partition
            ]
            await super().revoked(partition, lost=lost)

    intake = Draining()
    async with running(make_source(store), intake):
        await until(lambda: len(intake.owned) == 4)
    assert len(intake.owners_while_draining) == 4
    assert all(intake.owners_while_draining)


@both_paths
async def test_d10_a_checkpointed_event_does_not_come_again(
    local_hub, make_source, make_intake, running, until
):
    store = MemoryStore()
    publish(local_hub, 10)
    first, second = make_intake(), make_intake()
    async with running(make_source(store), first):
        await until(lambda: first.total == 10)
    await store.save(partition_id(local_hub), first.checkpoints["0"], b"", "")
    second.checkpoints = dict(first.checkpoints)
    source = make_source(store)
    async with running(source, second):
        publish(local_hub, 5, first=10)
        await until(lambda: second.total == 5)
    assert second.numbers == {"0": [10, 11, 12, 13, 14]}
    assert source.counts("0").redelivered == 0


async def test_d11_a_claim_that_failed_is_no_claim(local_hub, make_source, running, intake, until):
    class Failing(MemoryStore):
        failures = itertools.count(1)

        async def claim_ownership(self, ownership_list, **options):
            if next(self.failures) <= 2:
                raise StoreUnavailable("The store is away.")
            return await super().claim_ownership(ownership_list, **options)

    publish(local_hub, 5)
    with capture_logs() as logs:
        async with running(make_source(Failing()), intake):
            await until(lambda: intake.total == 5)
    assert next(Failing.failures) > 3
    assert any("could not be shared out" in entry["event"] for entry in logs)
    assert intake.count("assigned", "0") == 1


@both_paths
async def test_d12_a_partition_whose_end_was_not_told_is_revoked_before_it_is_assigned_again(
    local_hub, make_source, running, intake, until, monkeypatch
):
    from azure.eventhub.aio._consumer_async import EventHubConsumer as Receiver

    close = Receiver.close
    failures = iter([True])

    async def failing(self):
        if next(failures, False):
            await close(self)
            raise OSError("The link could not be closed.")
        await close(self)

    publish(local_hub, 5)
    async with running(make_source(), intake):
        await until(lambda: intake.total == 5)
        monkeypatch.setattr(Receiver, "close", failing)
        local_hub.faults.steal("events", "0")
        await until(lambda: intake.count("assigned", "0") == 2)
    assert not intake.violations


@both_paths
async def test_d13_a_link_is_renewed_before_its_counters_end(local_hub, make_source, running, intake, until):
    publish(local_hub, 1_000)
    async with running(make_source(deliveries_max=400, batch_max=100), intake):
        await until(lambda: intake.total == 1_000 and intake.count("revoked", "0"))
    assert intake.numbers["0"] == list(range(1_000))
    assert ("revoked", "0", False) in intake.calls


@both_paths
async def test_d14_no_more_than_a_thousand_messages_are_fetched_ahead(
    local_hub, make_source, running, intake, until
):
    publish(local_hub, 5_000)
    intake.may_receive.clear()
    with capture_logs() as logs:
        async with running(make_source(prefetch=5_000), intake):
            await until(lambda: intake.waiting)
            await asyncio.sleep(1)
            delivered = local_hub.stats()["delivered"]
            intake.may_receive.set()
            await until(lambda: intake.total == 5_000)
    # A batch that is handed over, one that waits behind it, and what was fetched.
    assert delivered <= 300 + 300 + 1_000 + 1_000
    assert any("Fewer messages are fetched ahead" in entry["event"] for entry in logs)
