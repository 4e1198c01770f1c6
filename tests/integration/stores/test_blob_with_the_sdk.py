"""Our checkpoints and the SDK's own store understand each other, and KEDA understands both. Real Azurite."""

from __future__ import annotations

import msgspec
import pytest
from azure.eventhub._eventprocessor._eventprocessor_mixin import EventProcessorMixin
from azure.eventhub._utils import event_position_selector

from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import encode, new_snapshot
from consumer.errors import CorruptState, FenceLost
from consumer.events import NOTHING_DONE, Checkpoint, PartitionId
from consumer.runtime.assignment import take_over
from consumer.stores import COPIES_MAX
from consumer.stores.blob_container import BlobContainer
from consumer.stores.blob_dead_letters import BlobDeadLetters

PARTITION = PartitionId("Contoso.servicebus.windows.net", "EH1", "$Default", "0")
NAMES = {
    "fully_qualified_namespace": PARTITION.namespace,
    "eventhub_name": PARTITION.hub,
    "consumer_group": PARTITION.group,
}
POLICY = PipelinePolicy(
    SequencerLimits(window_ms=0, held_max=1, held_bytes_max=1, span_max=1, objects_max=1), owner="tester"
)
BLOB = "contoso.servicebus.windows.net/eh1/$default/checkpoint/0"


def sdk_checkpoint(sequence_number: int, offset: str) -> dict:
    return {**NAMES, "partition_id": "0", "sequence_number": sequence_number, "offset": offset}


async def blobs_in(store) -> dict:
    listed = store._container.client.list_blobs(include=["metadata"])
    return {blob.name: blob async for blob in listed}


async def test_the_sdk_reads_the_checkpoint_that_we_wrote(open_blob_store, sdk_store):
    await open_blob_store().save(PARTITION, Checkpoint(42, "4200"), b"state", "")
    assert await sdk_store.list_checkpoints(**NAMES) == [sdk_checkpoint(42, "4200")]


async def test_we_read_the_checkpoint_that_the_sdk_wrote_and_it_has_no_state(open_blob_store, sdk_store):
    store = open_blob_store()
    await store.probe()  # makes the container
    await sdk_store.update_checkpoint(sdk_checkpoint(42, "4200"))
    stored = await store.load(PARTITION)
    assert (stored.checkpoint, stored.snapshot) == (Checkpoint(42, "4200"), None)
    assert await store.list_checkpoints(**NAMES) == await sdk_store.list_checkpoints(**NAMES)
    await store.save(PARTITION, Checkpoint(43, "4300"), b"state", stored.fence)


async def test_a_write_of_the_sdk_over_ours_takes_our_fence_away(open_blob_store, sdk_store):
    store = open_blob_store()
    fence = await store.save(PARTITION, Checkpoint(42, "4200"), b"state", "")
    await sdk_store.update_checkpoint(sdk_checkpoint(99, "9900"))
    with pytest.raises(FenceLost):
        await store.save(PARTITION, Checkpoint(43, "4300"), b"next", fence)
    stored = await store.load(PARTITION)
    # The SDK leaves the body alone, so that the reader of the state sees that the two differ.
    assert (stored.checkpoint, stored.snapshot) == (Checkpoint(99, "9900"), b"state")


@pytest.mark.parametrize(
    ("moved_to", "done_above", "released"),
    [(47, {50: [0]}, [(0, "m", [(48, 0)])]), (41, {}, [])],
    ids=["forward", "back"],
)
async def test_a_checkpoint_that_the_sdk_moved_is_gone_on_from(
    open_blob_store, sdk_store, moved_to, done_above, released
):
    """The SDK leaves our state beside it. What lies above the new place is kept; going back forgets it."""
    store = open_blob_store()
    owned = msgspec.structs.replace(
        new_snapshot(Checkpoint(42, "4200"), "before"),
        epoch=3,
        topics=["t"],
        done_above={45: [0], 50: [0]},
        released=[(0, "m", [(46, 0), (48, 0)])],
    )
    await store.save(PARTITION, owned.checkpoint, encode(owned), "")
    await sdk_store.update_checkpoint(sdk_checkpoint(moved_to, f"{moved_to}00"))

    taken = await take_over(store, PARTITION, NOTHING_DONE, POLICY)

    snapshot = taken.snapshot
    assert (snapshot.checkpoint, snapshot.epoch) == (Checkpoint(moved_to, f"{moved_to}00"), 4)
    assert (snapshot.done_above, list(snapshot.released)) == (done_above, released)
    assert await sdk_store.list_checkpoints(**NAMES) == [sdk_checkpoint(moved_to, f"{moved_to}00")]


async def test_copies_lie_where_neither_the_sdk_nor_keda_looks(open_blob_store, sdk_store):
    store = open_blob_store()
    await store.save(PARTITION, Checkpoint(42, "4200"), b"state", "")
    for kind, count in COPIES_MAX.items():
        for number in range(count + 1):
            await store.keep(PARTITION, Checkpoint(number, f"{number}00"), b"copy", kind)
    assert await sdk_store.list_checkpoints(**NAMES) == [sdk_checkpoint(42, "4200")]
    assert await sdk_store.list_ownership(**NAMES) == []
    prefix = BLOB.replace("/checkpoint/", "/inturn/") + "/"
    copies = [f"{prefix}{kind}-{slot}" for kind, count in COPIES_MAX.items() for slot in range(1, count + 1)]
    assert sorted(await blobs_in(store)) == sorted([BLOB, *copies])


async def test_the_sdk_begins_at_the_earliest_event_where_nothing_is_done(open_blob_store, sdk_store):
    await open_blob_store().save(PARTITION, NOTHING_DONE, b"state", "")
    (listed,) = await sdk_store.list_checkpoints(**NAMES)
    processor = EventProcessorMixin()
    processor._initial_event_position, processor._initial_event_position_inclusive = "@latest", False
    position, inclusive = processor.get_init_event_position("0", listed)
    assert event_position_selector(position, inclusive) == b"amqp.annotation.x-opt-offset > '-1'"


async def test_offset_and_sequence_number_are_written_as_the_sdk_writes_them(open_blob_store, sdk_store):
    store = open_blob_store()
    await store.save(PARTITION, Checkpoint(42, "4200"), b"state", "")
    ours = (await blobs_in(store))[BLOB]
    await sdk_store.update_checkpoint(sdk_checkpoint(42, "4200"))
    theirs = (await blobs_in(store))[BLOB]
    assert theirs.metadata == {"offset": "4200", "sequencenumber": "42"}
    assert theirs.metadata.items() <= ours.metadata.items()
    assert theirs.blob_type == ours.blob_type


async def test_everything_that_keda_looks_for_has_a_lower_case_name(open_blob_store, azurite, container_name):
    """KEDA lowers only the consumer group: the other names are lower-case in its rule, and must be here."""
    store = open_blob_store()
    await store.save(PARTITION, Checkpoint(42, "4200"), b"state", "")
    await store.claim_ownership([{**NAMES, "partition_id": "0", "owner_id": "Me"}])
    letters = BlobDeadLetters(BlobContainer(container_name, connection_string=azurite.connection_string))
    await letters.close()
    blobs = await blobs_in(store)
    assert [name for name in blobs if name != name.lower()] == []
    rule = {"hub": "contoso.servicebus.windows.net/eh1", "consumerGroup": "$Default"}
    found = blobs[f"{rule['hub']}/{rule['consumerGroup'].lower()}/checkpoint/0"]
    assert found.metadata["sequencenumber"] == "42"


async def test_a_blob_of_another_language_with_capitals_in_its_metadata_is_read(open_blob_store):
    store = open_blob_store()
    await store.probe()
    metadata = {"Offset": "7", "Sequencenumber": "3"}
    await store._container.client.upload_blob(BLOB, b"", metadata=metadata)
    assert (await store.load(PARTITION)).checkpoint == Checkpoint(3, "7")
    assert (await store.list_checkpoints(**NAMES))[0]["sequence_number"] == 3


@pytest.mark.parametrize(
    "metadata", [{}, {"offset": "7"}, {"sequencenumber": "3"}, {"offset": "7", "sequencenumber": "many"}]
)
async def test_a_blob_without_a_readable_checkpoint_halts_its_partition_and_no_other(
    open_blob_store, metadata
):
    store = open_blob_store()
    await store.save(PARTITION._replace(partition="1"), Checkpoint(42, "4200"), b"state", "")
    await store._container.client.upload_blob(BLOB, b"body", metadata=metadata)
    with pytest.raises(CorruptState, match="checkpoint/0 has no readable offset"):
        await store.load(PARTITION)
    assert [checkpoint["partition_id"] for checkpoint in await store.list_checkpoints(**NAMES)] == ["1"]
    assert [partition.partition for partition, _ in await store.partitions()] == ["1"]
    assert (await blobs_in(store))[BLOB].size == 4


async def test_the_sdk_and_we_balance_partitions_together(open_blob_store, sdk_store):
    store = open_blob_store()
    (ours,) = await store.claim_ownership([{**NAMES, "partition_id": "0", "owner_id": "ours"}])
    (seen,) = await sdk_store.list_ownership(**NAMES)
    assert seen["owner_id"] == "ours"
    (theirs,) = await sdk_store.claim_ownership([seen | {"owner_id": "theirs"}])
    assert await store.claim_ownership([ours]) == []
    (again,) = await store.claim_ownership([theirs | {"owner_id": "ours again"}])
    assert (await sdk_store.list_ownership(**NAMES))[0]["owner_id"] == "ours again"
    assert again["etag"]


async def test_a_dead_letter_can_be_read_by_a_person(open_blob_store, azurite, container_name):
    import json

    from consumer.events import DeadLetter, Position, Reason

    store = open_blob_store()
    await store.probe()
    letters = BlobDeadLetters(BlobContainer(container_name, connection_string=azurite.connection_string))
    text = DeadLetter(
        "text", PARTITION, Position("0", 7, 0), Reason.REJECTED, "No.", '{"ü": 1}'.encode(), 1, 2
    )
    raw = DeadLetter("raw", PARTITION, Position("0", 8, 0), Reason.NOT_UTF8, "No.", b"\xff\xfe", 1, 2)
    await letters.put([text, raw])
    folder = "contoso.servicebus.windows.net/eh1/$default/dead-letters"
    documents = {}
    for key in ("text", "raw"):
        download = await store._container.client.download_blob(f"{folder}/{key}.json")
        documents[key] = json.loads(await download.readall())
    assert (documents["text"]["original"], documents["text"]["original_text"]) == ("eyLDvCI6IDF9", '{"ü": 1}')
    assert (documents["raw"]["original"], documents["raw"]["original_text"]) == ("//4=", None)
    await store._container.client.upload_blob(f"{folder}/stray.json", b"not a letter")
    assert [letter async for letter in letters.letters()] == [text, raw]
    await letters.close()
