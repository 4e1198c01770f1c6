"""An SQLite file that an inturn without objects in its dead letters has written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest
from harness.older_letter import LETTER, PARTITION

from consumer.stores.sqlite_dead_letters import SqliteDeadLetters
from consumer.stores.sqlite_file import APPLICATION_ID

TABLES_OF_BEFORE = """
CREATE TABLE dead_letters (
    key TEXT NOT NULL,
    namespace TEXT NOT NULL COLLATE NOCASE,
    hub TEXT NOT NULL COLLATE NOCASE,
    consumer_group TEXT NOT NULL COLLATE NOCASE,
    partition TEXT NOT NULL, sequence_number INTEGER NOT NULL, element INTEGER NOT NULL,
    reason TEXT NOT NULL, error TEXT NOT NULL, processor TEXT, attempts INTEGER NOT NULL,
    enqueued_time_ms INTEGER NOT NULL, dead_lettered_at_ms INTEGER NOT NULL,
    event_id TEXT NOT NULL, event_type TEXT NOT NULL, topic TEXT NOT NULL, subject TEXT NOT NULL,
    original BLOB NOT NULL,
    PRIMARY KEY (key, namespace, hub, consumer_group)
)
"""
INSERT_OF_BEFORE = """
INSERT OR IGNORE INTO dead_letters (
    key, namespace, hub, consumer_group, partition, sequence_number, element, reason, error, processor,
    attempts, enqueued_time_ms, dead_lettered_at_ms, event_id, event_type, topic, subject, original
) VALUES (?, 'contoso.servicebus.windows.net', 'models', '$Default', '0', 7, 0, 'rejected', 'No.', 'deploy',
    5, 1, 2, '1', 'T', '/t', 's', x'7b7d')
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of before, with one letter."""
    path = tmp_path / "inturn.db"
    with sqlite3.connect(path) as connection:
        connection.execute(TABLES_OF_BEFORE)
        connection.execute(INSERT_OF_BEFORE, ("key",))
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute("PRAGMA user_version=1")
    connection.close()
    return path


async def test_its_letters_are_read_counted_and_removed(path):
    letters = SqliteDeadLetters(path=path)
    assert [each async for each in letters.letters()] == [LETTER]
    assert await letters.count() == 1
    assert await letters.remove([LETTER]) == 1
    await letters.close()


async def test_new_letters_join_the_old_ones(path):
    letters = SqliteDeadLetters(path=path)
    new = msgspec.structs.replace(LETTER, key="new", object_path="models/fraud")
    await letters.put([new])
    assert {each.key: each async for each in letters.letters()} == {"key": LETTER, "new": new}
    assert await letters.holds(PARTITION, "deploy", "/t", "models/fraud")
    await letters.close()


async def test_an_inturn_of_before_can_go_on_with_the_file(path):
    letters = SqliteDeadLetters(path=path)
    await letters.count()
    with sqlite3.connect(path) as before:
        before.execute(INSERT_OF_BEFORE, ("later",))
    before.close()
    assert [each.key async for each in letters.letters()] == ["key", "later"]
    await letters.close()
