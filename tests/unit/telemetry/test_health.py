"""Health: what a restart would mend, what keeps from working, and what a person should know."""

from __future__ import annotations

import asyncio

import pytest

from consumer.telemetry.health import EventLoopHeartbeat, HealthLimits, hints, judge_live, judge_ready

LIMITS = HealthLimits(loop_heartbeat_age_max_s=10, partition_heartbeat_age_max_s=60)


def test_an_engine_that_turns_is_live_and_ready(engine_status):
    assert judge_live(engine_status(), 1.0, LIMITS).ok
    assert judge_ready(engine_status(), 1.0, LIMITS).ok


def test_a_replica_that_owns_no_partition_is_ready(engine_status):
    assert judge_ready(engine_status(partitions=[]), 1.0, LIMITS).ok


def test_a_stuck_event_loop_is_not_live(engine_status):
    verdict = judge_live(engine_status(), 11.0, LIMITS)
    assert verdict.reasons == ["The event loop has not turned for 11 s (limit 10 s)."]


def test_a_stuck_partition_is_named(engine_status, partition_status):
    stuck = [partition_status("0"), partition_status("7", heartbeat_age_s=61)]
    verdict = judge_live(engine_status(partitions=stuck), 0.0, LIMITS)
    assert verdict.reasons == ["Partition 7 has not turned for 61 s (limit 60 s)."]


@pytest.mark.parametrize(("age_s", "ok"), [(60.0, True), (60.1, False)])
def test_a_limit_is_the_last_good_value(engine_status, partition_status, age_s, ok):
    status = engine_status(partitions=[partition_status(heartbeat_age_s=age_s)])
    assert judge_live(status, 0.0, LIMITS).ok is ok


def test_a_halted_partition_is_not_ready_but_no_reason_to_restart(engine_status, partition_status):
    status = engine_status(partitions=[partition_status(state="halted", heartbeat_age_s=1e6)])
    assert judge_live(status, 0.0, LIMITS).ok
    assert "Partition 0 is halted" in judge_ready(status, 0.0, LIMITS).reasons[0]


@pytest.mark.parametrize("state", ["starting", "draining", "stopped"])
def test_an_engine_that_does_not_run_is_not_ready(engine_status, state):
    assert not judge_ready(engine_status(state=state), 0.0, LIMITS).ok


def test_draining_is_live(engine_status):
    assert judge_live(engine_status(state="draining"), 0.0, LIMITS).ok


def test_the_engines_own_reasons_are_passed_on_and_never_empty(engine_status):
    verdict = judge_ready(engine_status(ready=False, not_ready=["The store does not answer."]), 0.0, LIMITS)
    assert verdict.reasons == ["The store does not answer."]
    assert judge_ready(engine_status(ready=False), 0.0, LIMITS).reasons


def test_hints_do_not_make_it_unready(engine_status, partition_status):
    status = engine_status(
        dead_letters=3, objects_spread=2, partitions=[partition_status(gaps=4, identities_evicted=1)]
    )
    verdict = judge_ready(status, 0.0, LIMITS)
    assert verdict.ok
    assert [hint.split(":")[0] for hint in verdict.hints] == [
        "Dead letters in the store",
        "Objects on more than one partition",
        "Sequence numbers that never came",
        "Identities forgotten early",
    ]


def test_an_engine_that_is_fine_gives_no_hints(engine_status):
    assert hints(engine_status()) == []


async def test_a_heartbeat_ages_until_it_beats():
    now = 100.0
    heartbeat = EventLoopHeartbeat(interval_s=0.001, clock=lambda: now)
    now = 130.0
    assert heartbeat.age_s == 30.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await heartbeat.run()
    assert heartbeat.age_s == 0.0
