"""The supervisor and real processes, which do on command what a worker may do at its worst."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from consumer.runtime.clock import SystemClock
from consumer.runtime.restarts import RestartLimits
from consumer.runtime.supervisor import Supervisor, SupervisorLimits
from consumer.runtime.worker_process import Launcher
from consumer.status import WorkerReport
from consumer.succession import Succession
from consumer.telemetry.workers_book import WorkersBook

PATIENCE_S = 30.0
WORKER = """
import os, signal, sys, time
from pathlib import Path

folder, report, conduct, place = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
worker, channel, _, _, succession = place.split(":")
starts = folder / f"starts-{worker}"
starts.open("a").write("x")
(folder / f"told-{worker}").open("a").write(succession + "\\n")
is_first = starts.stat().st_size == 1
data = bytes.fromhex(report)

def answer(times):
    for _ in range(times):
        os.write(int(channel), len(data).to_bytes(4, "big") + data)
        time.sleep(0.02)

def stopped(*_):
    (folder / f"stopped-{worker}").open("a").write("x")
    sys.exit(0)

if conduct == "stubborn":
    signal.signal(signal.SIGTERM, lambda *_: None)
else:
    signal.signal(signal.SIGTERM, stopped)
if conduct.startswith("exit"):
    sys.exit(int(conduct[4:]))
(folder / f"listens-{worker}").touch()
if conduct == "dies once" and is_first:
    answer(3)
    while not all((folder / f"listens-{each.name[7:]}").exists() for each in folder.glob("starts-*")):
        answer(1)  # the others are not to be asked to stop before they can hear it
    os.kill(os.getpid(), signal.SIGKILL)
if conduct == "hangs once" and is_first:
    answer(3)
    time.sleep(60)
if conduct == "rubbish":
    os.write(int(channel), b"\\0\\0\\0\\5rubbish")
if conduct == "foreign":
    data = bytes([0xA3]) + b"new"
answer(100_000)
"""


@pytest.fixture
def report_of(engine_status) -> Callable[..., str]:
    """A report of an engine with these fields, as hexadecimal digits for a command line."""

    def make(not_live=(), **fields) -> str:
        counters = {("outcome", "handled"): 5.0}
        report = WorkerReport(engine_status(**fields), list(not_live), counters, 1)
        return msgspec.msgpack.encode(report).hex()

    return make


@pytest.fixture
def supervise(tmp_path, report_of):
    """Makes a supervisor of workers that conduct themselves as told."""

    def make(conduct: str, count: int = 1, not_live=(), **limits):
        restarts = RestartLimits(backoff_s=0.05, backoff_max_s=0.1, deaths_max=limits.pop("deaths_max", 10))
        report = report_of(not_live)

        def command(place):
            return [sys.executable, "-S", "-c", WORKER, str(tmp_path), report, conduct, str(place)]

        book = WorkersBook()
        launcher = Launcher(command, lambda: os.dup(1), lambda: os.dup(2))
        known = {"stop_s": PATIENCE_S, "look_s": 0.02, "silent_after_s": 0.3, "restarts": restarts}
        names = [str(number + 1) for number in range(count)]
        return Supervisor(names, launcher, book, SupervisorLimits(**(known | limits)), SystemClock()), book

    return make


@contextlib.asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[int]]:
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(supervisor.run())
        yield task
        supervisor.drain()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - another process sets no event
        await asyncio.sleep(0.01)


def states(supervisor: Supervisor) -> list[str]:
    return [each.state for each in supervisor.workers()]


async def test_workers_run_until_they_are_asked_to_stop(supervise, tmp_path):
    supervisor, _ = supervise("answers", count=3)
    async with running(supervisor) as task:
        await until(lambda: states(supervisor) == ["running"] * 3)
        assert len({each.pid for each in supervisor.workers()}) == 3
        assert supervisor.state == "running"
    assert await task == 0
    assert supervisor.state == "stopped"
    assert states(supervisor) == ["stopped"] * 3
    assert {path.name for path in tmp_path.glob("stopped-*")} == {"stopped-1", "stopped-2", "stopped-3"}


async def test_a_worker_that_is_killed_is_started_again_and_its_counts_are_kept(supervise):
    supervisor, book = supervise("dies once")
    async with running(supervisor) as task:
        await until(lambda: supervisor.workers()[0].restarts == 1)
        await until(lambda: states(supervisor) == ["running"])
        (worker,) = supervisor.workers()
        assert worker.last_end == "signal SIGKILL"
        assert book.sums()["outcome", "handled"] == 10  # five of each process
    assert await task == 0


async def test_a_worker_is_told_who_died_in_its_place(supervise, tmp_path):
    supervisor, _ = supervise("dies once", count=2)
    async with running(supervisor):
        await until(lambda: [each.restarts for each in supervisor.workers()] == [1, 1])
        await until(lambda: states(supervisor) == ["running"] * 2)
    for worker in ("1", "2"):
        first, second = map(Succession.parse, (tmp_path / f"told-{worker}").read_text().splitlines())
        assert first.dead == ()
        assert second.dead == (first.mark,)


async def test_a_worker_that_hangs_is_shown_as_silent_then_killed_and_started_again(supervise):
    supervisor, _ = supervise("hangs once", hung_after_s=1.0)
    async with running(supervisor) as task:
        await until(lambda: states(supervisor) == ["silent"])
        await until(lambda: supervisor.workers()[0].restarts == 1)
        await until(lambda: states(supervisor) == ["running"])
        assert supervisor.workers()[0].last_end == "signal SIGKILL"
    assert await task == 0


async def test_a_worker_that_answers_and_says_that_it_does_not_turn_hangs_too(supervise):
    supervisor, _ = supervise("answers", not_live=["Partition 7 has not turned for 61 s."], hung_after_s=0.5)
    async with running(supervisor):
        await until(lambda: supervisor.workers()[0].restarts == 1)
        assert supervisor.workers()[0].last_end == "signal SIGKILL"


@pytest.mark.parametrize("code", [2, 78])
async def test_a_worker_that_says_that_the_configuration_is_wrong_ends_it_all(supervise, code):
    supervisor, _ = supervise(f"exit{code}", count=2)
    async with running(supervisor) as task:
        assert await task == code
    assert all(each.restarts == 0 for each in supervisor.workers())


@pytest.mark.parametrize("code", [0, 70, 75])
async def test_workers_that_die_too_often_end_it_all_with_a_code_that_asks_for_another_start(supervise, code):
    supervisor, _ = supervise(f"exit{code}", deaths_max=1)
    async with running(supervisor) as task:
        assert await task == 75


async def test_the_others_stop_in_good_order_when_one_dies_too_often(supervise, tmp_path):
    (tmp_path / "starts-2").write_text("x")  # the second worker was started before, and does not die
    supervisor, _ = supervise("dies once", count=2, deaths_max=1)
    async with running(supervisor) as task:
        assert await task == 75
    assert (tmp_path / "stopped-2").exists()


async def test_a_worker_that_does_not_stop_is_killed_and_the_exit_code_says_so(supervise):
    supervisor, _ = supervise("stubborn", stop_s=0.3)
    async with running(supervisor) as task:
        await until(lambda: states(supervisor) == ["running"])
        supervisor.drain()
        assert await task == 75


async def test_what_is_no_report_does_no_harm(supervise):
    supervisor, _ = supervise("rubbish", hung_after_s=1.0)
    async with running(supervisor):
        await until(lambda: supervisor.workers()[0].restarts == 1)
        assert supervisor.workers()[0].last_end == "signal SIGKILL"  # as one that never answered


async def test_a_worker_of_another_version_is_not_taken_for_one_that_hangs(supervise):
    supervisor, _ = supervise("foreign", hung_after_s=0.6)
    loop = asyncio.get_running_loop()
    async with running(supervisor) as task:
        began_s = loop.time()
        await until(lambda: loop.time() - began_s > 1.2)
        assert supervisor.workers()[0].restarts == 0
    assert await task == 0


async def test_a_worker_that_cannot_be_started_is_tried_again_as_one_that_died():
    class Refusing:
        async def start(self, worker: str, now_s: float, succession: Succession):
            raise FileNotFoundError("there is no interpreter")

    limits = SupervisorLimits(stop_s=1, restarts=RestartLimits(backoff_s=0.01, deaths_max=1))
    supervisor = Supervisor(["1"], Refusing(), WorkersBook(), limits, SystemClock())
    async with running(supervisor) as task:
        assert await task == 75
    assert supervisor.workers()[0].last_end == "could not be started: there is no interpreter"


async def test_the_last_resort_ends_every_process(supervise):
    supervisor, _ = supervise("stubborn", count=2)
    async with running(supervisor) as task:
        await until(lambda: states(supervisor) == ["running"] * 2)
        pids = [each.pid for each in supervisor.workers()]
        supervisor.drain()
        supervisor.kill()
        assert await task == 75
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
