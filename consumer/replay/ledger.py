"""Every replay and how far it has come, in one SQLite file: what was asked for, and what came of it.

The state of a replay's partitions lies in the same file, in the same tables as a live consumer's would,
under names of its own (`Plan.partition`).
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec

from consumer.errors import CorruptState
from consumer.replay.planning import NotReplayable, Plan
from consumer.settings import Settings, SqliteState
from consumer.stores.sqlite_file import SqliteFile

FILE_NAME = "inturn-replays.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS replays (
    id TEXT PRIMARY KEY, begun_ms INTEGER NOT NULL, finished_ms INTEGER, plan BLOB NOT NULL,
    tally BLOB NOT NULL
)
"""
_INSERT = "INSERT OR IGNORE INTO replays (id, begun_ms, plan, tally) VALUES (?, ?, ?, ?)"
_SELECT = "SELECT begun_ms, finished_ms, plan, tally FROM replays"
_UPDATE = "UPDATE replays SET tally = ?, finished_ms = ? WHERE id = ?"


class Tally(msgspec.Struct):
    """What came of a replay, over all its runs that ended in good order."""

    outcomes: dict[str, int] = msgspec.field(default_factory=dict)
    """By ``outcome`` or ``outcome:reason``."""
    handled: dict[str, int] = msgspec.field(default_factory=dict)
    """By processor."""
    stale: dict[str, int] = msgspec.field(default_factory=dict)
    """By processor: skipped."""
    dead: dict[str, int] = msgspec.field(default_factory=dict)
    """By processor: put aside."""
    missing: int = 0
    """Messages that left the hub before they were read."""
    is_running: bool = False
    """A run has begun and not ended in good order: it goes on now, or was killed."""
    was_killed: bool = False
    """A run was: what it had done is not in these numbers, and may be done twice."""


class Entry(msgspec.Struct, frozen=True):
    """A replay in the ledger; times in milliseconds since 1970."""

    plan: Plan
    begun_ms: int
    finished_ms: int | None
    tally: Tally


def ledger_path(settings: Settings, config: Path) -> Path:
    """Where the ledger is if nobody says: beside the state, or beside the configuration."""
    state = settings.state
    folder = state.path.parent if isinstance(state, SqliteState) else config.absolute().parent
    return folder / FILE_NAME


class Ledger:
    """The replays in one file. Raises `StoreUnavailable`, `CorruptState`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = SqliteFile(path)

    async def begin(self, plan: Plan) -> None:
        """Note a new replay. Raises `NotReplayable` if there is one of this id."""
        row = (plan.id, time.time_ns() // 1_000_000, msgspec.json.encode(plan), msgspec.json.encode(Tally()))

        def insert(connection: sqlite3.Connection) -> bool:
            connection.execute(_SCHEMA)
            return bool(connection.execute(_INSERT, row).rowcount)

        if not await self._file.transact(insert):
            raise NotReplayable(
                f"There is a replay {plan.id} already: go on with it (--resume {plan.id}), or name another."
            )

    async def find(self, id_: str | None) -> Entry:
        """The replay of an id; without one, the last unfinished. Raises `NotReplayable`."""
        entries = await self.entries()
        found = [
            each for each in entries if (each.finished_ms is None if id_ is None else each.plan.id == id_)
        ]
        if not found:
            raise NotReplayable("No replay is unfinished." if id_ is None else f"There is no replay {id_}.")
        return found[-1]

    async def entries(self) -> list[Entry]:
        """All replays, the oldest first."""
        if not self._path.exists():
            return []

        def select(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            connection.execute(_SCHEMA)
            return connection.execute(f"{_SELECT} ORDER BY begun_ms, id").fetchall()

        return [self._entry(row) for row in await self._file.transact(select)]

    async def write(self, id_: str, tally: Tally, *, is_finished: bool = False) -> None:
        """Note what came of it so far."""
        finished_ms = time.time_ns() // 1_000_000 if is_finished else None
        row = (msgspec.json.encode(tally), finished_ms, id_)
        await self._file.transact(lambda connection: connection.execute(_UPDATE, row).rowcount)

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        begun_ms, finished_ms, plan, tally = row
        try:
            return Entry(
                plan=msgspec.json.decode(plan, type=Plan),
                begun_ms=begun_ms,
                finished_ms=finished_ms,
                tally=msgspec.json.decode(tally, type=Tally),
            )
        except msgspec.DecodeError as error:
            raise CorruptState(f"{self._path}: a replay in it cannot be read: {error}.") from error

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()
