"""Walk round the partitions of a session: who owns them, are they read, how far is the hub.

What it finds it mends by renewing one partition, or by having the client replaced.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from consumer.errors import SourceUnavailable, StoreUnavailable
from consumer.sources.eventhub_client import ANSWER_TIMEOUT_S, all_of
from consumer.sources.eventhub_errors import Outgrown
from consumer.sources.eventhub_internals import DELIVERIES_MAX_UNSEEN, Upkeep, is_known
from consumer.sources.eventhub_lease import Lease
from consumer.sources.eventhub_watchdog import SILENCE_S, Condition, Limits, judge

if TYPE_CHECKING:
    from consumer.sources.eventhub_session import Session, SessionParts

_LOOK_EVERY_S = 0.5
_POLL_EVERY_S = 30.0
"""How often the hub is asked for its newest events, so that the lag is right when nothing arrives."""
_WISHES_EVERY_S = 0.2
"""The shortest time between two rounds of questions that somebody waits for."""
_REST = 4
"""So many times as long as a round took nothing is asked: a question costs a connection, 50 ms of a core."""
_POLL_AGAIN_S = 2.0
_SHOWS_ITSELF_S = 1.0
"""In this time the first event after a checkpoint usually shows that the hub has more than that."""
_TURNS_MISSED_MAX = 3
_LOOKS_MISSED_MAX = 3
_ATTEMPT_S = 1.0
_PATIENCE = 2
"""A receiver may take so many times as long to connect as the hub took to answer a question, and a second."""

_log = structlog.get_logger("inturn.eventhub")


class Patrol:
    """The rounds of one session."""

    def __init__(self, parts: SessionParts, session: Session) -> None:
        settings = parts.settings
        self._parts = parts
        self._session = session
        self._now_s = parts.monotonic_s
        self._poll_every_s = min(_POLL_EVERY_S, settings.stall_after_s / 2)
        unseen = settings.deliveries_max if is_known() else DELIVERIES_MAX_UNSEEN
        self._limits = Limits(settings.stall_after_s, min(settings.deliveries_max, unseen))
        self._heard_s = self._now_s()
        """When the hub last answered a question."""
        self._upkeep = Upkeep()
        self._partition_ids: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None

    def verify(self, lease: Lease) -> None:
        """Ask the hub whether a partition's checkpoint belongs to its log, while the link is being opened."""
        if self._tasks is not None:
            self._tasks.create_task(self._verify(lease))

    async def _verify(self, lease: Lease) -> None:
        """Nothing is handed over before this is through, unless what comes shows it by itself."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SHOWS_ITSELF_S):
                await lease.is_verified.wait()
        while not (lease.is_over or lease.is_verified.is_set()):
            after = lease.guard.last
            try:
                told = await self._parts.inquiry.partition(lease.partition)
            except SourceUnavailable:
                await asyncio.sleep(_POLL_AGAIN_S)
                continue
            self._parts.readings.heard_of(lease.partition, told.newest)
            if after <= told.newest:
                lease.is_verified.set()
                return
            problem = (
                f"its checkpoint ({after}) lies beyond the newest event ({told.newest}): "
                "the hub was made anew, or the state belongs to another one"
            )
            self._tell(lease, problem)
            await self._renew(lease)

    def halt(self, lease: Lease, problem: str) -> None:
        """Give up a partition whose log was found to be another one, until somebody has seen to it."""
        if lease.is_over or self._tasks is None:
            return
        self._parts.readings.foreign[lease.partition] = None
        self._tell(lease, f"{problem}. Move its checkpoint with `inturn checkpoint rewind`")
        lease.is_over = True
        self._tasks.create_task(self._renew(lease))

    def _tell(self, lease: Lease, problem: str) -> None:
        _log.error("A partition cannot be read.", partition=lease.partition, problem=problem)
        self._parts.readings.problems[lease.partition] = problem

    async def run(self) -> None:
        """Walk until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._watch_ownership(tasks))
            tasks.create_task(self._poll())
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                await self._look(tasks)

    async def _watch_ownership(self, tasks: asyncio.TaskGroup) -> None:
        """Notice a partition that another owner has (D2), or asks for: links do not say so in time."""
        ledger = self._session.ledger
        while True:
            try:
                async with asyncio.timeout(_LOOKS_MISSED_MAX * ledger.tempo.look_s):
                    await ledger.looked.wait()
                ledger.looked.clear()
            except TimeoutError:
                # The client is stuck. If the store is away, the engine falls silent by itself after a while.
                with suppress(StoreUnavailable):
                    await ledger.look()
            for partition in ledger.taken():
                lease = self._session.leases.get(partition)
                if lease is not None and not lease.is_over:
                    _log.info("Another owner has taken a partition.", partition=partition)
                    self._lose(lease, tasks)
            for partition in ledger.wanted():
                lease = self._session.leases.get(partition)
                if lease is not None and not lease.is_over:
                    _log.info("Another replica asks for a partition; it is handed over.", partition=partition)
                    tasks.create_task(self._renew(lease))

    def _lose(self, lease: Lease, tasks: asyncio.TaskGroup) -> None:
        lease.is_over = lease.is_lost = True
        tasks.create_task(self._session.give_up(lease, lost=True))

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        if self._session.client is not None:
            self._upkeep.tidy(self._session.client)
        turn_age_s = self._now_s() - self._session.ledger.turned_s
        if turn_age_s > _TURNS_MISSED_MAX * self._parts.settings.load_balancing_interval_s + ANSWER_TIMEOUT_S:
            self._session.fail(SourceUnavailable("The client does not share partitions out any more."))
            return
        silent = []
        for lease in list(self._session.leases.values()):
            if not lease.is_over and self._parts.intake.is_lost(lease.partition):
                self._lose(lease, tasks)
                continue
            match self._judge(lease):
                case Condition.SILENT:
                    silent.append(lease)
                case Condition.STALLED:
                    _log.warning(
                        "The hub has more events and none of them come; the partition is opened anew.",
                        partition=lease.partition,
                        received=lease.guard.last,
                        newest=self._parts.readings.newest.get(lease.partition),
                    )
                    tasks.create_task(self._renew(lease))
                case Condition.WORN:
                    _log.info("A long-lived link is opened anew.", partition=lease.partition)
                    tasks.create_task(self._renew(lease))
        # Links that wait for their turn are late by our own doing; a question is one more connection.
        if silent and not self._session.credential.waiting:
            await self._ask_after(silent, tasks)

    def _judge(self, lease: Lease) -> Condition:
        if lease.is_over:
            return Condition.WELL
        readings, intake = self._parts.readings, self._parts.intake
        waits = readings.is_stopped or intake.is_paused(lease.partition)
        now_s = self._now_s()
        if waits:
            # Silence is our own doing: it is counted again from the moment that we can take something.
            lease.progressed(readings.newest.get(lease.partition), now_s)
        return judge(lease.signs(is_waiting_for_us=waits), self._limits, now_s)

    async def _ask_after(self, silent: list[Lease], tasks: asyncio.TaskGroup) -> None:
        """The client connects again and again, as fast as it can. If the hub is away, stop it (D5b)."""
        asked_s = self._now_s()
        try:
            await self._parts.inquiry.partition_ids()
        except SourceUnavailable as error:
            self._session.fail(error)
            return
        now_s = self._now_s()
        # An answer takes as many round trips as a link. On a slow line both need their time.
        slowness_s = _PATIENCE * (now_s - asked_s)
        for lease in silent:
            if self._judge(lease) is not Condition.SILENT:
                continue
            silent_s = now_s - lease.signs(is_waiting_for_us=False).heard_s
            if lease.opening is not None and silent_s < ANSWER_TIMEOUT_S:
                # It may have begun while the hub was away, and would wait until its time is up.
                lease.opening.abandon(after_s=_ATTEMPT_S + slowness_s)
            elif silent_s > SILENCE_S + slowness_s:
                _log.warning("A receiver cannot connect; it is opened anew.", partition=lease.partition)
                tasks.create_task(self._renew(lease))

    async def _renew(self, lease: Lease) -> None:
        lease.is_over = True
        await self._session.renew(lease)

    async def _poll(self) -> None:
        while True:
            is_answered = await self._ask_for_newest()
            poll_at_s = self._now_s() + (self._poll_every_s if is_answered else _POLL_AGAIN_S)
            while (wait_s := poll_at_s - self._now_s()) > 0:
                try:
                    async with asyncio.timeout(wait_s):
                        await self._parts.readings.has_wishes.wait()
                except TimeoutError:
                    break
                asked_s = self._now_s()
                await self._answer_wishes()
                await asyncio.sleep(max(_WISHES_EVERY_S, _REST * (self._now_s() - asked_s)))

    async def _answer_wishes(self) -> None:
        """Ask for what somebody waits for, who asks again if no answer comes; the poll finds a hub away."""
        readings = self._parts.readings
        readings.has_wishes.clear()
        wishes, readings.wishes = readings.wishes, set()
        with suppress(SourceUnavailable):
            await all_of([self._ask(lease) for name, lease in self._session.leases.items() if name in wishes])

    async def _ask(self, lease: Lease) -> None:
        asked_ms = time.time_ns() // 1_000_000
        last = lease.guard.last
        told = await self._parts.inquiry.partition(lease.partition)
        if told.newest < last:
            if lease.is_verified.is_set():  # until then it is the checkpoint that lies beyond: see `verify`
                came = f"its newest event is {told.newest}, and {last} has come already"
                self.halt(lease, f"the hub was made anew: {came}")
            return
        self._parts.readings.heard_of(lease.partition, told.newest)
        self._parts.readings.asked_ms[lease.partition] = asked_ms
        lease.look_at(None if told.is_empty else told.newest, self._now_s())

    async def _ask_for_newest(self) -> bool:
        """Ask; says whether the hub has answered."""
        try:
            ids = set(await self._parts.inquiry.partition_ids())
            if self._partition_ids and ids - self._partition_ids:
                # The client asks only once which partitions there are.
                self._session.fail(Outgrown("The hub has more partitions than it had."))
                return True
            self._partition_ids = ids
            for lease in list(self._session.leases.values()):
                await self._ask(lease)
        except SourceUnavailable as error:
            # Receivers may well go on: give the hub as long as a stall is given.
            if self._now_s() - self._heard_s > self._parts.settings.stall_after_s + ANSWER_TIMEOUT_S:
                self._session.fail(error)
            return False
        self._heard_s = self._now_s()
        return True
