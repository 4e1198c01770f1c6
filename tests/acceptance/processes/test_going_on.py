"""`inturn run` against a hub process: everything once and in turn, over stops, crashes and outages."""

from __future__ import annotations

import json
import signal

import pytest


def sequencers(lines):
    found = {}
    for line in lines:
        found.setdefault(line["subject"], []).append(line["data"]["data"]["sequencer"])
    return found


def checkpoints_in(checked):
    """From `inturn check --deep`: partition to (checkpoint, newest)."""
    rows = [line.split() for line in checked.stdout.splitlines() if ": checkpoint " in line]
    return {row[1].rstrip(":"): (int(row[3]), int(row[5].rstrip(","))) for row in rows}


def test_events_sent_out_of_order_arrive_once_and_in_the_order_of_their_object(
    inturn, hub, configure, archive, tell
):
    story = tell(objects=20, each=10)
    running = inturn.start("run", "-c", configure(hub)).until_owning(4)
    hub.send(story.lines)
    archive.until(len(story.ids))

    assert sorted(archive.ids()) == sorted(story.ids)
    assert sequencers(archive.lines()) == story.in_turn
    shown = inturn("status", "--json", "--url", running.url)
    assert shown.returncode == 0
    status = json.loads(shown.stdout)
    assert status["outcomes"] == {"handled": 200}
    assert (status["state"], status["ready"]) == ("running", True)
    assert [each["lag"] + each["checkpoint"] for each in status["partitions"]] == [
        each["newest"] for each in status["partitions"]
    ]


@pytest.mark.slow
def test_a_stopped_consumer_goes_on_where_it_was_and_repeats_nothing(inturn, hub, configure, archive, tell):
    first, second = tell(), tell(chapter=1)
    config = configure(hub)
    running = inturn.start("run", "-c", config).until_owning(4)
    hub.send(first.lines)
    archive.until(50)
    assert running.end(signal.SIGTERM) == 0, running.errors
    assert len(running.logged("A partition was drained.")) == 4
    assert "Traceback" not in running.errors

    again = inturn.start("run", "-c", config).until_owning(4)
    hub.send(second.lines)
    archive.until(200)
    assert again.end(signal.SIGTERM) == 0

    assert sorted(archive.ids()) == sorted(first.ids + second.ids)
    assert sequencers(archive.lines()) == {
        subject: order + second.in_turn[subject] for subject, order in first.in_turn.items()
    }
    checked = inturn("check", "--deep", "-c", config)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    found = checkpoints_in(checked)
    assert len(found) == 4
    assert all(checkpoint == newest for checkpoint, newest in found.values())
    assert sum(newest + 1 for _, newest in found.values()) == 200


STUCK = """
import asyncio
from pathlib import Path

async def stuck(event, context):
    Path("reached").touch()
    await asyncio.sleep(3600)
"""


def test_a_second_signal_cuts_off_what_hangs_and_ends_with_75(
    inturn, hub, configure, archive, tell, write_processors, eventually, tmp_path
):
    write_processors(STUCK)
    stuck = {"name": "mine", "type": "mine:stuck", "deadline_s": 3600}
    config = configure(hub, processors=[stuck], drain={"timeout_s": 3600})
    running = inturn.start("run", "-c", config).until_owning(4)
    hub.send(tell(objects=1, each=3).lines)
    eventually((tmp_path / "reached").exists, "an event that hangs")

    running.popen.send_signal(signal.SIGTERM)
    eventually(lambda: running.status()["state"] == "draining", "it drains")
    refused = running.ask("/readyz")
    assert (refused.code, refused.json()["reasons"]) == (503, ["inturn is draining."])
    assert running.end(signal.SIGTERM) == 75
    assert "Traceback" not in running.errors
    assert len(running.logged("Work was cut off; it will be repeated.")) == 1

    # Nothing of it counts as done: the next one is given all three.
    again = inturn.start("run", "-c", configure(hub)).until_owning(4)
    archive.until(3)
    assert again.end(signal.SIGTERM) == 0
    assert archive.ids() == ["0-0", "0-1", "0-2"]


@pytest.mark.slow
def test_a_hub_that_is_restarted_is_read_on_and_nothing_is_lost_or_repeated(
    inturn, hub, configure, archive, tell, eventually
):
    first, second = tell(), tell(chapter=1)
    running = inturn.start("run", "-c", configure(hub)).until_owning(4)
    hub.send(first.lines)
    archive.until(50)
    hub.stop()
    refused = eventually(lambda: (answer := running.ask("/readyz")).code == 503 and answer, "not ready")
    assert refused.json()["reasons"] == [
        f"The source cannot be read: No Event Hub answers at 127.0.0.1:{hub.port}: connection refused."
    ]
    hub.start()
    hub.send(second.lines)
    archive.until(200)
    assert running.ask("/readyz").code == 200
    assert running.end(signal.SIGTERM) == 0, running.errors

    assert sorted(archive.ids()) == sorted(first.ids + second.ids)
    assert sequencers(archive.lines()) == {
        subject: order + second.in_turn[subject] for subject, order in first.in_turn.items()
    }
    assert "Traceback" not in running.errors
