"""What an SQLite store does with files that are damaged, foreign, newer, full, read-only or in use."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from consumer.errors import CorruptState, FenceLost, StoreUnavailable
from consumer.events import Checkpoint, DeadLetter, PartitionId, Position, Reason
from consumer.stores import CopyKind
from consumer.stores.sqlite import SqliteStore
from consumer.stores.sqlite_dead_letters import SqliteDeadLetters
from consumer.stores.sqlite_file import APPLICATION_ID

PARTITION = PartitionId("contoso.servicebus.windows.net", "models", "$Default", "0")
CHECKPOINT = Checkpoint(7, "1700")
CLAIM = {
    "fully_qualified_namespace": PARTITION.namespace,
    "eventhub_name": PARTITION.hub,
    "consumer_group": PARTITION.group,
    "partition_id": "0",
    "owner_id": "me",
}
LETTER = DeadLetter("key", PARTITION, Position("0", 7, 0), Reason.REJECTED, "No.", b"{}", 1, 2)


@pytest.fixture
async def open_store(tmp_path) -> AsyncIterator[Callable[..., SqliteStore]]:
    opened = []

    def open_one(path: Path = tmp_path / "inturn.db", **options) -> SqliteStore:
        opened.append(SqliteStore(path=path, **options))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


async def refused(store: SqliteStore, error: type[Exception], words: str) -> None:
    """Every call is refused in one line that names the file."""
    calls = [
        store.load(PARTITION),
        store.save(PARTITION, CHECKPOINT, b"state", ""),
        store.keep(PARTITION, CHECKPOINT, b"state", CopyKind.GOOD),
        store.kept(PARTITION),
        store.probe(),
    ]
    for call in calls:
        with pytest.raises(error, match=words) as caught:
            await call
        assert "inturn.db" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"hello", b"\x00" * 8_192, b"SQLite", b"x" * 5_000, b"{}" * 50_000])
async def test_a_file_that_is_not_sqlite_is_refused_and_left_as_it_is(open_store, tmp_path, content):
    path = tmp_path / "inturn.db"
    path.write_bytes(content)
    await refused(open_store(), CorruptState, "not an SQLite file")
    assert path.read_bytes() == content


async def test_a_damaged_file_is_refused_and_left_as_it_is(open_store, tmp_path):
    path = tmp_path / "inturn.db"
    store = open_store()
    await store.save(PARTITION, CHECKPOINT, b"state" * 50_000, "")
    await store.close()
    damaged = path.read_bytes()[:100] + b"\xff" * (path.stat().st_size - 100)
    path.write_bytes(damaged)
    await refused(open_store(), CorruptState, "damaged")
    assert path.read_bytes() == damaged


async def test_a_file_cut_short_is_refused(open_store, tmp_path):
    path = tmp_path / "inturn.db"
    store = open_store()
    await store.save(PARTITION, CHECKPOINT, b"state" * 50_000, "")
    await store.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CorruptState, match="damaged"):
        await open_store().load(PARTITION)


async def test_the_file_of_another_program_is_refused_and_left_as_it_is(open_store, tmp_path):
    path = tmp_path / "inturn.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    other.close()
    before = path.read_bytes()
    await refused(open_store(), CorruptState, "another program")
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused_and_left_as_it_is(open_store, tmp_path):
    path = tmp_path / "inturn.db"
    store = open_store()
    await store.save(PARTITION, CHECKPOINT, b"state", "")
    await store.close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    before = path.read_bytes()
    await refused(open_store(), CorruptState, "newer inturn .schema 99")
    assert path.read_bytes() == before


async def test_a_file_with_our_mark_but_without_our_tables_is_refused(open_store, tmp_path):
    with sqlite3.connect(tmp_path / "inturn.db") as hollow:
        hollow.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        hollow.execute("PRAGMA user_version = 1")
    hollow.close()
    with pytest.raises(CorruptState, match="no such table"):
        await open_store().load(PARTITION)


async def test_an_empty_file_and_missing_folders_are_made_into_a_store(open_store, tmp_path):
    (tmp_path / "inturn.db").touch()
    for path in (tmp_path / "inturn.db", tmp_path / "a" / "b" / "inturn.db"):
        store = open_store(path)
        await store.save(PARTITION, CHECKPOINT, b"state", "")
        assert (await store.load(PARTITION)).checkpoint == CHECKPOINT


async def test_a_folder_that_cannot_be_made_means_unavailable(open_store, tmp_path):
    (tmp_path / "file").touch()
    await refused(open_store(tmp_path / "file" / "inturn.db"), StoreUnavailable, "cannot be opened")


async def test_a_full_disk_means_unavailable_and_the_old_state_stays(open_store):
    store = open_store()
    fence = await store.save(PARTITION, CHECKPOINT, b"state", "")
    # SQLite's own limit raises the very error of a full disk.
    pages = await store._file.read(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    await store._file.read(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await store.save(PARTITION, Checkpoint(8, "8"), b"x" * 1_000_000, fence)
    stored = await store.load(PARTITION)
    assert (stored.checkpoint, stored.fence) == (CHECKPOINT, fence)
    await store.save(PARTITION, Checkpoint(8, "8"), b"small", fence)


@pytest.fixture
def readable_folder():
    """A folder that an unprivileged user may only read; under root the test runs as that user."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX users")
@pytest.mark.parametrize("exists", [True, False])
async def test_a_read_only_place_means_unavailable(open_store, readable_folder, exists):
    path = readable_folder / "inturn.db"
    if exists:
        store = open_store(path)
        await store.save(PARTITION, CHECKPOINT, b"state", "")
        await store.close()
        path.chmod(0o444)
    readable_folder.chmod(0o555)
    was = os.geteuid()
    os.seteuid(65534 if was == 0 else was)
    try:
        store = open_store(path)
        with pytest.raises(StoreUnavailable, match=r"read-only|cannot be opened"):
            await store.probe()
        with pytest.raises(StoreUnavailable, match=r"read-only|cannot be opened"):
            await store.save(PARTITION, CHECKPOINT, b"state", "")
        await store.close()
    finally:
        os.seteuid(was)
        readable_folder.chmod(0o755)


async def test_a_write_held_up_by_another_process_is_unavailable_for_a_while_and_reads_go_on(
    open_store, tmp_path
):
    store = open_store(busy_timeout_s=0.05)
    fence = await store.save(PARTITION, CHECKPOINT, b"state", "")
    other = sqlite3.connect(tmp_path / "inturn.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="another process holds it"):
        await store.save(PARTITION, Checkpoint(8, "8"), b"next", fence)
    with pytest.raises(StoreUnavailable, match="another process holds it"):
        await store.probe()
    assert (await store.load(PARTITION)).checkpoint == CHECKPOINT
    other.execute("ROLLBACK")
    other.close()
    await store.save(PARTITION, Checkpoint(8, "8"), b"next", fence)


async def test_a_store_that_fails_does_not_count_a_claim_as_won(open_store, tmp_path):
    store = open_store(busy_timeout_s=0.05)
    (held,) = await store.claim_ownership([CLAIM])
    other = sqlite3.connect(tmp_path / "inturn.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await store.claim_ownership([held])
    assert await store.claim_ownership([held | {"owner_id": ""}]) == []  # giving back never raises
    other.execute("ROLLBACK")
    other.close()
    assert await store.claim_ownership([held])


async def test_a_store_that_could_not_be_opened_is_opened_when_it_heals(open_store, tmp_path):
    path = tmp_path / "inturn.db"
    path.write_bytes(b"not a store")
    store = open_store()
    with pytest.raises(CorruptState):
        await store.load(PARTITION)
    path.unlink()
    assert (await store.load(PARTITION)).fence == ""


async def test_an_old_fence_does_not_fit_a_file_that_was_made_anew(open_store, tmp_path):
    store = open_store()
    old = await store.save(PARTITION, CHECKPOINT, b"state", "")
    await store.close()
    (tmp_path / "inturn.db").unlink()
    store = open_store()
    await store.save(PARTITION, CHECKPOINT, b"state", "")
    with pytest.raises(FenceLost):
        await store.save(PARTITION, Checkpoint(8, "8"), b"next", old)


async def test_what_is_committed_is_on_the_disk(open_store):
    store = open_store()
    pragmas = ("synchronous", "journal_mode")
    found = await store._file.read(
        lambda connection: [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    )
    assert found == [2, "wal"]  # FULL: every commit is flushed


async def test_a_full_disk_keeps_no_copy_and_loses_none(open_store):
    store = open_store()
    await store.keep(PARTITION, CHECKPOINT, b"state", CopyKind.GOOD)
    pages = await store._file.read(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    await store._file.read(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await store.keep(PARTITION, Checkpoint(8, "8"), b"x" * 1_000_000, CopyKind.GOOD)
    assert [copy.snapshot for copy in await store.kept(PARTITION)] == [b"state"]


async def test_a_file_of_a_version_that_kept_no_copies_is_taken_as_it_is(open_store, tmp_path):
    store = open_store()
    fence = await store.save(PARTITION, CHECKPOINT, b"state", "")
    await store.close()
    with sqlite3.connect(tmp_path / "inturn.db") as older:
        older.execute("DROP TABLE kept_states")
    older.close()
    store = open_store()
    assert (await store.load(PARTITION)).fence == fence
    await store.keep(PARTITION, CHECKPOINT, b"state", CopyKind.GOOD)
    assert len(await store.kept(PARTITION)) == 1


async def test_a_kind_of_copy_that_only_a_later_version_knows_is_left_alone(open_store, tmp_path):
    store = open_store()
    await store.keep(PARTITION, CHECKPOINT, b"theirs", CopyKind.BACKUP)
    with sqlite3.connect(tmp_path / "inturn.db") as newer:
        newer.execute("UPDATE kept_states SET kind = 'not_known_yet'")
    newer.close()
    await store.keep(PARTITION, CHECKPOINT, b"ours", CopyKind.GOOD)
    assert [copy.snapshot for copy in await store.kept(PARTITION)] == [b"ours"]


async def test_ownerships_are_stamped_by_the_clock_they_were_given(open_store):
    store = open_store(clock=lambda: 1_234.5)
    (held,) = await store.claim_ownership([CLAIM])
    assert held["last_modified_time"] == 1_234.5


async def test_checkpoints_and_dead_letters_share_a_file(open_store, tmp_path):
    store = open_store()
    letters = SqliteDeadLetters(path=tmp_path / "inturn.db")
    await store.save(PARTITION, CHECKPOINT, b"state", "")
    await letters.put([LETTER])
    assert [letter async for letter in letters.letters()] == [LETTER]
    assert (await store.load(PARTITION)).checkpoint == CHECKPOINT
    await letters.close()


async def test_a_dead_letter_that_cannot_be_read_does_not_hide_the_others(open_store, tmp_path):
    letters = SqliteDeadLetters(path=tmp_path / "inturn.db")
    await letters.put(
        [LETTER, DeadLetter("odd", PARTITION, Position("0", 8, 0), Reason.REJECTED, "", b"", 1, 1)]
    )
    with sqlite3.connect(tmp_path / "inturn.db") as newer:
        newer.execute("UPDATE dead_letters SET reason = 'not_known_yet' WHERE key = 'odd'")
    newer.close()
    assert [letter async for letter in letters.letters()] == [LETTER]
    assert await letters.count() == 2
    await letters.close()


async def test_a_closed_store_says_so(open_store):
    store = open_store()
    await store.close()
    await refused(store, StoreUnavailable, "closed")
