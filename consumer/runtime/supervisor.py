"""Keeps worker processes running: starts them, starts them again when they die, kills them when they hang.

The supervisor handles no event. Workers share the partitions as replicas on many machines do, by what the
state store says; nothing goes through here but their reports, their output and the signals.

What ends all of it: being asked to (`drain`); a worker that says that the configuration is wrong; and workers
that die too often (`RestartLimits`), which whoever runs the supervisor is told by exit code 75.
"""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from consumer.runtime.clock import Clock
from consumer.runtime.restarts import TEMPORARY, RestartLimits, RestartPolicy, how_it_ended, is_final
from consumer.runtime.worker_channel import UnreadableReport, receive
from consumer.runtime.worker_process import WorkerProcess
from consumer.status import WorkerReport, WorkerStatus
from consumer.succession import FORERUNNERS_MAX, Succession

_log = structlog.get_logger("inturn.supervisor")

_LAST_WORDS_S = 1.0
"""How long the last report of a process that has ended is waited for."""


@dataclass(frozen=True, slots=True)
class SupervisorLimits:
    """When a supervisor loses patience, in seconds."""

    stop_s: float
    """From the request to stop until a worker is killed."""
    restarts: RestartLimits = field(default_factory=RestartLimits)
    silent_after_s: float = 5.0
    """Without a report for so long a worker is shown as silent; nothing is done about it yet."""
    hung_after_s: float = 70.0
    """A worker is killed when it was not alive for so long: ten seconds until that is seen, and a minute."""
    look_s: float = 0.5
    """Between two looks at the workers."""
    frozen_s: float = 5.0
    """A look that comes this late: the supervisor itself stood still, and the workers' time begins anew."""


class Book(Protocol):
    """What keeps the workers' numbers."""

    def report(self, worker: str, report: WorkerReport) -> None:
        """Take what a worker reports."""

    def ended(self, worker: str) -> None:
        """Keep the counts of a worker's process that has ended."""


class Starter(Protocol):
    """What starts a worker's process."""

    async def start(self, worker: str, now_s: float, succession: Succession) -> WorkerProcess:
        """Start it. Raises `OSError`."""


@dataclass(slots=True)
class _Slot:
    """The place of a worker, in which one process follows another."""

    worker: str
    process: WorkerProcess | None = None
    starts: int = 0
    last_end: str = ""
    dead: deque[str] = field(default_factory=lambda: deque(maxlen=FORERUNNERS_MAX))
    """The marks of the processes that were reaped here."""


class Supervisor:
    """Runs `workers`, each in a process that `starter` starts."""

    def __init__(
        self, workers: Sequence[str], starter: Starter, book: Book, limits: SupervisorLimits, clock: Clock
    ) -> None:
        self._slots = [_Slot(worker) for worker in workers]
        self._starter = starter
        self._book = book
        self._limits = limits
        self._clock = clock
        self._policy = RestartPolicy(limits.restarts)
        self._is_stopping = asyncio.Event()
        self._is_hurrying = asyncio.Event()
        self._code = 0
        self._is_over = False

    # Running.

    async def run(self) -> int:
        """Run until `drain` was asked for, or nothing more can be done; gives the exit code.

        0: every worker stopped and nothing is repeated. 75: work was cut off, or workers died too often. 78
        or 2: a worker said so.
        """
        async with asyncio.TaskGroup() as tasks:
            for slot in self._slots:
                tasks.create_task(self._keep(slot), name=f"worker {slot.worker}")
        self._is_over = True
        return self._code

    def drain(self) -> None:
        """Ask all workers at once to finish what is in flight and to stop."""
        self._is_stopping.set()

    def hurry(self) -> None:
        """Ask them to wait no longer for what is in flight."""
        self._is_stopping.set()
        self._is_hurrying.set()

    def kill(self) -> None:
        """End all processes on the spot."""
        for slot in self._slots:
            if slot.process is not None:
                slot.process.kill()

    async def _keep(self, slot: _Slot) -> None:
        """Have a process in a slot until all is to stop."""
        while not self._is_stopping.is_set():
            started_s = self._clock.monotonic_s()
            slot.starts += 1
            succession = Succession.after(slot.dead)
            try:
                process = await self._starter.start(slot.worker, started_s, succession)
            except OSError as error:
                _log.warning("A worker could not be started.", worker=slot.worker, error=str(error))
                code, slot.last_end = TEMPORARY, f"could not be started: {error}"
            else:
                code = await self._attend(slot, process)
                slot.last_end = how_it_ended(code)
                slot.dead.append(succession.mark)  # only here: it was reaped, so it never writes again
            if self._is_stopping.is_set():
                return
            await self._pause(slot, code, self._clock.monotonic_s() - started_s)

    async def _attend(self, slot: _Slot, process: WorkerProcess) -> int:
        """Stay with a process until its end; gives its return code."""
        _log.info("A worker was started.", worker=slot.worker, pid=process.pid, restarts=slot.starts - 1)
        slot.process = process
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen(slot.worker, process))
                watching = tasks.create_task(self._watch(slot.worker, process))
                stopping = tasks.create_task(self._stop(slot.worker, process))
                code = await process.wait()
                await asyncio.wait((listening,), timeout=_LAST_WORDS_S)
                for task in (listening, watching, stopping):
                    task.cancel()
        finally:
            process.close()  # one that still runs, because this task was ended before it, drains then
            slot.process = None
            self._book.ended(slot.worker)
        if self._is_stopping.is_set():
            self._note_stop(slot.worker, process, code)
        return code

    async def _pause(self, slot: _Slot, code: int, lived_s: float) -> None:
        """Wait before a worker is started again, or find that it is over."""
        if is_final(code):
            _log.error(
                "A worker says that the configuration is wrong: starting again does not help, and all stop.",
                worker=slot.worker,
                ended=slot.last_end,
            )
            self._give_up(code)
            return
        wait_s = self._policy.died(slot.worker, self._clock.monotonic_s(), lived_s)
        if wait_s is None:
            limits = self._limits.restarts
            _log.error(
                "Workers died too often: all stop, and whoever runs inturn is told by the exit code.",
                worker=slot.worker,
                ended=slot.last_end,
                deaths_max=limits.deaths_max,
                window_s=limits.window_s,
            )
            self._give_up(TEMPORARY)
            return
        _log.warning(
            "A worker has ended and is started again. What it had not stored is done again with the same "
            "idempotency keys.",
            worker=slot.worker,
            ended=slot.last_end,
            wait_s=wait_s,
        )
        try:
            async with asyncio.timeout(wait_s):
                await self._is_stopping.wait()
        except TimeoutError:
            return

    def _give_up(self, code: int) -> None:
        if not self._is_stopping.is_set():
            self._code = code
        self.drain()

    def _note_stop(self, worker: str, process: WorkerProcess, code: int) -> None:
        """Judge the end of a worker that was asked for it."""
        # Before it has a handler of its own, the signal ends it as any program, and it has not begun.
        if code == 0 or (code == -signal.SIGTERM and process.report is None):
            return
        _log.warning("A worker did not stop cleanly.", worker=worker, ended=how_it_ended(code))
        self._code = self._code or (code if is_final(code) else TEMPORARY)

    # Beside each process.

    async def _listen(self, worker: str, process: WorkerProcess) -> None:
        """Take its reports until it closes the channel."""
        is_told = False
        while True:
            try:
                report = await receive(process.reader)
            except UnreadableReport as error:
                process.well_s = self._clock.monotonic_s()  # it turns, whatever it says
                if not is_told:
                    _log.error(
                        "A worker's reports cannot be read: was another version installed? It works, but "
                        "its numbers are missing. Start all of it again.",
                        worker=worker,
                        error=str(error),
                    )
                is_told = True
                continue
            except ValueError as error:
                _log.warning("What a worker sends is no report.", worker=worker, error=str(error))
                return
            if report is None:
                return
            process.heard(report, self._clock.monotonic_s())
            self._book.report(worker, report)

    async def _watch(self, worker: str, process: WorkerProcess) -> None:
        """Kill it once it has not been alive for too long."""
        limits = self._limits
        looked_s = self._clock.monotonic_s()
        while True:
            await asyncio.sleep(limits.look_s)
            now_s = self._clock.monotonic_s()
            if now_s - looked_s > limits.frozen_s:
                process.well_s = process.heard_s = now_s
            looked_s = now_s
            if now_s - process.well_s >= limits.hung_after_s:
                reasons = [] if process.report is None else process.report.not_live
                _log.error(
                    "A worker hangs: it is killed and started again.",
                    worker=worker,
                    pid=process.pid,
                    silent_s=round(now_s - process.heard_s, 1),
                    reasons=reasons,
                )
                process.kill()
                return

    async def _stop(self, worker: str, process: WorkerProcess) -> None:
        """Once all is to stop, ask it to; and see that it does."""
        await self._is_stopping.wait()
        process.stop()
        try:
            async with asyncio.timeout(self._limits.stop_s):
                await self._is_hurrying.wait()
                process.stop()
                await asyncio.Event().wait()  # for the limit, or the end
        except TimeoutError:
            _log.error(
                "A worker did not stop in time and is killed. What it had not stored is done again with the "
                "same idempotency keys.",
                worker=worker,
                pid=process.pid,
                limit_s=self._limits.stop_s,
            )
            process.kill()

    # Watching.

    @property
    def state(self) -> str:
        """running, draining or stopped."""
        if self._is_over:
            return "stopped"
        return "draining" if self._is_stopping.is_set() else "running"

    def workers(self) -> list[WorkerStatus]:
        """The workers as they are now."""
        now_s = self._clock.monotonic_s()
        return [self._status_of(slot, now_s) for slot in self._slots]

    def _status_of(self, slot: _Slot, now_s: float) -> WorkerStatus:
        process = slot.process
        silent_s = 0.0 if process is None else now_s - process.heard_s
        if process is None:
            state = "stopped" if self._is_stopping.is_set() else "waiting"
        elif process.report is None:
            state = "starting"
        else:
            state = "silent" if silent_s > self._limits.silent_after_s else process.report.status.state
        return WorkerStatus(
            worker=slot.worker,
            state=state,
            pid=None if process is None else process.pid,
            restarts=max(0, slot.starts - 1),
            up_s=0.0 if process is None else now_s - process.started_s,
            silent_s=silent_s,
            last_end=slot.last_end,
        )
