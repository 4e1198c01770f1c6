"""`inturn checkpoint`, as who looks after a consumer calls it: with the local hub, SQLite and Azurite."""

from __future__ import annotations

import json
import struct
import uuid
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from consumer.events import Checkpoint, PartitionId
from consumer.stores import CopyKind
from consumer.stores.blob import BlobStore
from consumer.stores.blob_container import BlobContainer
from consumer.stores.sqlite import SqliteStore

from .conftest import Ended, inturn, registered, stop

pytestmark = pytest.mark.slow


class State:
    """A stored state of either kind, which a test may look into and damage."""

    def __init__(self, settings: dict[str, Any], folder: Path, hub: Any) -> None:
        self.settings = settings
        self.folder = folder
        self.name = PartitionId(f"127.0.0.1:{hub.port}", "events", "$Default", "0")

    def open(self) -> Any:
        if self.settings["type"] == "sqlite":
            return SqliteStore(path=self.folder / self.settings["path"])
        options = {key: self.settings[key] for key in ("connection_string", "create_container")}
        return BlobStore(BlobContainer(self.settings["container"], **options))

    async def ask(self, method: str, *arguments: Any) -> Any:
        store = self.open()
        try:
            return await getattr(store, method)(*arguments)
        finally:
            await store.close()

    async def damage(self, change=lambda body: body[:-2] + bytes([body[-2] ^ 1]) + body[-1:]) -> bytes:
        """Change the stored bytes behind everybody's back, metadata and all else as they are."""
        stored = await self.ask("load", self.name)
        body = change(stored.snapshot)
        await self.ask("save", self.name, stored.checkpoint, body, stored.fence)
        return body


@pytest.fixture(params=["sqlite", "blob"])
def state(request, place, tmp_path) -> State:
    """The place is configured to store there."""
    if request.param == "sqlite":
        settings = {"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 0.1}
    else:
        settings = {
            "type": "blob",
            "connection_string": request.getfixturevalue("azurite").connection_string,
            "container": f"checkpoint-{uuid.uuid4().hex}",
            "create_container": True,
            "checkpoint_interval_s": 0.1,
        }
    place.configure(state=settings)
    return State(settings, tmp_path, place.hub)


def publish(place, first, last):
    for version in range(first, last + 1):
        place.hub.publish("events", registered("m", version), partition="0")


async def read(place, state, count):
    """Let a consumer read until it has handled so many events, and stop it."""
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) >= count)
        assert await stop(process) == 0
    return place.versions("m")


async def show(place, *arguments) -> tuple[int, dict[str, Any]]:
    shown = await inturn(place.folder, "checkpoint", "show", "--json", *arguments)
    assert "Traceback" not in shown.errors
    return shown.code, {each["partition"]: each for each in map(json.loads, shown.out.splitlines())}


async def kept(state, kind):
    return [copy for copy in await state.ask("kept", state.name) if copy.kind is kind]


async def rewind(place, *arguments) -> Ended:
    done = await inturn(place.folder, "checkpoint", "rewind", *arguments)
    assert "Traceback" not in done.errors
    return done


async def test_rewound_events_are_handled_again_and_a_backup_goes_back(place, state):
    publish(place, 1, 10)
    assert await read(place, state, 10) == list(range(1, 11))
    before = await state.ask("load", state.name)

    code, shown = await show(place, "0")
    assert code == 0
    zero = shown["0"]
    assert (zero["sequence_number"], zero["state"]["condition"], zero["owner"]) == (9, "good", None)
    assert (zero["state"]["objects"], zero["state"]["identities"]) == (1, 10)
    assert zero["state"]["bytes"] == len(before.snapshot)

    done = await rewind(place, "--to", "6", "--partition", "0", "--yes")
    assert done.code == 0, done
    assert "checkpoint 9 -> 5" in done.out
    assert "4 events, 6 to 9, are handled again" in done.out
    stored = await state.ask("load", state.name)
    assert stored.checkpoint.sequence_number == 5

    publish(place, 11, 11)
    assert (await read(place, state, 15))[10:] == [7, 8, 9, 10, 11]  # in turn, none stale, none a duplicate

    back = await rewind(place, "--to", "backup", "--yes", "--partition", "0")
    assert back.code == 0, back
    assert (await state.ask("load", state.name)).checkpoint == before.checkpoint
    _, shown = await show(place, "0")
    assert (shown["0"]["state"]["objects"], shown["0"]["state"]["identities"]) == (1, 10)


async def test_times_the_earliest_event_and_kept_states_are_places_to_go_to(place, state):
    publish(place, 1, 4)
    await read(place, state, 4)
    _, shown = await show(place, "0")
    then = datetime.fromtimestamp(shown["0"]["state"]["watermark_ms"] / 1_000 + 0.001, UTC)
    publish(place, 5, 6)
    await read(place, state, 6)
    _, shown = await show(place, "0")
    copies = {copy["name"]: copy["sequence_number"] for copy in shown["0"]["kept"]}
    assert copies["kept:1"] == 3  # what the second consumer found

    done = await rewind(place, "--to", then.isoformat(), "--dry-run", "--partition", "0")
    assert "2 events, 4 to 5, are handled again" in done.out
    done = await rewind(place, "--to", "2000-01-01T00:00:00Z", "--dry-run", "--partition", "0")
    assert "6 events, 0 to 5, are handled again" in done.out
    done = await rewind(place, "--to", "kept:1", "--partition", "0", "--yes")
    assert done.code == 0, done
    assert "2 events, 4 to 5, are handled again" in done.out
    assert "1 objects and 4 identities of the kept state" in done.out
    assert (await read(place, state, 8))[6:] == [5, 6]
    done = await rewind(place, "--to", "earliest", "--partition", "0", "--yes")
    assert "6 events, 0 to 5, are handled again" in done.out
    assert (await read(place, state, 14))[8:] == [1, 2, 3, 4, 5, 6]


async def test_a_rewind_that_is_not_confirmed_or_only_tried_changes_nothing(place, state):
    publish(place, 1, 3)
    await read(place, state, 3)
    before = (await state.ask("load", state.name), await state.ask("kept", state.name))
    asked = await rewind(place, "--to", "earliest")
    assert asked.code == 2
    assert "--yes" in asked.errors
    dry = await rewind(place, "--to", "earliest", "--dry-run")
    assert (dry.code, dry.out.splitlines()[-1]) == (0, "Nothing was changed.")
    assert (await state.ask("load", state.name), await state.ask("kept", state.name)) == before


async def test_a_move_ahead_is_refused_unless_events_may_be_skipped(place, state):
    publish(place, 1, 3)
    await read(place, state, 3)
    publish(place, 4, 9)
    refused = await rewind(place, "--to", "7", "--partition", "0", "--yes")
    assert refused.code == 1
    assert "4 events would never be handled" in refused.errors
    assert (await state.ask("load", state.name)).checkpoint.sequence_number == 2
    beyond = await rewind(place, "--to", "99", "--partition", "0", "--yes", "--skip-events")
    assert beyond.code == 1
    assert "the newest is 8" in beyond.errors
    done = await rewind(place, "--to", "7", "--partition", "0", "--yes", "--skip-events")
    assert done.code == 0, done
    assert "4 events, 3 to 6, will never be handled" in done.out
    assert (await read(place, state, 5))[3:] == [8, 9]


async def test_a_partition_that_a_consumer_owns_is_not_moved_and_with_force_the_consumer_loses_it(
    place, state
):
    publish(place, 1, 5)
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) >= 5)
        _, shown = await show(place, "0")
        assert shown["0"]["owner"]["active"]
        refused = await rewind(place, "--to", "earliest", "--partition", "0", "--yes")
        assert refused.code == 1
        assert "a consumer owns it" in refused.errors
        done = await rewind(place, "--to", "kept:1", "--partition", "0", "--yes", "--force")
        assert done.code == 0, done
        publish(place, 6, 6)
        await place.until(lambda: "falls silent" in place.log())
        publish(place, 7, 7)
        await place.until(lambda: place.versions("m")[-7:] == [1, 2, 3, 4, 5, 6, 7])
        assert await stop(process) == 0


async def test_a_damaged_state_is_told_and_gone_behind_with_nothing_lost(place, state):
    publish(place, 1, 4)
    await read(place, state, 4)
    publish(place, 5, 8)
    await read(place, state, 8)
    bad = await state.damage()

    code, shown = await show(place, "0")
    assert (code, shown["0"]["state"]["condition"]) == (1, "damaged")
    assert "checksum" in shown["0"]["state"]["trouble"]

    publish(place, 9, 9)
    handled = await read(place, state, 13)
    assert handled[8:] == [5, 6, 7, 8, 9]  # from what was kept when the second consumer began
    assert "The stored state is damaged; going on from the newest kept one." in place.log()
    assert len({line["idempotency_key"] for line in place.archived()}) == 9  # the same when handled again
    (evidence,) = await kept(state, CopyKind.DAMAGED)
    assert evidence.snapshot == bad


async def test_where_all_is_damaged_it_halts_overwrites_nothing_and_an_operator_can_move_on(place, state):
    publish(place, 1, 4)
    await read(place, state, 4)
    bad = await state.damage()
    for number in range(3):
        await state.ask("keep", state.name, Checkpoint(number, "1"), b"rubbish", CopyKind.GOOD)
    before = (await state.ask("load", state.name), await state.ask("kept", state.name))

    async with place.running() as process:
        await place.until(lambda: "A partition is halted; nothing was overwritten." in place.log())
        await stop(process)
    assert (await state.ask("load", state.name), await state.ask("kept", state.name)) == before
    assert place.versions("m") == [1, 2, 3, 4]

    refused = await rewind(place, "--to", "kept:1", "--partition", "0", "--yes")
    assert (refused.code, (await state.ask("load", state.name))) == (75, before[0])
    done = await rewind(place, "--to", "3", "--partition", "0", "--yes")
    assert done.code == 0, done
    assert "kept as evidence" in done.out
    assert [
        copy.snapshot for copy in await state.ask("kept", state.name) if copy.kind is CopyKind.DAMAGED
    ] == [bad]
    assert (await read(place, state, 5))[4:] == [4]


async def test_a_newer_format_is_refused_by_the_consumer_and_by_the_command(place, state):
    publish(place, 1, 2)
    await read(place, state, 2)
    header = b"inturn\0" + struct.pack(">HH", 32767, 0)  # as every later format begins
    await state.damage(lambda _: header + struct.pack(">I", zlib.crc32(header)))
    before = await state.ask("load", state.name)

    code, shown = await show(place, "0")
    assert (code, shown["0"]["state"]["condition"], shown["0"]["state"]["format"]) == (1, "newer", 32767)
    async with place.running() as process:
        await place.until(lambda: "format 32767" in place.log())
        await stop(process)
    refused = await rewind(place, "--to", "earliest", "--partition", "0", "--yes", "--force")
    assert refused.code == 75
    assert "newer version" in refused.errors
    assert await state.ask("load", state.name) == before


async def test_what_makes_no_sense_is_said_in_one_line(place, state):
    publish(place, 1, 2)
    await read(place, state, 2)
    for arguments, code, words in [
        (("--to", "nonsense"), 2, "kept:N"),
        (("--to", "latest"), 2, "no place to go to"),
        (("--to", "5"), 2, "--partition"),
        (("--to", "kept:3", "--partition", "0", "--yes"), 1, "there is no kept:3"),
        (("--to", "earliest", "--partition", "77", "--yes"), 1, "no partition 77"),
    ]:
        done = await rewind(place, *arguments)
        assert done.code == code, done
        assert words in " ".join(done.errors.replace("│", " ").split()), done


async def test_all_partitions_are_shown_for_a_person(place, state):
    for partition in "01":
        place.hub.publish("events", registered("m", 1), partition=partition)
    async with place.running() as process:
        await place.until(lambda: len(place.ids()) >= 2)
        assert await stop(process) == 0
    shown = await inturn(place.folder, "checkpoint", "show")
    assert shown.code == 0, shown
    headings = [line for line in shown.out.splitlines() if line.startswith("partition")]
    assert headings == [f"partition {number}" for number in range(4)]
    for words in ("checkpoint  0 at offset", "good:", "1 objects, 1 identities", "kept:1"):
        assert words in shown.out
