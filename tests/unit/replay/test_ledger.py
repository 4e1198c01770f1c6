"""The ledger remembers every replay."""

from __future__ import annotations

import sqlite3

import pytest

from consumer.errors import CorruptState
from consumer.replay.ledger import Ledger, Tally
from consumer.replay.planning import NotReplayable, Plan
from consumer.sources.stretch import Stretch


def plan(id_: str) -> Plan:
    stretches = (Stretch("0", -1, 9), Stretch("1", 4, 5))
    return Plan(id_, "hub", "n", "h", "$Default", "second", ("/a",), ("p", "q"), stretches)


@pytest.fixture
async def ledger(tmp_path):
    opened = Ledger(tmp_path / "folder" / "replays.sqlite")
    yield opened
    await opened.close()


async def test_an_empty_ledger_is_not_even_a_file(ledger, tmp_path):
    assert await ledger.entries() == []
    with pytest.raises(NotReplayable, match="No replay is unfinished"):
        await ledger.find(None)
    assert not (tmp_path / "folder").exists()


async def test_a_replay_is_found_as_it_was_noted(ledger):
    await ledger.begin(plan("a"))
    tally = Tally({"handled": 3}, {"p": 3}, {"p": 1}, {}, missing=2, is_running=True)
    await ledger.write("a", tally)

    entry = await ledger.find("a")

    assert (entry.plan, entry.tally, entry.finished_ms) == (plan("a"), tally, None)
    assert entry.plan.messages == 11


async def test_the_last_unfinished_one_is_gone_on_with(ledger):
    for id_ in ("a", "b", "c"):
        await ledger.begin(plan(id_))
    await ledger.write("c", Tally(), is_finished=True)

    assert (await ledger.find(None)).plan.id == "b"
    assert (await ledger.find("c")).finished_ms is not None
    assert [entry.plan.id for entry in await ledger.entries()] == ["a", "b", "c"]
    with pytest.raises(NotReplayable, match="no replay d"):
        await ledger.find("d")


async def test_an_id_is_given_once(ledger):
    await ledger.begin(plan("a"))
    with pytest.raises(NotReplayable, match="--resume a"):
        await ledger.begin(plan("a"))


async def test_an_entry_that_cannot_be_read_is_an_error_and_stays(ledger, tmp_path):
    await ledger.begin(plan("a"))
    with sqlite3.connect(tmp_path / "folder" / "replays.sqlite") as connection:
        connection.execute("UPDATE replays SET plan = 'nonsense'")
    connection.close()
    with pytest.raises(CorruptState, match="cannot be read"):
        await ledger.entries()
