"""Metrics: every number is there, with help, and counters never fall."""

from __future__ import annotations

import re
import shutil
import subprocess

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from consumer.events import Outcome, Reason
from consumer.telemetry import metric_definitions as definitions
from consumer.telemetry.durations import AttemptOutcome, ProcessDurations
from consumer.telemetry.metric_kinds import Kind
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.totals import FoldedTotals

NOW_MS = 1_795_240_800_000 + 2_500
DEFINED = (*definitions.ENGINE_METRICS, *definitions.PARTITION_METRICS, *definitions.PROCESSOR_METRICS)


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.render()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def test_the_numbers_of_a_status_are_exposed_as_they_are(engine_status):
    metrics = Metrics(engine_status, now_ms=lambda: NOW_MS)
    assert value(metrics, "messaging_eventhubs_consumer_lag", partition="0") == 10
    assert value(metrics, "messaging_client_consumed_messages_total", partition="0") == 91
    assert value(metrics, "inturn_events_total", outcome="ignored", reason="topic") == 3
    assert value(metrics, "inturn_events_total", outcome="handled", reason="") == 80
    assert value(metrics, "inturn_events_total", outcome="stale", reason="") == 0
    assert value(metrics, "inturn_events_ordered_total", ordered_by="version") == 60
    assert value(metrics, "inturn_processor_busy_seconds_total", processor="log") == 12.5
    assert value(metrics, "inturn_watermark_age_seconds", partition="0") == 2.5
    assert value(metrics, "inturn_partition_state", partition="0", state="reading") == 1
    assert value(metrics, "inturn_partition_state", partition="0", state="halted") == 0
    assert value(metrics, "inturn_ready") == 1


def test_every_defined_metric_is_exposed_and_says_what_to_do(engine_status):
    text = Metrics(engine_status).render()[0].decode()
    for metric in DEFINED:
        assert re.search(rf"^{metric.name}[ {{]", text, re.MULTILINE), metric.name
        assert f"# HELP {metric.name} " in text
        assert metric.help.endswith(".")
    assert len({metric.name for metric in DEFINED}) == len(DEFINED)


def test_only_counters_end_in_total():
    for metric in DEFINED:
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name


def test_every_outcome_and_reason_has_a_series_from_the_start(engine_status):
    exposed = {
        (dict(labels)["outcome"], dict(labels)["reason"])
        for name, labels in samples(Metrics(lambda: engine_status(partitions=[], outcomes={})))
        if name == "inturn_events_total"
    }
    assert {outcome for outcome, _ in exposed} == {*Outcome, "other"}
    assert {reason for _, reason in exposed} == {*Reason, "", "other"}


def test_an_unknown_outcome_is_counted_and_makes_no_new_label(engine_status):
    status = engine_status(outcomes={"dead_lettered:surprise": 4})
    metrics = Metrics(lambda: status)
    assert value(metrics, "inturn_events_total", outcome="other", reason="other") == 4


def test_what_is_not_known_is_left_out_rather_than_shown_as_zero(engine_status, partition_status):
    unknown = partition_status(newest=None, lag=None, watermark_ms=None)
    exposed = {
        name for name, _ in samples(Metrics(lambda: engine_status(dead_letters=None, partitions=[unknown])))
    }
    assert not exposed & {
        "inturn_dead_letters",
        "messaging_eventhubs_consumer_lag",
        "inturn_watermark_age_seconds",
    }


def test_a_partition_that_leaves_and_comes_back_keeps_its_totals(engine_status, partition_status):
    owned = [partition_status(gaps=5)]
    metrics = Metrics(lambda: engine_status(partitions=owned))
    assert value(metrics, "inturn_gaps_total", partition="0") == 5
    metrics.retire(partition_status(gaps=6))
    owned.clear()
    assert value(metrics, "inturn_gaps_total", partition="0") == 6
    owned.append(partition_status(gaps=7))  # more than before: only the retirement tells it is a new count
    assert value(metrics, "inturn_gaps_total", partition="0") == 13
    assert value(metrics, "inturn_events_ordered_total", ordered_by="version") == 120


def test_several_engines_can_be_measured_in_one_process(engine_status):
    one, other = (
        Metrics(lambda: engine_status(dead_letters=1)),
        Metrics(lambda: engine_status(dead_letters=2)),
    )
    assert value(one, "inturn_dead_letters") == 1
    assert value(other, "inturn_dead_letters") == 2


def test_making_metrics_does_not_ask_for_a_status_yet():
    Metrics(lambda: pytest.fail("asked before the first scrape"))


def test_a_scraper_that_wants_openmetrics_gets_it(engine_status):
    body, content_type = Metrics(engine_status).render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_a_chunk_is_shared_equally_among_its_events(engine_status):
    metrics = Metrics(engine_status)
    metrics.durations.observe("mail", AttemptOutcome.HANDLED, 0.4, 10)
    name, labels = "messaging_process_duration_seconds", {"processor": "mail", "outcome": "handled"}
    assert value(metrics, f"{name}_count", **labels) == 10
    assert value(metrics, f"{name}_sum", **labels) == pytest.approx(0.4)
    assert value(metrics, f"{name}_bucket", le="0.025", **labels) == 0
    assert value(metrics, f"{name}_bucket", le="0.05", **labels) == 10
    assert value(metrics, f"{name}_bucket", le="+Inf", **labels) == 10


def test_outcomes_of_attempts_that_nobody_knows_share_one_label():
    durations = ProcessDurations()
    for number in range(100):
        durations.observe("mail", f"surprise {number}", 1.0)
    durations.observe("mail", "handled", 1.0, 0)
    assert [(outcome, buckets[-1]) for _, outcome, buckets, _ in durations] == [("other", ("+Inf", 100))]


def test_promtool_finds_nothing_to_say(engine_status):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    metrics = Metrics(engine_status)
    metrics.durations.observe("mail", "handled", 0.1)
    run = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.render()[0], capture_output=True, check=False
    )
    assert run.returncode == 0, run.stderr.decode()


def test_an_assignment_that_ended_unnoticed_is_not_lost_when_the_next_one_ends():
    totals = FoldedTotals()
    totals.observe({"0": {"n": 5}})
    totals.retire("0", {"n": 2})  # it cannot be the one that has counted five
    assert dict(totals) == {"0": {"n": 7}}


class Assignment(msgspec.Struct):
    count: int = 0


steps = st.lists(
    st.tuples(st.sampled_from(["count", "scrape", "revoke", "vanish", "assign"]), st.integers(1, 5)),
    max_size=60,
)


@given(steps)
def test_totals_never_fall_never_exceed_the_truth_and_are_exact_if_told(taken):
    """Against a model that simply adds up everything ever counted."""
    totals, running, truth, unknown, seen = FoldedTotals(), None, 0, 0, 0.0
    for step, amount in taken:
        if step == "assign" and running is None:
            running = Assignment()
        elif step == "count" and running is not None:
            running.count += amount
            truth += amount
        elif step == "revoke" and running is not None:
            totals.retire("0", {"n": running.count})
            running = None
        elif step == "vanish" and running is not None:
            unknown, running = unknown + running.count, None
        elif step == "scrape":
            totals.observe({"0": {"n": running.count}} if running else {})
            now = sum(counts["n"] for _, counts in totals)
            assert seen <= now <= truth
            assert now == truth or unknown
            seen = now
