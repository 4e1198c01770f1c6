"""What a running inturn says of itself over its admin port is what was sent to it."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections import Counter
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

DAMAGED = b"damaged"


def samples_of(running):
    """The samples at /metrics, by name, as (labels, value)."""
    found = {}
    for family in text_string_to_metric_families(running.ask("/metrics").body):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(samples, name):
    return sum(value for _, value in samples[name])


def changed(line, **fields):
    return json.dumps(json.loads(line) | fields)


@pytest.mark.slow
def test_metrics_and_status_add_up_to_what_was_sent(inturn, hub, configure, archive, tell, eventually):
    story = tell(objects=5, each=8)
    config = configure(
        hub,
        state={"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 0.2},
        sequence={"window_s": 4, "idle_margin_s": 1},
        processors=[
            {
                "name": "keep",
                "type": "archive",
                "types": ["Microsoft.Storage.BlobCreated"],
                "with": {"path": "archive"},
            },
            {"name": "show", "type": "console", "types": ["Microsoft.Storage.BlobDeleted"]},
        ],
    )
    others = {
        "duplicate": story.lines[:6],
        "ignored:topic": [changed(story.lines[0], topic="/subscriptions/other")] * 3,
        "ignored:type": [changed(story.lines[0], eventType="Microsoft.Storage.BlobRenamed")] * 2,
        "dead_lettered:missing_field": [changed(story.lines[0], id="")],
        "dead_lettered:bad_time": [changed(story.lines[0], eventTime="yesterday")],
    }
    expected = Counter(handled=40, **{outcome: len(lines) for outcome, lines in others.items()})
    running = inturn.start("run", "-c", config).until_owning(4)
    hub.send([*story.lines, *(line for lines in others.values() for line in lines)])

    # While they are held: the lag and the held events are to be seen.
    held = eventually(
        lambda: (found := samples_of(running)) and total(found, "inturn_held_events") == 40 and found, "held"
    )
    assert total(held, "messaging_eventhubs_consumer_lag") > 0
    assert total(held, "inturn_held_bytes") > 0

    # And when all is done.
    done = eventually(
        lambda: (
            (found := samples_of(running))
            and total(found, "inturn_events_total") == sum(expected.values())
            and total(found, "messaging_eventhubs_consumer_lag") == 0
            and found
        ),
        "every event at its end, and the checkpoint behind it",
    )
    status = running.status()
    assert status["outcomes"] == expected
    assert {
        ":".join(filter(None, labels.values())): value
        for labels, value in done["inturn_events_total"]
        if value
    } == expected
    assert total(done, "messaging_client_consumed_messages_total") == sum(expected.values())
    assert total(done, "inturn_events_ordered_total") >= 40
    assert total(done, "inturn_held_events") == total(done, "inturn_in_flight_events") == 0
    handled = {labels["processor"]: value for labels, value in done["inturn_processor_handled_total"]}
    assert handled == {"keep": 40, "show": 0}
    assert sum(
        value
        for labels, value in done["messaging_process_duration_seconds_count"]
        if labels["processor"] == "keep"
    )
    assert all(0 <= value < 60 for _, value in done["inturn_checkpoint_age_seconds"])
    assert len(done["inturn_checkpoint_age_seconds"]) == 4
    checkpoints = {labels["partition"]: n for labels, n in done["inturn_checkpoint_sequence_number"]}
    assert checkpoints == {each["partition"]: each["newest"] for each in status["partitions"]}
    assert sum(checkpoints.values()) + 4 == sum(expected.values())

    assert running.ask("/livez")[:1] == running.ask("/readyz")[:1] == (200,)
    shown = inturn("status", "--url", running.url)
    assert shown.returncode == 0
    assert "running, ready" in shown.stdout
    assert "dead lettered: bad time" in shown.stdout
    assert running.end(signal.SIGTERM) == 0


@contextmanager
def holding(path):
    """Hold a database so that nobody else can write."""
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")
    finally:
        database.close()


@pytest.mark.slow
def test_a_partition_whose_state_is_damaged_is_named_and_the_others_go_on(
    inturn, hub, configure, archive, tell, eventually, tmp_path
):
    first, second = tell(), tell(chapter=1)
    config = configure(hub)
    running = inturn.start("run", "-c", config).until_owning(4)
    hub.send(first.lines)
    archive.until(100)
    assert running.end(signal.SIGTERM) == 0
    partition, *_ = {line["partition"] for line in archive.lines()}
    lost = [line["id"] for line in archive.lines() if line["partition"] == partition]
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        for table in ("checkpoints", "kept_states"):
            database.execute(f"UPDATE {table} SET snapshot = ? WHERE partition = ?", (DAMAGED, partition))
    database.close()

    again = inturn.start("run", "-c", config).until_owning(3)
    hub.send(second.lines)
    archive.until(200 - len(lost))
    refused = eventually(lambda: (answer := again.ask("/readyz")).code == 503 and answer, "it is not ready")
    (reason,) = refused.json()["reasons"]
    assert reason.startswith(f"Partition {partition} is halted: ")
    assert again.ask("/livez").code == 200
    shown = inturn("status", "--url", again.url)
    assert shown.returncode == 1
    assert f"Partition {partition} is halted" in shown.stdout
    assert len([line for line in again.log if line["level"] == "error"]) == 1
    assert again.end(signal.SIGTERM) == 0

    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        (row,) = database.execute("SELECT snapshot FROM checkpoints WHERE partition = ?", (partition,))
    database.close()
    assert row == (DAMAGED,)
    assert not {line["partition"] for line in archive.lines()[100:]} & {partition}


@pytest.mark.slow
def test_a_store_that_is_away_is_told_and_waited_for(
    inturn, hub, configure, archive, tell, eventually, tmp_path
):
    state = {"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 0.2}
    config = configure(hub, state=state, source=hub.source(load_balancing_interval_s=3))
    running = inturn.start("run", "-c", config).until_owning(4)
    with holding(tmp_path / "state.sqlite"):
        hub.send(tell().lines)
        refused = eventually(lambda: (answer := running.ask("/readyz")).code == 503 and answer, "not ready")
        assert all("another process holds it" in reason for reason in refused.json()["reasons"])
        assert running.ask("/livez").code == 200
    eventually(lambda: running.ask("/readyz").code == 200, "it is ready again")
    archive.until(100)
    assert running.end(signal.SIGTERM) == 0, running.errors
    assert len(archive.ids()) == 100


@pytest.mark.slow
def test_partitions_that_were_given_up_for_a_store_that_is_away_are_missed_and_come_back(
    inturn, hub, configure, archive, tell, eventually, tmp_path
):
    """With a short interval trust ends after five seconds; nobody must call that ready."""
    state = {"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 0.2}
    config = configure(hub, state=state)
    running = inturn.start("run", "-c", config).until_owning(4)
    with holding(tmp_path / "state.sqlite"):
        hub.send(tell().lines)
        eventually(lambda: not running.status()["partitions"], "it has given its partitions up")
        refused = eventually(lambda: (answer := running.ask("/readyz")).code == 503 and answer, "not ready")
        assert all("another process holds it" in reason for reason in refused.json()["reasons"])
        assert inturn("status", "--url", running.url).returncode == 1
    running.until_owning(4)
    eventually(lambda: running.ask("/readyz").code == 200, "it is ready again")
    archive.until(100)
    assert running.end(signal.SIGTERM) == 0, running.errors


def test_nobody_at_the_admin_port_is_temporary(inturn, hub):
    asked = inturn("status", "--url", f"http://127.0.0.1:{hub.port}")
    assert asked.returncode == 75
    assert asked.stderr.count("\n") == 1
    assert "Is it running, and is this its admin port?" in asked.stderr
