"""`inturn run --workers N`: several processes that look, stop and go on as one."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter, defaultdict

import pytest
from harness.processes import Archive
from prometheus_client.parser import text_string_to_metric_families

SOON = {"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 0.2}


@pytest.fixture
def run_workers(inturn, hub, configure, eventually):
    """Starts two workers, and waits until each owns its share: two of the four partitions."""

    def run_workers(state=SOON, share=2, **sections):
        running = inturn.start("run", "-c", configure(hub, state=state, **sections), "--workers", "2")
        eventually(lambda: owned(running) == [share, share], "the same share each")
        return running

    return run_workers


def owned(running):
    return [each["partitions"] for each in running.status()["workers"]]


def owners(status):
    """By partition, with its consumer group if that is not the shared one, the worker that has it."""
    return {each["partition"]: each["worker"] for each in status["partitions"]}


def pids(running):
    return [each["pid"] for each in running.status()["workers"]]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def total(running, name):
    families = text_string_to_metric_families(running.ask("/metrics").body)
    return sum(each.value for family in families for each in family.samples if each.name == name)


def sequencers_by_file(archive):
    """By file, thus by process: the sequencers of every object in the order in which they were handled."""
    for file in archive.files():
        found = defaultdict(list)
        for line in file:
            found[line["subject"]].append(line["data"]["data"]["sequencer"])
        yield found


def test_two_workers_share_the_partitions_and_are_shown_as_one(
    inturn, hub, run_workers, archive, tell, eventually
):
    story = tell(objects=20, each=10)
    show = {"name": "show", "type": "console", "with": {"format": "json"}}
    running = run_workers(processors=[{"name": "keep", "type": "archive", "with": {"path": "archive"}}, show])
    hub.send(story.lines)
    eventually(lambda: running.status()["outcomes"] == {"handled": 200}, "all events, once")

    assert sorted(archive.ids()) == sorted(story.ids)
    (first, second) = sequencers_by_file(archive)
    assert not first.keys() & second.keys()
    assert first | second == story.in_turn
    printed = eventually(lambda: len(running.output.splitlines()) == 200 and running.output, "every line")
    assert sorted(json.loads(line)["id"] for line in printed.splitlines()) == sorted(story.ids)

    status = running.status()
    assert [each["partition"] for each in status["partitions"]] == ["0", "1", "2", "3"]
    assert Counter(each["worker"] for each in status["partitions"]) == {"1": 2, "2": 2}
    assert [each["handled"] for each in status["processors"]] == [200, 200]
    assert total(running, "messaging_client_consumed_messages_total") == 200
    assert total(running, "messaging_process_duration_seconds_count") == 400
    assert total(running, "inturn_worker_up") == 2
    assert running.ask("/livez").code == running.ask("/readyz").code == 200
    shown = inturn("status", "--url", running.url)
    assert shown.returncode == 0, shown.stderr
    assert all(str(pid) in shown.stdout for pid in pids(running))
    assert "Workers" in running.ask("/").body
    # Ctrl-C in a terminal is for the supervisor alone.
    assert all(os.getsid(pid) == pid for pid in pids(running))

    assert running.end(signal.SIGTERM) == 0, running.errors
    assert {line.get("worker") for line in running.logged("A partition was drained.")} == {"1", "2"}
    assert len([line for line in running.errors.splitlines() if not line.startswith("{")]) == 0


@pytest.mark.slow
def test_a_worker_that_is_killed_at_work_is_replaced_and_nothing_is_lost(
    hub, run_workers, archive, tell, eventually
):
    story = tell(objects=20, each=20)
    running = run_workers()
    victim, survivor = pids(running)
    hub.send(story.lines[:200])
    archive.until(20)
    handled = total(running, "inturn_processor_handled_total")
    os.kill(victim, signal.SIGKILL)
    hub.send(story.lines[200:])
    archive.until(400)
    eventually(lambda: owned(running) == [2, 2], "two partitions each, again")

    workers = running.status()["workers"]
    assert [each["restarts"] for each in workers] == [1, 0]
    assert workers[0]["last_end"] == "signal SIGKILL"
    assert workers[0]["pid"] != victim
    assert workers[1]["pid"] == survivor
    assert total(running, "inturn_processor_handled_total") >= handled
    assert running.end(signal.SIGTERM) == 0, running.errors
    keys = defaultdict(set)
    for line in archive.lines():
        keys[line["id"]].add(line["idempotency_key"])
    assert keys.keys() == set(story.ids)
    assert all(len(same) == 1 for same in keys.values())


@pytest.mark.slow
@pytest.mark.parametrize("groups", [["own"]])
def test_what_a_killed_worker_had_is_its_successors_long_before_it_would_expire(
    hub, run_workers, archive, tell, eventually, tmp_path
):
    """That takes 45 s at least: six intervals after the last renewal, and there is one in two."""
    keep = {"name": "keep", "type": "archive", "with": {"path": "archive"}}
    own = {"name": "own", "type": "archive", "consumer_group": "own", "with": {"path": "own"}}
    source = hub.source(load_balancing_interval_s=12)
    running = run_workers(share=4, source=source, processors=[keep, own])
    shared = owners(running.status())
    assignments = len(running.logged("A partition was assigned."))
    os.kill(pids(running)[0], signal.SIGKILL)

    def is_succeeded():
        status = running.status()
        return [each["restarts"] for each in status["workers"]] == [1, 0] and owners(status) == shared

    eventually(is_succeeded, "the next one has what it had", timeout_s=30)
    hub.send(tell(objects=20, each=10).lines)
    archive.until(200)
    Archive(tmp_path / "own").until(200)
    told = running.logged("The worker that had these partitions is dead: they are free at once.")
    free = [
        f"{line['consumer_group']}/{partition}" if "consumer_group" in line else partition
        for line in told
        for partition in line["partitions"]
    ]
    assert sorted(free) == sorted(partition for partition, worker in shared.items() if worker == "1")
    # Nobody had to hand anything over.
    assert len(running.logged("A partition was assigned.")) == assignments + 4
    assert running.end(signal.SIGTERM) == 0, running.errors


@pytest.mark.slow
def test_a_stop_at_work_repeats_nothing_with_the_state_in_azure_storage(
    inturn, hub, run_workers, archive, tell, azurite
):
    story = tell(objects=20, each=20)
    place = {
        "type": "blob",
        "connection_string": azurite.connection_string,
        "container": f"workers-{uuid.uuid4().hex}",
        "create_container": True,
        "checkpoint_interval_s": 0.2,
    }
    running = run_workers(state=place)
    sending = hub.start_sending(story.lines)
    archive.until(50)
    assert running.end(signal.SIGTERM) == 0, running.errors
    assert sending.end() == 0
    assert len(running.logged("A partition was drained.")) >= 4

    again = inturn.start("run", "-c", "inturn.yaml")  # one process goes on as well as two
    archive.until(400)
    assert again.end(signal.SIGINT) == 0, again.errors
    assert sorted(archive.ids()) == sorted(story.ids)


@pytest.mark.slow
def test_workers_whose_supervisor_was_killed_stop_by_themselves_and_say_why(
    inturn, hub, run_workers, archive, tell, eventually
):
    story = tell(objects=20, each=10)
    running = run_workers()
    workers = pids(running)
    hub.send(story.lines)
    archive.until(20)
    assigned = "A partition was assigned."
    eventually(lambda: {line["worker"] for line in running.logged(assigned)} == {"1", "2"}, "both work")
    running.end(signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, workers)), "they stop")
    said = "The supervisor is gone: this worker finishes what is in flight and stops."
    assert {line["worker"] for line in running.logged(said)} == {"1", "2"}, running.errors
    assert {line["complete"] for line in running.logged("A partition was drained.")} == {True}

    again = inturn.start("run", "-c", "inturn.yaml")
    archive.until(200)
    assert again.end(signal.SIGTERM) == 0
    assert sorted(archive.ids()) == sorted(story.ids)


STUCK = """
import asyncio
from pathlib import Path

async def stuck(event, context):
    Path("reached").touch()
    await asyncio.sleep(3600)
"""


def test_a_second_signal_hurries_all_workers(hub, run_workers, tell, eventually, write_processors, tmp_path):
    write_processors(STUCK)
    running = run_workers(processors=[{"name": "stuck", "type": "mine:stuck"}], drain={"timeout_s": 3600})
    hub.send(tell(objects=4, each=2).lines)
    eventually((tmp_path / "reached").exists, "an attempt that does not end")
    running.popen.send_signal(signal.SIGTERM)
    eventually(
        lambda: (
            len(running.logged("Stopping: what is in flight is finished first. A second signal hurries."))
            == 3
        ),
        "all know",
    )
    assert running.end(signal.SIGTERM) == 75, running.errors


def test_a_third_signal_ends_all_workers_on_the_spot(
    hub, run_workers, tell, eventually, write_processors, tmp_path
):
    write_processors(STUCK.replace("await asyncio.sleep(3600)", "import time; time.sleep(3600)"))
    running = run_workers(processors=[{"name": "stuck", "type": "mine:stuck"}])
    workers = pids(running)
    hub.send(tell(objects=4, each=2).lines)
    eventually((tmp_path / "reached").exists, "an attempt that holds up its worker")
    stopping = "Stopping: what is in flight is finished first. A second signal hurries."
    hurrying = "Hurrying: what still runs is cut off and will be repeated. A third signal kills."
    running.popen.send_signal(signal.SIGTERM)
    eventually(lambda: running.logged(stopping), "the first signal")
    running.popen.send_signal(signal.SIGTERM)
    eventually(lambda: running.logged(hurrying), "the second signal")
    assert running.end(signal.SIGTERM) == 75, running.errors
    eventually(lambda: not any(map(is_alive, workers)), "they end")


def test_what_cannot_be_shared_is_refused(inturn, configure, hub, tmp_path):
    (tmp_path / "events.jsonl").write_text("")
    for sections in (
        {"source": {"type": "file", "paths": ["events.jsonl"]}},
        {"source": hub.source(), "state": {"type": "memory"}},
    ):
        config = configure(**sections)
        ended = inturn("run", "-c", config, "--workers", "2")
        assert ended.returncode == 78
        assert "cannot be shared by workers" in ended.stderr
        assert "Traceback" not in ended.stderr
    config = configure(hub, state={"type": "memory"}, workers=2)
    ended = inturn("check", "-c", config)
    assert ended.returncode == 78
    assert "inturn.yaml:1:" in ended.stderr + ended.stdout
    for count in ("0", "65"):
        assert inturn("run", "-c", configure(hub), "--workers", count).returncode == 2


def test_a_worker_that_finds_the_configuration_wrong_ends_all_of_it(
    inturn, hub, configure, write_processors, tmp_path
):
    write_processors(
        """
from consumer.errors import ProcessorSettingsError

class Refusing:
    async def open(self): raise ProcessorSettingsError("there is no such endpoint")
    async def close(self): pass
    async def __call__(self, event, context): pass
"""
    )
    config = configure(hub, processors=[{"name": "it", "type": "mine:Refusing"}], workers=2)
    ended = inturn("run", "-c", config)
    assert ended.returncode == 78, ended.stderr
    assert "Processor it: there is no such endpoint" in ended.stderr
