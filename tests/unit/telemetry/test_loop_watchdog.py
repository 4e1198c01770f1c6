"""A loop that stands still is named while it does, and ended when it does not turn again."""

from __future__ import annotations

import sys
import time
from json import loads as parse

import pytest
from structlog.testing import capture_logs

from consumer.telemetry.health import EventLoopHeartbeat
from consumer.telemetry.loop_watchdog import LoopWatchdog, line_of


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 500.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def ended() -> list[float]:
    return []


@pytest.fixture
def watchdog(hands, ended) -> LoopWatchdog:
    heartbeat = EventLoopHeartbeat(clock=hands)
    return LoopWatchdog(heartbeat, end_process=lambda: ended.append(hands.now_s), clock=hands)


def hold(watchdog, hands, seconds):
    """Let the loop stand still, seen by a watchdog that looks four times a second; gives what it logs."""
    with capture_logs() as logs:
        for _ in range(round(seconds * 4)):
            hands.now_s += 0.25
            watchdog.look()
    return logs


def test_a_loop_that_is_held_for_less_than_a_second_is_nobodys_business(watchdog, hands):
    assert hold(watchdog, hands, 0.75) == []
    assert (watchdog.blocks, watchdog.longest_s) == (0, 0.0)


def test_a_block_is_told_after_one_second_and_again_after_ten(watchdog, hands):
    logs = hold(watchdog, hands, 30)

    assert [(entry["log_level"], entry["held_s"]) for entry in logs] == [("warning", 1.0), ("warning", 10.0)]
    assert watchdog.blocks == 1
    assert watchdog.longest_s == 30.0


def test_every_block_is_told_and_how_long_it_was(watchdog, hands):
    for _ in range(2):
        watchdog._heartbeat.beat()
        hold(watchdog, hands, 3)
        watchdog._heartbeat.beat()
        (back,) = hold(watchdog, hands, 0.25)
        assert (back["event"], back["held_s"]) == ("The event loop turns again.", 3.0)

    assert watchdog.blocks == 2


def test_a_loop_that_is_held_for_a_minute_ends_the_process(watchdog, hands, ended):
    logs = hold(watchdog, hands, 60)

    assert logs[-1]["log_level"] == "error"
    assert ended == [560.0]


def test_a_process_that_was_stopped_or_suspended_is_not_blamed(watchdog, hands, ended):
    hands.now_s += 3_600
    with capture_logs() as logs:
        watchdog.look()

    assert logs == []
    assert ended == []
    assert [entry["held_s"] for entry in hold(watchdog, hands, 1)] == [1.0]


def test_the_line_is_the_innermost_one_outside_the_standard_library():
    found = []

    def decode(pairs):
        found.append(line_of(sys._getframe()))
        found.append(line_of(sys._getframe(1)))  # inside the standard library's decoder
        return pairs

    parse('{"a": 1}', object_pairs_hook=decode)

    assert "test_loop_watchdog.py" in found[0]
    assert found[0].endswith("decode")
    assert "test_loop_watchdog.py" in found[1]
    assert line_of(None) is None


async def test_the_thread_names_the_task_and_the_line_that_hold_the_real_loop():
    heartbeat = EventLoopHeartbeat()
    watchdog = LoopWatchdog(heartbeat, end_process=lambda: None, whose=lambda task: f"owner of {task}")
    with capture_logs() as logs, watchdog.watching():
        time.sleep(1.6)  # noqa: ASYNC251 - that is what it is about

    (entry,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert entry["processor"].startswith("owner of Task-")
    assert "test_loop_watchdog.py" in entry["line"]
    assert watchdog.blocks == 1
