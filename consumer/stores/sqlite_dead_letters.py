"""Dead letters in a table of an SQLite file, which may be the checkpoints' own."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from consumer.events import DeadLetter
from consumer.stores.dead_letter_record import DeadLetterRecord, letter_of, record_of, scope_of
from consumer.stores.sqlite_file import BUSY_TIMEOUT_S, SqliteFile

_PAGE_LETTERS = 100
"""Letters read at once: at most 100 MiB of original bytes."""
_COLUMNS = tuple(field.name for field in msgspec.structs.fields(DeadLetterRecord))
_INSERT = """
INSERT OR IGNORE INTO dead_letters (
    key, namespace, hub, consumer_group, partition, sequence_number, element, reason, error, processor,
    attempts, enqueued_time_ms, dead_lettered_at_ms, event_id, event_type, topic, subject, original
) VALUES (
    :key, :namespace, :hub, :consumer_group, :partition, :sequence_number, :element, :reason, :error,
    :processor, :attempts, :enqueued_time_ms, :dead_lettered_at_ms, :event_id, :event_type, :topic,
    :subject, :original
)
"""
_SELECT = """
SELECT
    key, namespace, hub, consumer_group, partition, sequence_number, element, reason, error, processor,
    attempts, enqueued_time_ms, dead_lettered_at_ms, event_id, event_type, topic, subject, original, rowid
FROM dead_letters
WHERE (dead_lettered_at_ms, sequence_number, element, key, rowid) > (?, ?, ?, ?, ?)
ORDER BY dead_lettered_at_ms, sequence_number, element, key, rowid LIMIT ?
"""
_DELETE = """
DELETE FROM dead_letters WHERE namespace = ? AND hub = ? AND consumer_group = ? AND key = ?
"""
_AGE = ("dead_lettered_at_ms", "sequence_number", "element", "key")
_BEFORE_ALL = (-1, -1, -1, "", -1)

log = structlog.get_logger("inturn.stores")


class SqliteDeadLetters:
    """A dead-letter store in a file on a local disk; its folder is made when missing."""

    def __init__(self, *, path: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._file = SqliteFile(path, busy_timeout_s=busy_timeout_s)

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters, all or none; one that is there already changes nothing."""
        rows = [msgspec.structs.asdict(record_of(letter)) for letter in letters]

        def insert(connection: sqlite3.Connection) -> None:
            # A cursor must not leave the thread: it would be reset wherever it is collected, which may be
            # in the middle of the next statement.
            connection.executemany(_INSERT, rows).close()

        await self._file.transact(insert)

    async def letters(self, *, limit: int = 1_000) -> AsyncIterator[DeadLetter]:
        """The letters, oldest first; read page by page, so that a long listing holds little in memory."""
        after: tuple[int | str, ...] = _BEFORE_ALL
        remaining = limit
        while remaining > 0:
            rows = await self._page(after, min(remaining, _PAGE_LETTERS))
            for row in rows:
                fields = dict(zip(_COLUMNS, row[:-1], strict=True))
                after = (*(fields[name] for name in _AGE), row[-1])
                letter = _letter_in(fields)
                if letter is not None:
                    yield letter
            remaining -= len(rows)
            if len(rows) < _PAGE_LETTERS:
                return

    async def _page(self, after: tuple[int | str, ...], count: int) -> list[tuple[Any, ...]]:
        return await self._file.read(
            lambda connection: connection.execute(_SELECT, (*after, count)).fetchall()
        )

    async def count(self) -> int:
        """How many letters there are."""

        def select(connection: sqlite3.Connection) -> int:
            return int(connection.execute("SELECT count(*) FROM dead_letters").fetchone()[0])

        return await self._file.read(select)

    async def remove(self, letters: Sequence[DeadLetter]) -> int:
        """Forget letters; gives how many were there."""
        scopes = [scope_of(letter) for letter in letters]

        def delete(connection: sqlite3.Connection) -> int:
            return connection.executemany(_DELETE, scopes).rowcount

        return await self._file.transact(delete) if scopes else 0

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()


def _letter_in(fields: dict[str, Any]) -> DeadLetter | None:
    try:
        return letter_of(msgspec.convert(fields, DeadLetterRecord))
    except msgspec.ValidationError as error:
        log.warning("A dead letter cannot be read and is left out.", key=fields["key"], error=str(error))
        return None
