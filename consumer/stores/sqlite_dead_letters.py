"""Dead letters in a table of an SQLite file, which may be the checkpoints' own."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from consumer.events import DeadLetter, PartitionId
from consumer.stores import COUNTED_MAX, LetterFilter
from consumer.stores.dead_letter_record import DeadLetterRecord, letter_of, record_of, scope_of
from consumer.stores.letter_filter import line_in, line_of
from consumer.stores.sqlite_file import BUSY_TIMEOUT_S, SqliteFile

_PAGE_LETTERS = 100
"""Letters read at once: at most 100 MiB of original bytes."""
_COLUMNS = tuple(field.name for field in msgspec.structs.fields(DeadLetterRecord))
_INSERT = """
INSERT OR IGNORE INTO dead_letters (
    key, namespace, hub, consumer_group, partition, sequence_number, element, reason, error, processor,
    attempts, enqueued_time_ms, dead_lettered_at_ms, event_id, event_type, topic, subject, original,
    object_path, partition_key, stale, line
) VALUES (
    :key, :namespace, :hub, :consumer_group, :partition, :sequence_number, :element, :reason, :error,
    :processor, :attempts, :enqueued_time_ms, :dead_lettered_at_ms, :event_id, :event_type, :topic,
    :subject, :original, :object_path, :partition_key, :stale, :line
)
"""
_UPDATE = """
UPDATE dead_letters SET
    reason = :reason, error = :error, processor = :processor, attempts = :attempts, event_id = :event_id,
    event_type = :event_type, topic = :topic, subject = :subject, original = :original,
    object_path = :object_path, partition_key = :partition_key, stale = :stale, line = :line
WHERE namespace = :namespace AND hub = :hub AND consumer_group = :consumer_group AND key = :key
"""
_SELECT = """
SELECT
    key, namespace, hub, consumer_group, partition, sequence_number, element, reason, error, processor,
    attempts, enqueued_time_ms, dead_lettered_at_ms, event_id, event_type, topic, subject, original,
    object_path, partition_key, stale, rowid
FROM dead_letters
WHERE (dead_lettered_at_ms, sequence_number, element, key, rowid)
    > (:after_ms, :after_number, :after_element, :after_key, :after_row)
"""
_IN_LINE = """
AND line = :line AND namespace = :namespace AND hub = :hub AND consumer_group = :consumer_group
"""
_MEANT = """
AND (:since_ms IS NULL OR dead_lettered_at_ms >= :since_ms)
AND (:until_ms IS NULL OR dead_lettered_at_ms < :until_ms)
AND (:key = '' OR substr(key, 1, length(:key)) = :key)
AND (:processors IS NULL OR processor IN (SELECT value FROM json_each(:processors)))
AND (:reasons IS NULL OR reason IN (SELECT value FROM json_each(:reasons)))
AND (NOT :asks_names OR matches_names(event_type, topic, subject, object_path))
"""
_OLDEST = "ORDER BY dead_lettered_at_ms, sequence_number, element, key, rowid LIMIT :count"
_COUNT_BEGIN = "SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE 1"
_COUNT_END = "LIMIT :count)"
_DELETE = """
DELETE FROM dead_letters WHERE namespace = ? AND hub = ? AND consumer_group = ? AND key = ?
"""
_HAS = """
SELECT 1 FROM dead_letters WHERE namespace = ? AND hub = ? AND consumer_group = ? AND key = ?
"""
_HOLDS = """
SELECT EXISTS (
    SELECT 1 FROM dead_letters
    WHERE line = :line AND namespace = :namespace AND hub = :hub AND consumer_group = :consumer_group
)
"""
_CLAIM = """
INSERT INTO redrive_claims (id, owner, until_ms) VALUES (1, :owner, :until_ms)
ON CONFLICT (id) DO UPDATE SET owner = :owner, until_ms = :until_ms
WHERE owner = :owner OR until_ms <= :now_ms
"""
_AGE = {
    "dead_lettered_at_ms": "after_ms",
    "sequence_number": "after_number",
    "element": "after_element",
    "key": "after_key",
}
_BEFORE_ALL = {"after_ms": -1, "after_number": -1, "after_element": -1, "after_key": "", "after_row": -1}

log = structlog.get_logger("inturn.stores")


class SqliteDeadLetters:
    """A dead-letter store in a file on a local disk; its folder is made when missing."""

    is_indexed = True

    def __init__(
        self,
        *,
        path: Path,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives seconds since 1970."""
        self._file = SqliteFile(path, busy_timeout_s=busy_timeout_s)
        self._clock = clock

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters, all or none; one that is there already changes nothing."""
        rows = [_row_of(letter) for letter in letters]

        def insert(connection: sqlite3.Connection) -> None:
            # A cursor must not leave the thread: it would be reset wherever it is collected, which may be
            # in the middle of the next statement.
            connection.executemany(_INSERT, rows).close()

        await self._file.transact(insert)

    async def replace(self, letter: DeadLetter) -> bool:
        """Write a letter anew that is there."""
        row = _row_of(letter)
        return await self._file.transact(lambda connection: connection.execute(_UPDATE, row).rowcount) > 0

    async def letters(
        self, *, limit: int = 1_000, where: LetterFilter | None = None
    ) -> AsyncIterator[DeadLetter]:
        """The letters that are meant, oldest first; read page by page: a long listing holds little."""
        where = where or LetterFilter()
        after: dict[str, Any] = _BEFORE_ALL
        remaining = limit
        while remaining > 0:
            rows = await self._page(where, after, min(remaining, _PAGE_LETTERS))
            for row in rows:
                fields = dict(zip(_COLUMNS, row[:-1], strict=True))
                after = {place: fields[name] for name, place in _AGE.items()} | {"after_row": row[-1]}
                letter = _letter_in(fields)
                if letter is not None:
                    yield letter
            remaining -= len(rows)
            if len(rows) < _PAGE_LETTERS:
                return

    async def _page(self, where: LetterFilter, after: dict[str, Any], count: int) -> list[tuple[Any, ...]]:
        statement = _SELECT + _condition(where) + _OLDEST
        values = _values(where) | after | {"count": count}

        def select(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            connection.create_function("matches_names", 4, where.matches_names)
            return connection.execute(statement, values).fetchall()

        return await self._file.read(select)

    async def count(self, where: LetterFilter | None = None) -> int:
        """How many letters are meant; `COUNTED_MAX` means so many or more."""
        meant = where or LetterFilter()
        statement = _COUNT_BEGIN + _condition(meant) + _COUNT_END
        values = _values(meant) | {"count": COUNTED_MAX}

        def select(connection: sqlite3.Connection) -> int:
            connection.create_function("matches_names", 4, meant.matches_names)
            return int(connection.execute(statement, values).fetchone()[0])

        return await self._file.read(select)

    async def remove(self, letters: Sequence[DeadLetter]) -> int:
        """Forget letters; gives how many were there."""
        scopes = [scope_of(letter) for letter in letters]

        def delete(connection: sqlite3.Connection) -> int:
            return connection.executemany(_DELETE, scopes).rowcount

        return await self._file.transact(delete) if scopes else 0

    async def holds(self, partition: PartitionId, processor: str, topic: str, object_path: str) -> bool:
        """Whether there is a letter of a processor and an object; a look into an index."""
        values = _values(LetterFilter(line=line_in(partition, processor, topic, object_path)))

        def select(connection: sqlite3.Connection) -> bool:
            return bool(connection.execute(_HOLDS, values).fetchone()[0])

        return await self._file.read(select)

    async def has(self, letter: DeadLetter) -> bool:
        """Whether there is a letter of this key in its consumer group."""
        scope = scope_of(letter)

        def select(connection: sqlite3.Connection) -> bool:
            return connection.execute(_HAS, scope).fetchone() is not None

        return await self._file.read(select)

    async def claim(self, owner: str, lasts_s: int) -> bool:
        """Take, or renew, the right to redrive; all users of the file share this machine's clock."""
        now_ms = int(self._clock() * 1_000)
        values = {"owner": owner, "now_ms": now_ms, "until_ms": now_ms + lasts_s * 1_000}
        return await self._file.transact(lambda connection: connection.execute(_CLAIM, values).rowcount) > 0

    async def release(self, owner: str) -> None:
        """Give the right to redrive back."""
        await self._file.transact(
            lambda connection: connection.execute(
                "DELETE FROM redrive_claims WHERE owner = ?", (owner,)
            ).close()
        )

    async def probe(self) -> None:
        """Raise `StoreUnavailable` unless the file can be written; writes nothing."""
        await self._file.probe()

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()


def _row_of(letter: DeadLetter) -> dict[str, Any]:
    line = line_of(letter)
    return msgspec.structs.asdict(record_of(letter)) | {"line": "" if line is None else line.digest}


def _condition(where: LetterFilter) -> str:
    # A line has its index; with a parameter that may be null SQLite would not take it.
    return (_IN_LINE if where.line is not None else "") + _MEANT


def _values(where: LetterFilter) -> dict[str, Any]:
    line = where.line
    return {
        "since_ms": where.since_ms,
        "until_ms": where.until_ms,
        "key": where.key,
        "processors": json.dumps(where.processors) if where.processors else None,
        "reasons": json.dumps(where.reasons) if where.reasons else None,
        "asks_names": where.asks_names,
        "line": "" if line is None else line.digest,
        "namespace": "" if line is None else line.namespace,
        "hub": "" if line is None else line.hub,
        "consumer_group": "" if line is None else line.group,
    }


def _letter_in(fields: dict[str, Any]) -> DeadLetter | None:
    try:
        record = msgspec.convert(fields | {"stale": bool(fields["stale"])}, DeadLetterRecord)
    except msgspec.ValidationError as error:
        log.warning("A dead letter cannot be read and is left out.", key=fields["key"], error=str(error))
        return None
    return letter_of(record)
