"""Moving a checkpoint by hand, when consumers interfere, answers are lost, or states are damaged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest

from consumer.cli.checkpoint_rewind import NotMoved, carry_out, check_direction, check_owner, plan
from consumer.cli.checkpoint_survey import Owner
from consumer.core.snapshot import decode, encode, new_snapshot
from consumer.errors import CorruptState, StoreUnavailable
from consumer.events import NOTHING_DONE, Checkpoint, PartitionId, RawBatch
from consumer.replay.places import Mark
from consumer.sources.stretch import Extent
from consumer.stores import CopyKind
from consumer.stores.memory import MemoryStore

PARTITION = PartitionId("contoso.servicebus.windows.net", "models", "$default", "0")
EXTENT = Extent("0", begin=10, newest=99)
IDLE = Owner("someone", renewed_s=100, active=False)
AT_WORK = Owner("someone", renewed_s=1, active=True)


class TenPerSecond:
    """A log of events 10 to 99, whose offsets are a hundred times their numbers."""

    async def extents(self) -> list[Extent]:
        return [EXTENT]

    async def before(self, extent: Extent, time: datetime) -> int:
        return min(int(time.timestamp() * 10) - 1, extent.newest)

    async def batches(self, partition: str, after: int, last: int) -> AsyncIterator[RawBatch]:
        numbers = list(range(max(after + 1, EXTENT.begin), EXTENT.newest + 1))
        offsets = [f"{number}00" for number in numbers]
        keys: list[str | None] = [None] * len(numbers)
        yield RawBatch(
            partition, [b"[]"] * len(numbers), numbers, offsets, [0] * len(numbers), keys, lambda _: {}
        )

    async def close(self) -> None:
        pass


def at(number: int) -> Checkpoint:
    return Checkpoint(number, f"{number}00")


def state(number: int, epoch: int = 3) -> bytes:
    return encode(msgspec.structs.replace(new_snapshot(at(number), "before"), epoch=epoch))


@pytest.fixture
async def store():
    store = MemoryStore()
    await store.save(PARTITION, at(50), state(50), "")
    return store


def planned(store, target):
    return plan(store, PARTITION, target, TenPerSecond(), [EXTENT])


@pytest.mark.parametrize(
    ("target", "checkpoint", "again"),
    [
        (Mark.EARLIEST, NOTHING_DONE, "41 events, 10 to 50"),
        (30, at(29), "21 events, 30 to 50"),
        (50, at(49), "1 events, 50 to 50"),
        (51, at(50), "No event"),
        (10, NOTHING_DONE, "41 events, 10 to 50"),
        (3, NOTHING_DONE, "41 events, 10 to 50"),
        (datetime.fromtimestamp(4, UTC), at(39), "11 events, 40 to 50"),
    ],
)
async def test_a_target_is_the_first_event_that_is_handled_again(store, target, checkpoint, again):
    move = await planned(store, target)
    assert move.to == checkpoint
    assert again in move.describe()[1]
    check_direction(move, skips=False)
    await carry_out(store, move)
    stored = await store.load(PARTITION)
    moved = decode(stored.snapshot)
    assert (stored.checkpoint, moved.checkpoint, moved.epoch) == (checkpoint, checkpoint, 4)
    assert (len(moved.objects), len(moved.identities)) == (0, 0)


async def test_a_sequence_number_that_is_not_there_yet_is_refused(store):
    with pytest.raises(NotMoved, match="newest is 99"):
        await planned(store, 101)
    assert (await planned(store, 100)).to == at(99)


async def test_a_move_ahead_needs_leave_and_says_what_it_costs(store):
    move = await planned(store, 61)
    assert "10 events, 51 to 60, will never be handled" in move.describe()[1]
    with pytest.raises(NotMoved, match="10 events would never be handled"):
        check_direction(move, skips=False)
    check_direction(move, skips=True)


def test_an_active_owner_refuses_and_force_overrules_it():
    with pytest.raises(NotMoved, match="a consumer owns it"):
        check_owner(PARTITION, AT_WORK, force=False)
    check_owner(PARTITION, AT_WORK, force=True)
    for owner in (IDLE, None):
        check_owner(PARTITION, owner, force=False)


async def test_a_consumer_that_writes_meanwhile_wins(store):
    move = await planned(store, 30)
    await store.save(PARTITION, at(60), state(60), (await store.load(PARTITION)).fence)
    with pytest.raises(NotMoved, match="a consumer has written it meanwhile"):
        await carry_out(store, move)
    assert (await store.load(PARTITION)).checkpoint == at(60)


@pytest.mark.parametrize("took_effect", [True, False])
async def test_a_lost_answer_is_looked_up(took_effect):
    class Losing(MemoryStore):
        loses = False

        async def save(self, *arguments):
            if self.loses and not took_effect:
                raise StoreUnavailable("not sent")
            fence = await super().save(*arguments)
            if self.loses:
                raise StoreUnavailable("no answer")
            return fence

    store = Losing()
    await store.save(PARTITION, at(50), state(50), "")
    move = await planned(store, 30)
    store.loses = True
    if took_effect:
        await carry_out(store, move)
    else:
        with pytest.raises(StoreUnavailable):
            await carry_out(store, move)
    assert (await store.load(PARTITION)).checkpoint == at(29 if took_effect else 50)


async def test_nothing_is_moved_without_a_backup():
    class Full(MemoryStore):
        async def keep(self, *_):
            raise StoreUnavailable("the disk is full")

    store = Full()
    await store.save(PARTITION, at(50), state(50), "")
    with pytest.raises(StoreUnavailable, match="full"):
        await carry_out(store, await planned(store, 30))
    assert (await store.load(PARTITION)).checkpoint == at(50)


async def test_there_and_back_again_and_there(store):
    """Going back to the backup makes a backup of its own: no step is without return."""
    first = (await store.load(PARTITION)).snapshot
    await carry_out(store, await planned(store, 30))
    for checkpoint in (at(50), at(29), at(50)):
        move = await planned(store, "backup")
        check_direction(move, skips=False)
        await carry_out(store, move)
        assert (await store.load(PARTITION)).checkpoint == checkpoint
    back = decode((await store.load(PARTITION)).snapshot)
    assert msgspec.structs.replace(back, epoch=3, owner="before") == decode(first)


async def test_a_checkpoint_of_another_client_is_backed_up_without_state():
    class Bare(MemoryStore):
        async def load(self, partition):
            found = await super().load(partition)
            return msgspec.structs.replace(found, snapshot=found.snapshot or None)

    store = Bare()
    await store.save(PARTITION, at(50), b"", "")
    await carry_out(store, await planned(store, 30))
    await carry_out(store, await planned(store, "backup"))
    assert (await store.load(PARTITION)).checkpoint == at(50)


async def test_a_checkpoint_that_was_removed_is_put_back_from_what_was_kept():
    store = MemoryStore()
    await store.keep(PARTITION, at(40), state(40), CopyKind.GOOD)
    move = await planned(store, "kept:1")
    check_direction(move, skips=False)
    await carry_out(store, move)
    assert (await store.load(PARTITION)).checkpoint == at(40)


async def test_a_kept_state_that_is_damaged_or_not_there_is_no_target(store):
    await store.keep(PARTITION, at(40), b"rubbish", CopyKind.GOOD)
    with pytest.raises(CorruptState, match="kept:1 cannot be used"):
        await planned(store, "kept:1")
    with pytest.raises(NotMoved, match="there is no kept:2; kept:1"):
        await planned(store, "kept:2")


async def test_a_damaged_state_does_not_displace_a_good_backup(store):
    await carry_out(store, await planned(store, 30))
    fence = (await store.load(PARTITION)).fence
    await store.save(PARTITION, at(35), b"rubbish", fence)
    await carry_out(store, await planned(store, 20))
    copies = {copy.kind: copy for copy in await store.kept(PARTITION)}
    assert copies[CopyKind.BACKUP].checkpoint == at(50)
    assert copies[CopyKind.DAMAGED].snapshot == b"rubbish"
