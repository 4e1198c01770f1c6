"""What taking a partition over promises with every store, when state is damaged, newer or moved."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import zlib
from pathlib import Path

import msgspec
import pytest
import structlog

from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import FORMAT, decode, encode, format_of, new_snapshot
from consumer.errors import CorruptState, FenceLost, NewerState, StoreUnavailable
from consumer.events import NOTHING_DONE, Checkpoint, PartitionId
from consumer.runtime.assignment import take_over
from consumer.runtime.writers import CheckpointWriter
from consumer.stores import CopyKind

GOLDEN = Path(__file__).parents[1] / "unit" / "core" / "golden" / "snapshot-format-3.bin"
PARTITION = PartitionId("contoso.servicebus.windows.net", "models", "$Default", "0")
POLICY = PipelinePolicy(
    SequencerLimits(window_ms=0, held_max=1, held_bytes_max=1, span_max=1, objects_max=1), owner="tester"
)


def at(number):
    return Checkpoint(number, f"{number}00")


def state(number, epoch=1, owner="before"):
    """A state that has reached a sequence number."""
    return msgspec.structs.replace(new_snapshot(at(number), owner), epoch=epoch)


def damaged(body):
    return body[:-3] + bytes([body[-3] ^ 1]) + body[-2:]


def of_a_newer_format():
    """The least that any later format begins with: its number and an empty directory, under a checksum."""
    header = b"inturn\0" + struct.pack(">HH", 99, 0)
    return header + struct.pack(">I", zlib.crc32(header)) + b"what only a later version knows"


async def put(store, number, body, kept=()):
    """Store a checkpoint with a body, and copies, the oldest first."""
    for each in kept:
        copy = each if isinstance(each, tuple) else (at(each), encode(state(each)))
        await store.keep(PARTITION, *copy, CopyKind.GOOD)
    return await store.save(PARTITION, at(number), body, (await store.load(PARTITION)).fence)


def take(store, start=NOTHING_DONE, policy=POLICY):
    return take_over(store, PARTITION, start, policy)


async def kept(store, kind):
    return [copy for copy in await store.kept(PARTITION) if copy.kind is kind]


async def test_taking_over_stores_the_state_one_epoch_later_and_refuses_the_owner_before(open_store):
    store = open_store()
    fence = await put(store, 7, encode(state(7, epoch=4)))
    taken = await take(store)
    assert (taken.snapshot.checkpoint, taken.snapshot.epoch) == (at(7), 5)
    assert decode((await store.load(PARTITION)).snapshot).epoch == 5
    with pytest.raises(FenceLost):
        await store.save(PARTITION, at(8), encode(state(8, epoch=4)), fence)
    await taken.writer.write(state(8, epoch=5))
    assert (await store.load(PARTITION)).checkpoint == at(8)


async def test_a_damaged_state_is_replaced_by_the_newest_kept_one_and_kept_as_evidence(open_store):
    store = open_store()
    bad = damaged(encode(state(9)))
    await put(store, 9, bad, kept=[5, 7])
    with structlog.testing.capture_logs() as logs:
        taken = await take(store)
    assert taken.snapshot.checkpoint == at(7)
    stored = await store.load(PARTITION)
    assert (stored.checkpoint, decode(stored.snapshot).checkpoint) == (at(7), at(7))
    (evidence,) = await kept(store, CopyKind.DAMAGED)
    assert (evidence.checkpoint, evidence.snapshot) == (at(9), bad)
    (said,) = [each for each in logs if each["log_level"] == "error"]
    assert (said["checkpoint"], said["used"]) == (9, 7)
    assert "checksum" in said["damage"]
    assert "handled again with the same idempotency keys" in said["event"]


async def test_a_kept_state_that_is_damaged_itself_is_passed_over(open_store):
    store = open_store()
    await put(store, 9, b"rubbish", kept=[5, (at(7), damaged(encode(state(7))))])
    assert (await take(store)).snapshot.checkpoint == at(5)


async def test_a_kept_state_ahead_of_the_checkpoint_is_never_used_since_it_would_skip_events(open_store):
    store = open_store()
    await put(store, 6, b"rubbish", kept=[5, 7])
    assert (await take(store)).snapshot.checkpoint == at(5)


@pytest.mark.parametrize(
    ("copies", "words"),
    [
        ([], "there is none"),
        ([(at(5), b"rubbish"), (at(6), b"")], "5 is damaged as well"),
        ([30], "30 is ahead of the checkpoint 9"),
    ],
)
async def test_without_a_readable_copy_it_halts_says_what_to_do_and_overwrites_nothing(
    open_store, copies, words
):
    store = open_store()
    bad = damaged(encode(state(9)))
    await put(store, 9, bad, kept=copies)
    before = (await store.load(PARTITION), await store.kept(PARTITION))
    with pytest.raises(CorruptState, match=words) as caught:
        await take(store)
    assert "inturn checkpoint rewind" in str(caught.value)
    assert (await store.load(PARTITION), await store.kept(PARTITION)) == before


async def test_backups_and_evidence_never_take_the_place_of_a_damaged_state(open_store):
    store = open_store()
    await store.keep(PARTITION, at(3), encode(state(3)), CopyKind.BACKUP)
    await store.keep(PARTITION, at(4), encode(state(4)), CopyKind.DAMAGED)
    await put(store, 9, b"rubbish")
    with pytest.raises(CorruptState, match="there is none"):
        await take(store)


async def test_a_state_of_a_newer_format_is_refused_whatever_is_kept(open_store):
    store = open_store()
    await put(store, 9, of_a_newer_format(), kept=[5, 7])
    before = (await store.load(PARTITION), await store.kept(PARTITION))
    with pytest.raises(NewerState, match="99"):
        await take(store)
    assert (await store.load(PARTITION), await store.kept(PARTITION)) == before


async def test_the_format_before_is_read_replaced_by_ours_and_kept_for_a_way_back(open_store):
    old = GOLDEN.read_bytes()
    checkpoint = decode(old).checkpoint
    store = open_store()
    await store.save(PARTITION, checkpoint, old, "")
    taken = await take(store)
    assert taken.snapshot.checkpoint == checkpoint
    assert (format_of(old), format_of((await store.load(PARTITION)).snapshot)) == (FORMAT - 1, FORMAT)
    async with keeping(taken.writer):

        async def is_kept():
            return [copy.snapshot for copy in await kept(store, CopyKind.GOOD)] == [old]

        await until(is_kept)


async def test_a_body_that_was_emptied_is_damage_and_no_fresh_start(open_store):
    store = open_store()
    await put(store, 9, b"", kept=[5])
    assert (await take(store)).snapshot.checkpoint == at(5)


async def test_nothing_stored_begins_where_it_is_told_and_a_removed_checkpoint_is_told_of(open_store):
    store = open_store()
    with structlog.testing.capture_logs() as quiet:
        assert (await take(store, start=at(3))).snapshot.checkpoint == at(3)
    assert not any("removed" in each["event"] for each in quiet)
    other = PARTITION._replace(partition="1")
    await store.keep(other, at(5), encode(state(5)), CopyKind.GOOD)
    with structlog.testing.capture_logs() as logs:
        taken = await take_over(store, other, NOTHING_DONE, POLICY)
    assert taken.snapshot.checkpoint == NOTHING_DONE
    assert any("checkpoint was removed" in each["event"] and "kept:1" in each["event"] for each in logs)


async def test_a_checkpoint_moved_forward_keeps_what_lies_above_it(open_store):
    store = open_store()
    owned = msgspec.structs.replace(
        state(5, epoch=3),
        topics=["t"],
        done_above={6: [0], 9: [0, 1]},
        done_rows=[(5, 1), (7, 2), (11, 1)],
        released=[(0, "m", [(6, 0), (8, 0), (10, 0)]), (0, "n", [(7, 0)])],
    )
    await put(store, 7, encode(owned))
    snapshot = (await take(store)).snapshot
    assert (snapshot.checkpoint, snapshot.epoch) == (at(7), 4)
    assert snapshot.resolved_above() == {8: [0], 9: [0, 1], 11: [0]}
    assert list(snapshot.released) == [(0, "m", [(8, 0), (10, 0)])]


async def test_a_checkpoint_moved_back_forgets_what_would_make_its_events_stale_or_duplicate(open_store):
    store = open_store()
    owned = msgspec.structs.replace(
        state(9, epoch=3), topics=["t"], done_above={12: [0]}, released=[(0, "m", [(11, 0)])]
    )
    await put(store, 4, encode(owned))
    snapshot = (await take(store)).snapshot
    assert snapshot == msgspec.structs.replace(new_snapshot(at(4), "tester"), epoch=4)


class Troubled:
    """A store whose saves fail: before or after they take effect."""

    def __init__(self, store, *troubles):
        self.store = store
        self.troubles = list(troubles)
        self.saves = 0
        self.between = None
        """What another process does before a save gets through."""

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def save(self, *arguments):
        self.saves += 1
        between, self.between = self.between, None
        if between is not None:
            await between()
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble == "before":
            raise StoreUnavailable("not sent")
        fence = await self.store.save(*arguments)
        if trouble == "after":
            raise StoreUnavailable("no answer")
        return fence


async def test_a_fence_write_whose_answer_was_lost_is_found_and_not_sent_again(open_store):
    store = open_store()
    await put(store, 7, encode(state(7, epoch=4)))
    troubled = Troubled(store, "after")
    taken = await take(troubled)
    assert (troubled.saves, taken.snapshot.epoch) == (1, 5)
    await taken.writer.write(state(8, epoch=5))  # the fence that was found is the right one


async def test_a_fence_write_that_never_arrived_is_sent_again(open_store):
    store = open_store()
    await put(store, 7, encode(state(7, epoch=4)))
    troubled = Troubled(store, "before", "before")
    taken = await take(troubled)
    assert (troubled.saves, taken.snapshot.epoch) == (3, 5)
    await taken.writer.write(state(8, epoch=5))


async def test_a_store_that_stays_away_is_reported_after_three_tries(open_store):
    store = open_store()
    before = await put(store, 7, encode(state(7)))
    troubled = Troubled(store, *["before"] * 9)
    with pytest.raises(StoreUnavailable):
        await take(troubled)
    assert troubled.saves == 3
    assert (await store.load(PARTITION)).fence == before


async def test_an_unknown_fence_write_beside_an_equal_one_of_another_owner_is_not_taken_for_ours(open_store):
    """Two owners of one name read one version; the other's write gets through, ours fails."""
    store = open_store()
    await put(store, 7, encode(state(7, epoch=4)))
    troubled = Troubled(store, "before")
    others = []

    async def other_takes():
        others.append(await take(store))

    troubled.between = other_takes
    with pytest.raises(FenceLost, match="faster"):
        await take(troubled)
    await others[0].writer.write(state(8, epoch=5))


async def test_an_old_owner_that_stores_once_more_meanwhile_is_fenced_at_once(open_store):
    store = open_store()
    fence = await put(store, 7, encode(state(7, epoch=4)))
    old = CheckpointWriter(store, PARTITION, fence)
    troubled = Troubled(store)
    troubled.between = lambda: old.write(state(9, epoch=4))
    taken = await take(troubled)
    assert (taken.snapshot.checkpoint, taken.snapshot.epoch) == (at(9), 5)
    with pytest.raises(FenceLost):
        await old.write(state(10, epoch=4))


async def test_of_two_new_owners_the_faster_one_stays(open_store):
    store = open_store()
    await put(store, 7, encode(state(7, epoch=4)))
    troubled, others = Troubled(store), []

    async def other_takes():
        others.append(await take(store))

    troubled.between = other_takes
    with pytest.raises(FenceLost, match="faster"):
        await take(troubled)
    await others[0].writer.write(state(8, epoch=5))


@contextlib.asynccontextmanager
async def keeping(writer):
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(writer.keep_copies())
        yield
        task.cancel()


async def until(condition):
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - a store sets no event
            await asyncio.sleep(0.005)


async def test_what_was_read_on_taking_over_is_kept_as_it_was_read(open_store):
    store = open_store()
    body = encode(state(7, epoch=4))
    await put(store, 7, body)
    taken = await take(store)
    async with keeping(taken.writer):

        async def is_kept():
            return [copy.snapshot for copy in await kept(store, CopyKind.GOOD)] == [body]

        await until(is_kept)
        await taken.writer.write(state(8, epoch=5))
        assert await is_kept()  # not at every write


async def test_what_is_written_is_kept_when_its_minute_has_come(open_store, monkeypatch):
    monkeypatch.setattr("consumer.runtime.writers.KEEP_EVERY_S", 0.0)
    store = open_store()
    writer = CheckpointWriter(store, PARTITION, "")
    async with keeping(writer):
        for number in range(5):
            await writer.write(state(number))

            async def is_kept(number=number):
                return [copy.checkpoint for copy in await kept(store, CopyKind.GOOD)][:1] == [at(number)]

            await until(is_kept)
    assert [copy.checkpoint for copy in await kept(store, CopyKind.GOOD)] == [at(4), at(3), at(2)]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), FenceLost("another one")])
async def test_a_copy_that_cannot_be_kept_is_a_warning_and_writes_go_on(open_store, error):
    class Refusing(Troubled):
        asked = 0

        async def keep(self, *_):
            self.asked += 1
            raise error

    store = open_store()
    refusing = Refusing(store)
    writer = CheckpointWriter(refusing, PARTITION, "")
    with structlog.testing.capture_logs() as logs:
        async with keeping(writer):
            await writer.write(state(1))

            async def is_asked():
                return bool(refusing.asked)

            await until(is_asked)
            await writer.write(state(2))
    assert [each["log_level"] for each in logs] == ["warning"]
    assert (await store.load(PARTITION)).checkpoint == at(2)


async def test_a_keep_that_hangs_holds_up_no_checkpoint(open_store):
    class Hanging(Troubled):
        async def keep(self, *_):
            await asyncio.Event().wait()

    store = open_store()
    writer = CheckpointWriter(Hanging(store), PARTITION, "")
    async with keeping(writer):
        for number in range(3):
            await writer.write(state(number))
    assert (await store.load(PARTITION)).checkpoint == at(2)
