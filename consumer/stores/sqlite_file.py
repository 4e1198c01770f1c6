"""One SQLite file of inturn: opened, recognised, written durably, shared by processes of one machine.

All calls of a `SqliteFile` run one after the other on a single worker thread that owns the single
connection, so the event loop never waits for the disk. Write-ahead logging lets other processes read
meanwhile; ``synchronous=FULL`` makes what was committed survive a power cut. The file must lie on a
local disk: write-ahead logging does not work over a network file system.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from consumer.errors import CorruptState, InturnError, StoreUnavailable

APPLICATION_ID = 0x696E7475
"""``intu``: marks a SQLite file as one of inturn's."""
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
"""How long a call waits for another process's write before the store counts as unavailable."""

_SCHEMA = """
CREATE TABLE checkpoints (
    namespace TEXT NOT NULL, hub TEXT NOT NULL, consumer_group TEXT NOT NULL, partition TEXT NOT NULL,
    sequence_number INTEGER NOT NULL, offset TEXT NOT NULL, snapshot BLOB NOT NULL, fence TEXT NOT NULL,
    PRIMARY KEY (namespace, hub, consumer_group, partition)
);
CREATE TABLE ownerships (
    namespace TEXT NOT NULL, hub TEXT NOT NULL, consumer_group TEXT NOT NULL, partition TEXT NOT NULL,
    owner_id TEXT NOT NULL, etag TEXT NOT NULL, last_modified_time REAL NOT NULL,
    PRIMARY KEY (namespace, hub, consumer_group, partition)
);
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
);
CREATE INDEX dead_letters_oldest_first
    ON dead_letters (dead_lettered_at_ms, sequence_number, element, key);
"""

_LATER_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept_states (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, kept_at_ms INTEGER NOT NULL,
    namespace TEXT NOT NULL, hub TEXT NOT NULL, consumer_group TEXT NOT NULL, partition TEXT NOT NULL,
    sequence_number INTEGER NOT NULL, offset TEXT NOT NULL, snapshot BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS kept_states_of_a_partition
    ON kept_states (namespace, hub, consumer_group, partition);
CREATE TABLE IF NOT EXISTS redrive_claims (
    id INTEGER PRIMARY KEY CHECK (id = 1), owner TEXT NOT NULL, until_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS dead_letters_in_line
    ON dead_letters (line, namespace, hub, consumer_group, dead_lettered_at_ms)
"""
"""What a file of an earlier version of inturn lacks, and does not mind."""

_LATER_COLUMNS = {
    "object_path": "ALTER TABLE dead_letters ADD COLUMN object_path TEXT NOT NULL DEFAULT ''",
    "partition_key": "ALTER TABLE dead_letters ADD COLUMN partition_key TEXT",
    "stale": "ALTER TABLE dead_letters ADD COLUMN stale INTEGER NOT NULL DEFAULT 0",
    "line": "ALTER TABLE dead_letters ADD COLUMN line TEXT NOT NULL DEFAULT ''",
}
"""Columns that dead letters got later. An earlier inturn can go on with the file: each has a default."""

_UNREADABLE = {
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite file",
    sqlite3.SQLITE_FORMAT: "its format is not SQLite's",
}
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_LOCKED: "another process holds it",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_PERM: "access is refused",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened or created",
    sqlite3.SQLITE_IOERR: "the disk failed",
}

Answer = TypeVar("Answer")


class SqliteFile:
    """Runs functions on the connection to one file, each as one transaction."""

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inturn-sqlite")
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def transact(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Run `work` in a write transaction that is durable on return, or rolled back if it raises."""
        return await self._run(work, "BEGIN IMMEDIATE", "COMMIT")

    async def read(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Run `work` on one consistent view."""
        return await self._run(work, "BEGIN", "ROLLBACK")

    async def probe(self) -> None:
        """Raise `StoreUnavailable` unless the file can be written; writes nothing."""
        await self._run(lambda _: None, "BEGIN IMMEDIATE", "ROLLBACK")

    async def close(self) -> None:
        """Close the connection and end the thread; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[sqlite3.Connection], Answer], begin: str, end: str) -> Answer:
        if self._closed:
            raise StoreUnavailable(f"{self._path}: the store is closed.")

        def call() -> Answer:
            with self._errors_named():
                connection = self._connection = self._connection or self._connect()
                connection.execute(begin)
                try:
                    answer = work(connection)
                    connection.execute(end)
                except BaseException:
                    if connection.in_transaction:  # some errors have rolled back already
                        connection.execute("ROLLBACK")
                    raise
                return answer

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=self._busy_timeout_s, isolation_level=None)
        try:
            connection.execute("BEGIN")  # one view: another process may be creating it this moment
            self._recognise(connection)  # before anything that would write to a file that is not ours
            connection.execute("ROLLBACK")
            self._use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous=FULL")
            self._create_schema(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _recognise(self, connection: sqlite3.Connection) -> bool:
        """Whether the file is ours already; False for an empty one. Raises `CorruptState` for any other."""
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application == APPLICATION_ID and version == SCHEMA_VERSION:
            return True
        if application == APPLICATION_ID and version > SCHEMA_VERSION:
            raise CorruptState(
                f"{self._path}: written by a newer inturn (schema {version}; "
                f"this one knows {SCHEMA_VERSION}). Nothing was changed. "
                "Run the newer inturn, or name another file."
            )
        if application or version or tables:
            raise CorruptState(
                f"{self._path}: an SQLite file of another program. Nothing was changed. Name another file."
            )
        return False

    def _use_write_ahead_log(self, connection: sqlite3.Connection) -> None:
        """Switch the log over. SQLite does not wait for other openers here, so this does."""
        give_up_at = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                    raise
                time.sleep(0.01)  # on the worker thread
            else:
                return

    def _create_schema(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")  # several processes may start at once on a new file
        try:
            if not self._recognise(connection):
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            present = {row[1] for row in connection.execute("PRAGMA table_info(dead_letters)")}
            for column, statement in _LATER_COLUMNS.items():
                if column not in present:
                    connection.execute(statement)
            for statement in _LATER_SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Turn errors of SQLite and the file system into inturn's, in one line for an operator."""
        try:
            yield
        except InturnError:
            raise
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without the detail bits
            if code in _UNREADABLE:
                raise CorruptState(
                    f"{self._path}: {_UNREADABLE[code]} ({error}). Nothing was changed. "
                    "Restore it from a copy, or name another file to begin at the earliest event."
                ) from error
            if code in _UNAVAILABLE:
                raise StoreUnavailable(f"{self._path}: {_UNAVAILABLE[code]} ({error}).") from error
            raise CorruptState(f"{self._path}: does not hold what it should ({error}).") from error
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: cannot be opened ({error.strerror}).") from error
