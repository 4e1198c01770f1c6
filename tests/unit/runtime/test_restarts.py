"""When workers are started again: a wait that grows, forgets, and ends in giving up."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.runtime.restarts import RestartLimits, RestartPolicy, how_it_ended, is_final

NEVER = RestartLimits(deaths_max=1_000_000)


def test_a_worker_that_dies_at_once_is_waited_for_longer_and_longer_but_never_too_long():
    policy = RestartPolicy(NEVER)
    waits = [policy.died("1", now_s, lived_s=0.1) for now_s in range(0, 80, 10)]
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_worker_that_was_well_for_a_minute_is_started_at_once_again():
    policy = RestartPolicy(NEVER)
    for now_s in (0, 10, 20):
        policy.died("1", now_s, lived_s=5)
    assert policy.died("1", 100, lived_s=60) == 1
    assert policy.died("1", 110, lived_s=59.9) == 2


def test_workers_do_not_wait_for_each_others_deaths():
    policy = RestartPolicy(NEVER)
    assert [policy.died("1", 0, 0), policy.died("1", 5, 0), policy.died("2", 10, 0)] == [1, 2, 1]


def test_the_tenth_death_in_five_minutes_is_the_last():
    policy = RestartPolicy()
    assert all(policy.died("1", now_s * 30.0, 29) for now_s in range(9))
    assert policy.died("2", 299.9, 300) is None


def test_deaths_that_are_five_minutes_apart_are_forgotten():
    policy = RestartPolicy()
    assert all(policy.died("1", now_s * 34.0, 33) is not None for now_s in range(100))


def test_what_kills_all_workers_at_once_counts_as_one_death():
    policy = RestartPolicy()
    assert all(policy.died(str(worker), worker / 100, 100) == 1 for worker in range(64))


deaths = st.lists(st.tuples(st.sampled_from("123"), st.floats(0, 90), st.floats(0, 90)), max_size=60)


@given(deaths)
def test_the_policy_decides_as_a_look_at_the_whole_history_would(told):
    limits = RestartLimits(deaths_max=6)
    policy, now_s, counted, waits = RestartPolicy(limits), 0.0, [], {}
    for worker, pause_s, lived_s in told:
        now_s += pause_s
        if not [each for each in counted if now_s - each < 1]:
            counted.append(now_s)
        if len([each for each in counted if now_s - each < 300]) >= 6:
            expected = None
        else:
            waits[worker] = [] if lived_s >= 60 else waits.get(worker, [])
            expected = min(30, 2 ** len(waits[worker]))
            waits[worker].append(expected)
        assert policy.died(worker, now_s, lived_s) == expected


@pytest.mark.parametrize(
    ("code", "final"), [(0, False), (2, True), (70, False), (75, False), (78, True), (-9, False)]
)
def test_only_a_wrong_command_line_or_configuration_is_final(code, final):
    assert is_final(code) is final


def test_an_end_is_told_as_a_person_reads_it():
    assert how_it_ended(70) == "exit code 70"
    assert how_it_ended(-signal.SIGKILL) == "signal SIGKILL"
    assert how_it_ended(-99) == "signal 99"
