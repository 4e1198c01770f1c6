"""Read Kafka topics with Faust, embedded in this process; re-key them where an object's events are spread.

The group shares out the partitions of both topics. A partition of the source topic is sent on
(`faust_rekey`), a partition of the topic that pipelines read feeds the intake (`faust_feed`). What stock
Faust (0.15) gets wrong, and the answer:

F1   A refused produce is forgotten and its event committed. — Each future is awaited before the message
     counts as done, and the first refusal ends the process with exit code 75 (`Rekeyer`).
     An event that is too large for the topic is a dead letter instead: it would be refused for ever.
F2   Acknowledgements overtake unfinished events. — Commits come from the stored checkpoint alone (`Inlet`).
F3   An exception in an agent drops its event. — There are no agents. A reader's error is told, or ends us.
F4   State is durable before what follows from it. — There are no tables: state and checkpoint are one write.
F5   A topic that is missing is waited for in silence. — It is looked for first (`faust_preflight`).
F6   A worker that stands still stays in the group. — `_watch` ends the process when nothing comes, though
     there is more, or when a rebalance does not end.
F7   Positions come from the group, which an old owner may still write to. — They come from the fenced store.
F8   Faust may hang in its own stop. — It gets `_STOP_S`; then the process goes without it.
F9   A rebalance that comes while it stops takes the client for closed, which stays in the group until its
     session runs out. — It is left to the stop that is under way (`Inlet.close`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from consumer.errors import SourceUnavailable
from consumer.events import Checkpoint
from consumer.sources import Intake
from consumer.sources.faust_app import make_app
from consumer.sources.faust_board import BoardParts, FaustBoard
from consumer.sources.faust_feed import Feed
from consumer.sources.faust_inquiry import Inquiry
from consumer.sources.faust_metrics import FaustCollector
from consumer.sources.faust_preflight import largest_batch, partition_counts
from consumer.sources.faust_reader import TROUBLES
from consumer.sources.faust_rekey import Rekeying
from consumer.sources.faust_sending import Sender
from consumer.sources.faust_settings import FaustSettings

if TYPE_CHECKING:
    import faust

_WATCH_EVERY_S = 2.0
_REBALANCE_MAX_S = 180.0
"""Three times what a rebalance may take."""
_STOP_S = 15.0
_SIGN_OF_LIFE_S = 5.0

_log = structlog.get_logger("inturn.kafka")


class FaustSource:
    """Reads the partitions that the group gives this replica."""

    def __init__(self, settings: FaustSettings, rekeying: Rekeying) -> None:
        """`rekeying` finds the events in a message, and their objects."""
        self._settings = settings
        self._rekeying = rekeying
        self._board: FaustBoard | None = None
        self._app: faust.App | None = None
        self.collector = FaustCollector(lambda: self._board)
        """For Prometheus."""
        self._problems: dict[str, str] = {}
        self._trouble: str | None = None
        self._asked_ms: dict[str, int] = {}
        self._newest: dict[str, int] = {}
        self._wanted = asyncio.Event()
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()

    def __repr__(self) -> str:
        return f"FaustSource({self._settings.bootstrap}/{self._settings.topic}, {self._settings.group})"

    # What is known.

    @property
    def problems(self) -> Mapping[str, str]:
        """Partitions that cannot be read until somebody acts, and why."""
        return dict(self._problems)

    @property
    def trouble(self) -> str | None:
        """What keeps it from reading at all just now."""
        board = self._board
        if board is None or not board.was_assigned:
            return "the group has not given this replica its partitions yet"
        if board.failure is not None:
            return str(board.failure)
        return None if self._trouble is None else f"Kafka does not answer: {self._trouble}"

    def newest(self, partition: str) -> int | None:
        """The newest offset of a partition, as far as the brokers have told; None if they have not."""
        reader = self._reader(partition)
        fetched = None if reader is None else reader.newest
        told = [each for each in (self._newest.get(partition), fetched) if each is not None]
        return max(told, default=None)

    def asked_ms(self, partition: str) -> int:
        """When the brokers last said what is newest in a partition, by the local clock; 0: never.

        That a re-key partition has no more says nothing of the topic behind it: log time comes by marks.
        """
        return 0 if self._settings.rekey_topic is not None else self._asked_ms.get(partition, 0)

    def ask(self, partition: str) -> None:  # noqa: ARG002 - all are asked at once
        """Have the brokers asked for their newest offsets soon."""
        self._wanted.set()

    def stored(self, partition: str, checkpoint: Checkpoint) -> None:
        """The checkpoint of a partition is stored: it may be acknowledged."""
        reader = self._reader(partition)
        if self._board is not None and reader is not None and checkpoint.sequence_number >= 0:
            # Kafka names the next message, we the last one that is done.
            self._board.note_done(reader.partition, checkpoint.sequence_number + 1)

    # Running.

    async def run(self, intake: Intake) -> None:
        """Read until `close`. Raises `ConfigurationError`, `SourceUnavailable`."""
        if self._closing.is_set():
            return
        self._ended.clear()
        try:
            counts = await partition_counts(self._settings)
            inquiry = Inquiry(self._settings)
            sender = Sender(self._settings, counts[self._settings.read_topic], self._ask_limit)
            try:
                await self._connect(inquiry)
                await sender.learn_limit()
                async with asyncio.TaskGroup() as tasks:
                    told = self._settings, intake, tasks, self._rekeying
                    await self._read(BoardParts(*told, counts, inquiry, sender, self._say))
            finally:
                await sender.stop()
                await inquiry.stop()
        finally:
            self._ended.set()
        if self._board is not None and self._board.failure is not None:
            raise self._board.failure

    def stop(self) -> None:
        """Hand over nothing new from now on. Partitions stay ours until `close`."""
        if self._board is not None:
            self._board.stop()

    async def close(self) -> None:
        """Give every partition back, drained; `run` has ended when this returns."""
        self.stop()
        self._closing.set()
        await self._ended.wait()

    async def _connect(self, inquiry: Inquiry) -> None:
        try:
            await inquiry.start()
        except TROUBLES as error:
            message = f"Kafka at {self._settings.bootstrap} does not answer: {error or type(error).__name__}"
            raise SourceUnavailable(message) from error

    async def _ask_limit(self) -> int | None:
        topic = self._settings.rekey_topic
        return None if topic is None else await largest_batch(self._settings, topic)

    async def _read(self, parts: BoardParts) -> None:
        tasks = parts.tasks
        board = self._board = FaustBoard(parts)
        sender = parts.sender
        app = make_app(self._settings, board, self.collector.monitor, sender.batch_bytes)
        self._app = board.app = app
        sender.producer = app.producer
        beside = [
            tasks.create_task(task, name=name)
            for name, task in {
                "start Faust": app.start(),
                "watch Kafka": self._watch(board, app),
                "ask Kafka": self._ask(board),
                "crash of Faust": self._see_crash(board, app),
            }.items()
        ]
        ends = [tasks.create_task(self._closing.wait()), tasks.create_task(board.has_failed.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*ends, *beside):
                task.cancel()
            board.stop()
            await board.revoked()
            await self._stop_app(app)

    async def _stop_app(self, app: faust.App) -> None:
        try:
            async with asyncio.timeout(_STOP_S):
                await app.consumer.commit()
                await app.stop()
        except TimeoutError:
            _log.error("Faust does not stop; the process goes on without it.", waited_s=_STOP_S)

    async def _see_crash(self, board: FaustBoard, app: faust.App) -> None:
        await app._crashed.wait()  # noqa: SLF001 - there is no other way to see it as it happens
        reason = app.crash_reason
        board.fail(SourceUnavailable(f"Faust has given up: {reason or type(reason).__name__}"))

    # Looking after it.

    async def _watch(self, board: FaustBoard, app: faust.App) -> None:
        """End the source when it stands still: the orchestrator starts it again, in a better state."""
        calm_s = time.monotonic()
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            now_s = time.monotonic()
            if not app.rebalancing:
                calm_s = now_s
            elif now_s - calm_s > _REBALANCE_MAX_S:
                board.fail(SourceUnavailable(f"A rebalance has not ended after {now_s - calm_s:.0f} s."))
            for partition, reader in board.readers.items():
                newest, following = reader.newest, reader.next_offset
                waits_for_store = following is None and isinstance(reader, Feed)
                if board.is_stopped or waits_for_store:
                    reader.moved_s = now_s
                if reader.is_held_up or (newest is not None and following is not None and following > newest):
                    reader.moved_s = now_s
                elif now_s - reader.moved_s > self._settings.stall_after_s:
                    board.fail(
                        SourceUnavailable(
                            f"Nothing has come from {partition.topic}/{partition.partition} for "
                            f"{now_s - reader.moved_s:.0f} s, though it goes on to {newest}."
                        )
                    )

    async def _ask(self, board: FaustBoard) -> None:
        """Ask for the newest offsets when somebody wants to know, and now and then for a sign of life."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SIGN_OF_LIFE_S):
                    await self._wanted.wait()
            self._wanted.clear()
            partitions = [tp for tp in board.readers if tp.topic == self._settings.read_topic]
            if not partitions:
                continue
            asked_ms = time.time_ns() // 1_000_000
            try:
                ends = await board.inquiry.ends(partitions)
            except TROUBLES as error:
                self._note_trouble(str(error) or type(error).__name__)
                continue
            self._note_trouble(None)
            for tp, end in ends.items():
                self._newest[str(tp.partition)] = end - 1
                self._asked_ms[str(tp.partition)] = asked_ms
            await asyncio.sleep(_WATCH_EVERY_S / 10)

    def _note_trouble(self, error: str | None) -> None:
        if error is not None and self._trouble is None:
            _log.warning("Kafka does not answer; its clients try again until it does.", error=error)
        if error is None and self._trouble is not None:
            _log.info("Kafka answers again.")
        self._trouble = error

    def _reader(self, partition: str) -> Feed | None:
        if self._board is None:
            return None
        for tp, reader in self._board.readers.items():
            if isinstance(reader, Feed) and str(tp.partition) == partition:
                return reader
        return None

    def _say(self, partition: str, problem: str | None) -> None:
        if problem is None:
            self._problems.pop(partition, None)
        else:
            self._problems[partition] = problem
