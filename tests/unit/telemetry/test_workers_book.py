"""Several workers shown as one: sums that are right, and counters that never go back."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from consumer.status import WorkerReport, WorkerStatus
from consumer.telemetry.health import judge_live, judge_ready
from consumer.telemetry.metrics import Exposition, Metrics, StatusCollector
from consumer.telemetry.workers_book import WorkersBook, report_of, sum_of


def worker(name: str = "1", **fields) -> WorkerStatus:
    known = {"state": "running", "pid": 4711, "restarts": 0, "up_s": 5.0, "silent_s": 0.1, "last_end": ""}
    return WorkerStatus(worker=name, **(known | fields))


@pytest.fixture
def report(engine_status):
    """What a worker reports whose engine has a status of these fields."""

    def make(durations=(), not_live=(), **fields) -> WorkerReport:
        metrics = Metrics(lambda: engine_status(**fields))
        for each in durations:
            metrics.durations.observe(*each)
        status = metrics.status()
        return report_of(status, not_live, metrics.totals(status), metrics.durations)

    return make


def status_of(book: WorkersBook, *workers: WorkerStatus, state: str = "running"):
    return book.status(list(workers), version="0.1.0", state=state, up_s=61.0)


def samples(book: WorkersBook, *workers: WorkerStatus):
    shown = Exposition(StatusCollector(lambda: status_of(book, *workers), book.totals, book))
    found = {}
    for family in text_string_to_metric_families(shown.render()[0].decode()):
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def test_a_report_survives_the_way_to_the_supervisor(report):
    sent = report(durations=[("log", "handled", 0.2, 3)])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=WorkerReport) == sent
    assert sent.resident_bytes > 1_000_000
    assert sent.counters["cpu_s",] > 0


def test_the_partitions_of_all_workers_are_in_one_status_in_their_order(report, partition_status):
    book = WorkersBook()
    book.report("1", report(partitions=[partition_status("10"), partition_status("2")]))
    book.report("2", report(partitions=[partition_status("0")]))
    status = status_of(book, worker("1"), worker("2"))
    assert [(each.partition, each.worker) for each in status.partitions] == [
        ("0", "2"),
        ("2", "1"),
        ("10", "1"),
    ]
    assert [each.partitions for each in status.workers] == [2, 1]
    assert status.ready


def test_a_partition_that_changes_hands_is_shown_once_with_its_later_owner(report, partition_status):
    book = WorkersBook()
    for name, epoch in [("1", 8), ("2", 9), ("3", 7)]:
        book.report(name, report(partitions=[partition_status("0", epoch=epoch)]))
    (shown,) = status_of(book, worker("1"), worker("2"), worker("3")).partitions
    assert shown.worker == "2"
    assert ("inturn_held_events", ("partition", "0")) in samples(book, worker("1"), worker("2"), worker("3"))


def test_counters_are_those_of_all_workers_together(report):
    book = WorkersBook()
    book.report("1", report(durations=[("log", "handled", 0.01, 2)]))
    book.report("2", report(durations=[("log", "handled", 8.0, 1), ("log", "failed", 1.0, 1)]))
    both = (worker("1"), worker("2"))
    status, found = status_of(book, *both), samples(book, *both)
    assert status.outcomes == {
        "handled": 160,
        "duplicate": 12,
        "ignored:topic": 6,
        "dead_lettered:bad_time": 4,
    }
    (processor,) = status.processors
    assert (processor.handled, processor.busy_s, processor.queued, processor.running) == (160, 25.0, 2, 4)
    assert found["inturn_events_total", ("outcome", "handled"), ("reason", "")] == 160
    assert found["messaging_client_consumed_messages_total", ("partition", "0")] == 182
    assert found["inturn_events_ordered_total", ("ordered_by", "version")] == 120
    name = "messaging_process_duration_seconds"
    of = (("outcome", "handled"), ("processor", "log"))
    assert found[f"{name}_count", *of] == 3
    assert found[f"{name}_sum", *of] == pytest.approx(8.01)
    assert found[f"{name}_bucket", ("le", "0.005"), *of] == 2
    assert found[f"{name}_bucket", ("le", "7.5"), *of] == 2
    assert found[f"{name}_bucket", ("le", "10.0"), *of] == 3


def test_counters_do_not_go_back_when_a_worker_dies_and_begins_again(report):
    book = WorkersBook()
    book.report("1", report(outcomes={"handled": 80}))
    before = samples(book, worker())
    book.ended("1")
    waiting = worker(state="waiting", pid=None, last_end="signal SIGKILL")
    dead = samples(book, waiting)
    assert dead["inturn_events_total", ("outcome", "handled"), ("reason", "")] == 80
    assert dead["inturn_worker_up", ("worker", "1")] == 0
    book.report("1", report(outcomes={"handled": 5}))
    again = samples(book, worker(restarts=1))
    assert again["inturn_events_total", ("outcome", "handled"), ("reason", "")] == 85
    for name in before:
        if name[0].endswith("_total") and not name[0].startswith(("python", "process")):
            assert before[name] <= dead[name] <= again[name], name


def test_a_scraper_that_wants_openmetrics_gets_it(report, partition_status):
    book = WorkersBook()
    book.report("1", report(partitions=[partition_status("0")], durations=[("log", "handled", 0.1)]))
    book.report("2", report(partitions=[partition_status("0", epoch=2), partition_status("1")]))
    collector = StatusCollector(lambda: status_of(book, worker("1"), worker("2")), book.totals, book)
    body, content_type = Exposition(collector).render("application/openmetrics-text; version=1.0.0")
    families = {family.name for family in openmetrics(body.decode())}
    assert "openmetrics" in content_type
    assert {"inturn_worker_restarts", "inturn_held_events", "messaging_process_duration_seconds"} <= families


def test_a_worker_that_died_before_its_first_report_changes_nothing(report):
    book = WorkersBook()
    book.report("1", report())
    book.ended("2")
    book.ended("2")
    assert status_of(book, worker("1")).outcomes["handled"] == 80


def test_before_any_worker_has_reported_there_is_a_status_that_says_so():
    status = status_of(WorkersBook(), worker("1", state="starting"), worker("2", state="starting"))
    assert not status.ready
    assert status.not_ready == ["Workers 1, 2: not started yet."]
    assert (status.partitions, status.processors, status.dead_letters) == ([], [], None)


def test_why_not_all_are_ready_is_said_once_with_the_workers_it_is_true_of(report):
    book = WorkersBook()
    book.report("1", report(ready=False, not_ready=["The source cannot be read: refused."]))
    book.report("2", report(ready=False, not_ready=["The source cannot be read: refused."]))
    book.report("3", report(not_live=["Partition 7 has not turned for 61 s (limit 60 s)."]))
    book.report("4", report())
    states = [
        *(worker(name) for name in "123"),
        worker("4", state="silent", silent_s=12.0),
        worker("5", state="waiting", pid=None, last_end="exit code 70"),
    ]
    status = status_of(book, *states)
    assert status.not_ready == [
        "Workers 1, 2: The source cannot be read: refused.",
        "Worker 3: Partition 7 has not turned for 61 s (limit 60 s).",
        "Worker 4: no answer for 12 s.",
        "Worker 5: ended (exit code 70) and is to be started again.",
    ]
    assert not judge_ready(status, 0.0).ok


def test_a_partition_that_stands_still_is_no_reason_to_restart_the_supervisor(report, partition_status):
    book = WorkersBook()
    book.report("1", report(partitions=[partition_status(heartbeat_age_s=3_600)]))
    assert judge_live(status_of(book, worker()), 0.1).ok
    assert not judge_live(status_of(book, worker()), 11.0).ok


def test_a_silent_worker_keeps_its_last_numbers_and_hides_nobody_elses(report, partition_status):
    book = WorkersBook()
    book.report("1", report(partitions=[partition_status("0")]))
    book.report("2", report(partitions=[partition_status("1")]))
    status = status_of(book, worker("1", state="silent", silent_s=30.0), worker("2"))
    assert [each.partition for each in status.partitions] == ["0", "1"]


def test_the_number_of_dead_letters_is_not_added_up_for_all_ask_the_same_store(report):
    book = WorkersBook()
    for name, count in [("1", 3), ("2", None), ("3", 4)]:
        book.report(name, report(dead_letters=count))
    assert status_of(book, *(worker(name) for name in "123")).dead_letters == 4


def test_stopping_is_said_and_not_ready(report):
    book = WorkersBook()
    book.report("1", report())
    status = status_of(book, worker(state="draining"), state="draining")
    assert (status.state, status.not_ready) == ("draining", ["inturn is draining."])


names = st.tuples(st.just("outcome"), st.sampled_from(["handled", "stale", "duplicate"]))
counts = st.dictionaries(names, st.integers(0, 1_000))


@given(st.lists(counts))
def test_sums_are_what_a_counter_makes_of_them(several):
    naive: Counter = Counter()
    for each in several:
        naive.update(each)
    assert sum_of(several) == naive


life = st.tuples(st.sampled_from("123"), st.sampled_from(["count", "report", "die"]), st.integers(1, 5))


@given(st.lists(life, max_size=60))
def test_the_sum_never_falls_and_is_what_all_processes_have_reported(taken):
    """Against a model that keeps every process apart."""
    book, running, reported, seen = WorkersBook(), Counter(), Counter(), 0
    status = EMPTY
    lives: Counter = Counter()
    for name, step, amount in taken:
        process = (name, lives[name])
        if step == "count":
            running[process] += amount
        elif step == "report":
            reported[process] = running[process]
            counters = {("outcome", "handled"): running[process]}
            book.report(name, WorkerReport(status, [], counters, 0))
        else:
            book.ended(name)
            lives[name] += 1
        now = book.sums().get(("outcome", "handled"), 0)
        assert now == sum(reported.values())
        assert now >= seen
        seen = now


EMPTY = WorkersBook().status([], version="", state="running", up_s=0)
