"""`inturn checkpoint`, as who looks after a consumer calls it: with the local hub, SQLite and Azurite."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import uuid
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from harness.commands import ENDS_WITHIN_S, Ended

from consumer.events import Checkpoint
from consumer.stores import CopyKind
from consumer.stores.blob import BlobStore
from consumer.stores.blob_container import BlobContainer
from consumer.stores.sqlite import SqliteStore

from .conftest import Place, inturn, registered, stop

pytestmark = pytest.mark.slow


class State:
    """What is stored for partition 0, which a test may look into and damage."""

    def __init__(self, settings: dict[str, Any], folder: Path) -> None:
        self.settings = settings
        self.folder = folder

    @classmethod
    def of(cls, kind: str, folder: Path, request: pytest.FixtureRequest) -> State:
        settings: dict[str, Any] = {"type": kind, "checkpoint_interval_s": 0.1}
        if kind == "sqlite":
            return cls(settings | {"path": "state.sqlite"}, folder)
        azurite = request.getfixturevalue("azurite")
        container = {"container": f"checkpoint-{uuid.uuid4().hex}", "create_container": True}
        return cls(settings | container | {"connection_string": azurite.connection_string}, folder)

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of the store, with the name of the partition first."""
        if self.settings["type"] == "sqlite":
            store: Any = SqliteStore(path=self.folder / self.settings["path"])
        else:
            options = {key: self.settings[key] for key in ("connection_string", "create_container")}
            store = BlobStore(BlobContainer(self.settings["container"], **options))
        try:
            (name,) = [name for name, _ in await store.partitions() if name.partition == "0"]
            return await getattr(store, method)(name, *arguments)
        finally:
            await store.close()

    async def number(self) -> int:
        return int((await self.ask("load")).checkpoint.sequence_number)

    async def kept(self, kind: CopyKind) -> list[bytes]:
        return [copy.snapshot for copy in await self.ask("kept") if copy.kind is kind]

    async def everything(self) -> Any:
        return await self.ask("load"), await self.ask("kept")

    async def damage(self, change: Callable[[bytes], bytes] | None = None) -> bytes:
        """Change the stored bytes behind everybody's back, all else as it is."""
        stored = await self.ask("load")
        body = stored.snapshot
        body = change(body) if change else body[:-2] + bytes([body[-2] ^ 1]) + body[-1:]
        await self.ask("save", stored.checkpoint, body, stored.fence)
        return body


class HubWork:
    """A consumer of the local hub, which is started, and stopped when it has read what there is."""

    def __init__(self, place: Place, state: State) -> None:
        self.place = place
        self.state = state
        self.folder = place.folder
        place.configure(state=state.settings)

    def publish(self, first: int, last: int) -> None:
        for version in range(first, last + 1):
            self.place.hub.publish("events", registered("m", version), partition="0")

    async def read(self, count: int) -> list[int]:
        """Read until so many events are handled in all; gives them."""
        async with self.place.running() as process:
            await self.place.until(lambda: len(self.place.ids()) >= count)
            assert await stop(process) == 0
        return self.place.versions("m")


class FileWork:
    """A consumer of a file, which ends with it."""

    def __init__(self, place: Place, state: State) -> None:
        self.place = place
        self.state = state
        self.folder = place.folder
        place.configure(source={"type": "file", "paths": ["events.jsonl"]}, state=state.settings)

    def publish(self, first: int, last: int) -> None:
        with (self.folder / "events.jsonl").open("ab") as file:
            file.writelines(registered("m", version) + b"\n" for version in range(first, last + 1))

    async def read(self, count: int) -> list[int]:
        """Read the file; gives what is handled in all."""
        ended = await inturn(self.folder, "run")
        assert ended.code == 0, ended
        assert len(self.place.ids()) == count
        return self.place.versions("m")


@pytest.fixture(params=["sqlite", "blob"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> State:
    return State.of(request.param, tmp_path, request)


@pytest.fixture
def hub_work(place: Place, state: State) -> HubWork:
    return HubWork(place, state)


@pytest.fixture
def file_work(place: Place, state: State) -> FileWork:
    return FileWork(place, state)


async def show(work, *arguments) -> tuple[int, dict[str, Any]]:
    shown = await inturn(work.folder, "checkpoint", "show", "--json", *arguments)
    assert "Traceback" not in shown.errors
    return shown.code, {each["partition"]: each for each in map(json.loads, shown.out.splitlines())}


async def rewind(work, *arguments) -> Ended:
    done = await inturn(work.folder, "checkpoint", "rewind", *arguments)
    assert "Traceback" not in done.errors
    return done


@pytest.mark.parametrize("state", ["blob"], indirect=True)
async def test_rewound_events_are_handled_again_and_a_backup_goes_back(hub_work):
    state = hub_work.state
    hub_work.publish(1, 10)
    assert await hub_work.read(10) == list(range(1, 11))
    before = await state.ask("load")

    code, shown = await show(hub_work, "0")
    zero = shown["0"]
    assert (code, zero["sequence_number"], zero["state"]["condition"]) == (0, 9, "good")
    assert (zero["owner"], zero["state"]["objects"], zero["state"]["identities"]) == (None, 1, 10)
    assert zero["state"]["bytes"] == len(before.snapshot)

    done = await rewind(hub_work, "--to", "6", "--partition", "0", "--yes")
    assert done.code == 0, done
    assert "checkpoint 9 -> 5" in done.out
    assert "4 events, 6 to 9, are handled again" in done.out
    assert await state.number() == 5

    hub_work.publish(11, 11)
    assert (await hub_work.read(15))[10:] == [7, 8, 9, 10, 11]  # in turn, none stale, none a duplicate

    back = await rewind(hub_work, "--to", "backup", "--yes", "--partition", "0")
    assert back.code == 0, back
    assert (await state.ask("load")).checkpoint == before.checkpoint
    _, shown = await show(hub_work, "0")
    assert (shown["0"]["state"]["objects"], shown["0"]["state"]["identities"]) == (1, 10)


@pytest.mark.parametrize("state", ["sqlite"], indirect=True)
async def test_times_the_earliest_event_and_kept_states_are_places_to_go_to(hub_work):
    hub_work.publish(1, 4)
    await hub_work.read(4)
    _, shown = await show(hub_work, "0")
    then = datetime.fromtimestamp(shown["0"]["state"]["watermark_ms"] / 1_000 + 0.001, UTC)
    hub_work.publish(5, 6)
    await hub_work.read(6)
    _, shown = await show(hub_work, "0")
    copies = {copy["name"]: copy["sequence_number"] for copy in shown["0"]["kept"]}
    assert copies["kept:1"] == 3  # what the second consumer found

    done = await rewind(hub_work, "--to", then.isoformat(), "--dry-run", "--partition", "0")
    assert "2 events, 4 to 5, are handled again" in done.out
    done = await rewind(hub_work, "--to", "2000-01-01T00:00:00Z", "--dry-run", "--partition", "0")
    assert "6 events, 0 to 5, are handled again" in done.out
    done = await rewind(hub_work, "--to", "kept:1", "--partition", "0", "--yes")
    assert done.code == 0, done
    assert "2 events, 4 to 5, are handled again" in done.out
    assert "1 objects and 4 identities of the kept state" in done.out
    assert (await hub_work.read(8))[6:] == [5, 6]
    back = await rewind(hub_work, "--to", "backup", "--dry-run", "--partition", "0")
    assert "with the state of" in back.out


@pytest.mark.parametrize("state", ["sqlite"], indirect=True)
async def test_a_partition_that_a_consumer_owns_is_not_moved_and_with_force_the_consumer_loses_it(hub_work):
    place = hub_work.place
    hub_work.publish(1, 5)
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) >= 5)
        _, shown = await show(hub_work, "0")
        assert shown["0"]["owner"]["active"]
        refused = await rewind(hub_work, "--to", "2", "--partition", "0", "--yes")
        assert refused.code == 1
        assert "a consumer owns it" in refused.errors
        done = await rewind(hub_work, "--to", "kept:1", "--partition", "0", "--yes", "--force")
        assert done.code == 0, done
        hub_work.publish(6, 6)
        await place.until(lambda: "falls silent" in place.log())
        hub_work.publish(7, 7)
        await place.until(lambda: place.versions("m")[-7:] == [1, 2, 3, 4, 5, 6, 7])
        assert await stop(process) == 0


@pytest.mark.parametrize("state", ["blob"], indirect=True)
async def test_a_damaged_state_is_told_and_gone_behind_with_nothing_lost(hub_work):
    state, place = hub_work.state, hub_work.place
    hub_work.publish(1, 4)
    await hub_work.read(4)
    hub_work.publish(5, 8)
    await hub_work.read(8)
    bad = await state.damage()

    code, shown = await show(hub_work, "0")
    assert (code, shown["0"]["state"]["condition"]) == (1, "damaged")
    assert "checksum" in shown["0"]["state"]["trouble"]

    hub_work.publish(9, 9)
    handled = await hub_work.read(13)
    assert handled[8:] == [5, 6, 7, 8, 9]  # from what was kept when the second consumer began
    assert "The stored state is damaged; going on from the newest kept one." in place.log()
    assert len({line["idempotency_key"] for line in place.archived()}) == 9  # the same when handled again
    assert await state.kept(CopyKind.DAMAGED) == [bad]


async def test_where_all_is_damaged_it_halts_overwrites_nothing_and_an_operator_can_move_on(file_work):
    state = file_work.state
    file_work.publish(1, 4)
    await file_work.read(4)
    bad = await state.damage()
    for number in range(3):
        await state.ask("keep", Checkpoint(number, "1"), b"rubbish", CopyKind.GOOD)
    before = await state.everything()

    halted = await inturn(file_work.folder, "run")
    assert halted.code == 75
    assert "No kept state can take its place" in halted.errors
    refused = await rewind(file_work, "--to", "kept:1", "--yes")
    assert refused.code == 75
    assert await state.everything() == before
    assert file_work.place.versions("m") == [1, 2, 3, 4]

    done = await rewind(file_work, "--to", "3", "--partition", "0", "--yes")
    assert done.code == 0, done
    assert "kept as evidence" in done.out
    assert await state.kept(CopyKind.DAMAGED) == [bad]
    assert (await file_work.read(5))[4:] == [4]


@pytest.mark.parametrize("state", ["blob"], indirect=True)
async def test_a_newer_format_is_refused_by_the_consumer_and_by_the_command(file_work):
    state = file_work.state
    file_work.publish(1, 2)
    await file_work.read(2)
    header = b"inturn\0" + struct.pack(">HH", 32767, 0)  # as every later format begins
    await state.damage(lambda _: header + struct.pack(">I", zlib.crc32(header)))
    before = await state.everything()

    code, shown = await show(file_work, "0")
    assert (code, shown["0"]["state"]["condition"], shown["0"]["state"]["format"]) == (1, "newer", 32767)
    refused = await inturn(file_work.folder, "run")
    assert refused.code == 75
    assert "format 32767" in refused.errors
    refused = await rewind(file_work, "--to", "earliest", "--yes", "--force")
    assert refused.code == 75
    assert "newer version" in refused.errors
    assert await state.everything() == before


@pytest.mark.parametrize("state", ["sqlite"], indirect=True)
async def test_a_move_ahead_is_refused_unless_events_may_be_skipped(file_work):
    file_work.publish(1, 3)
    await file_work.read(3)
    file_work.publish(4, 9)
    refused = await rewind(file_work, "--to", "7", "--partition", "0", "--yes")
    assert refused.code == 1
    assert "4 events would never be handled" in refused.errors
    assert await file_work.state.number() == 2
    beyond = await rewind(file_work, "--to", "99", "--partition", "0", "--yes", "--skip-events")
    assert beyond.code == 1
    assert "the newest is 8" in beyond.errors
    done = await rewind(file_work, "--to", "7", "--partition", "0", "--yes", "--skip-events")
    assert done.code == 0, done
    assert "4 events, 3 to 6, will never be handled" in done.out
    assert (await file_work.read(5))[3:] == [8, 9]


@pytest.mark.parametrize("state", ["sqlite"], indirect=True)
async def test_what_makes_no_sense_or_is_not_confirmed_changes_nothing(file_work):
    file_work.publish(1, 3)
    await file_work.read(3)
    before = await file_work.state.everything()
    for arguments, code, words in [
        (("--to", "earliest"), 2, "give --yes"),  # nobody can be asked
        (("--to", "nonsense"), 2, "kept:N or backup"),
        (("--to", "latest"), 2, "no place to go to"),
        (("--to", "5"), 2, "name it with --partition"),
        (("--to", "kept:3", "--yes"), 1, "there is no kept:3"),
        (("--to", "backup", "--yes"), 1, "there is no backup"),
        (("--to", "earliest", "--partition", "77", "--yes"), 1, "no partition 77"),
    ]:
        done = await rewind(file_work, *arguments)
        assert done.code == code, done
        assert words in " ".join(done.errors.replace("│", " ").split()), done
    dry = await rewind(file_work, "--to", "earliest", "--dry-run")
    assert (dry.code, dry.out.splitlines()[-1]) == (0, "Nothing was changed.")
    assert "3 events, 0 to 2, are handled again" in dry.out
    assert await file_work.state.everything() == before


@pytest.mark.parametrize("state", ["sqlite"], indirect=True)
async def test_a_person_reads_where_everything_is(file_work):
    empty = await inturn(file_work.folder, "checkpoint", "show")
    assert (empty.code, empty.out) == (0, "Nothing is stored for any partition.\n")
    file_work.publish(1, 3)
    await file_work.read(3)
    shown = await inturn(file_work.folder, "checkpoint", "show")
    assert shown.code == 0, shown
    for words in ("partition 0", "checkpoint  2 at offset 2", "good: ", "1 objects, 3 identities", "epoch 1"):
        assert words in shown.out


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal to play")
@pytest.mark.parametrize("state", ["sqlite"], indirect=True)
async def test_on_a_terminal_a_person_is_asked_and_only_yes_moves_anything(file_work):
    file_work.publish(1, 3)
    await file_work.read(3)
    for answer, code, number in [(b"n\n", 1, 2), (b"y\n", 0, 0)]:
        keyboard, terminal = os.openpty()
        os.write(keyboard, answer)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "consumer", "checkpoint", "rewind", "--to", "1", "--partition", "0"),
            cwd=file_work.folder,
            stdin=terminal,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(process.communicate(), ENDS_WITHIN_S)
        os.close(keyboard)
        os.close(terminal)
        assert b"Go on? [y/N]" in out
        assert (process.returncode, await file_work.state.number()) == (code, number)
