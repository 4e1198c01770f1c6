"""Store checkpoints and dead letters: one write at a time each, tried until it is certain."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from consumer.core.decode import Rejection
from consumer.core.effects import Letter
from consumer.core.snapshot import Snapshot, decode, encode
from consumer.errors import CorruptState, FenceLost, InturnError, StoreUnavailable
from consumer.events import Checkpoint, DeadLetter, Event, ObjectId, PartitionId, Reason
from consumer.runtime.clock import Clock
from consumer.stores import CheckpointStore, CopyKind, DeadLetterStore

_log = structlog.get_logger("inturn.partition")

KEEP_EVERY_S = 60.0
"""How often a copy of the stored state is put aside, at most: a copy is a second write."""
_TOGETHER_MAX = 100
"""Letters that are stored together: one that cannot be stored has all of them tried again."""
_BACKOFF_S = 0.5
_BACKOFF_MAX_S = 30.0
_BEFORE_ALL = (-1, -1)


class CheckpointWriter:
    """Writes the state of one partition, fenced by the version that was read on assignment."""

    def __init__(self, store: CheckpointStore, partition: PartitionId, fence: str) -> None:
        self._store = store
        self._partition = partition
        self._fence = fence
        self.on_stored: Callable[[Checkpoint], None] = lambda _: None
        self._uncertain: bytes | None = None
        """What may or may not have been stored by a write whose result is unknown."""
        self._copy: tuple[Checkpoint, bytes] | None = None
        self._has_copy = asyncio.Event()
        self._wants_copy = True
        self._access = asyncio.Lock()
        """A look at the fence while a write changes it would take our own version for another owner's."""

    async def write(self, snapshot: Snapshot) -> None:
        """Store a snapshot with its checkpoint. Raises `FenceLost`, `StoreUnavailable`."""
        # Deflating a large state takes long enough to hold up every partition of the process.
        body = await asyncio.to_thread(encode, snapshot)
        async with self._access:
            if self._uncertain is not None:
                await self._settle_uncertainty(self._uncertain)
            try:
                self._fence = await self._store.save(self._partition, snapshot.checkpoint, body, self._fence)
            except StoreUnavailable:
                self._uncertain = body
                raise
        self.on_stored(snapshot.checkpoint)
        self.offer_copy(snapshot.checkpoint, body)

    async def prove(self) -> None:
        """Make sure that the stored state is still ours. Raises `FenceLost`, `StoreUnavailable`."""
        async with self._access:
            if self._uncertain is not None:
                await self._settle_uncertainty(self._uncertain)
            elif not await self._store.is_current(self._partition, self._fence):
                raise FenceLost(
                    f"Another owner has written the state of partition {self._partition.partition}."
                )

    def offer_copy(self, checkpoint: Checkpoint, body: bytes) -> None:
        """Say what has been stored; it is put aside by `keep_copies` if it is time for that."""
        if self._wants_copy:
            self._wants_copy = False
            self._copy = (checkpoint, body)
            self._has_copy.set()

    async def keep_copies(self) -> None:
        """Put copies of what is stored aside, every minute at most; runs beside the writes, until cancelled.

        A copy that cannot be kept is a warning, since nothing depends on it yet.
        """
        while True:
            await self._has_copy.wait()
            self._has_copy.clear()
            copy, self._copy = self._copy, None
            if copy is not None:
                await self._keep(*copy)
                copy = None  # a large state need not be in memory for a minute
            await asyncio.sleep(KEEP_EVERY_S)
            self._wants_copy = True

    async def _keep(self, checkpoint: Checkpoint, body: bytes) -> None:
        place = {"partition": self._partition.partition, "checkpoint": checkpoint.sequence_number}
        try:
            await asyncio.to_thread(decode, body)
            await self._store.keep(self._partition, checkpoint, body, CopyKind.GOOD)
        except CorruptState as error:
            _log.error("The state that was stored cannot be read back.", **place, error=str(error))
        except InturnError as error:
            _log.warning("No copy of the state could be kept; going on.", **place, error=str(error))

    async def _settle_uncertainty(self, body: bytes) -> None:
        """Look whether the last write took effect; a blind second one would be refused by our own first."""
        stored = await self._store.load(self._partition)
        if stored.fence != self._fence:
            if stored.snapshot != body:
                raise FenceLost(
                    f"Another owner has written the state of partition {self._partition.partition}."
                )
            self._fence = stored.fence
        self._uncertain = None


_TELL_EVERY_S = 60.0
"""Between two lines on letters of one processor and reason; the second counts what came in between."""


class DeadLetterWriter:
    """Puts dead letters aside; while the store is away it tries on, and the source ends up paused."""

    def __init__(
        self, store: DeadLetterStore, partition: PartitionId, names: list[str], clock: Clock
    ) -> None:
        self._store = store
        self._partition = partition
        self._names = names
        self._clock = clock
        self._moment_ms = 0
        """When the last letter was put aside."""
        self._places: dict[tuple[int, ObjectId | None], tuple[int, int]] = {}
        """Where the events of the last letters of this moment were, by processor and object."""
        self._told: dict[tuple[str | None, Reason], tuple[float, int]] = {}
        """When letters were last told of, on the monotonic clock, and how many came since."""

    @staticmethod
    def take(waiting: deque[Letter]) -> list[Letter]:
        """Take out of what waits what is to be written together."""
        return [waiting.popleft() for _ in range(min(len(waiting), _TOGETHER_MAX))]

    async def write(self, letters: list[Letter], may_write: Callable[[], Awaitable[None]]) -> None:
        """Store letters durably; returns only then. Waits for `may_write` before every try."""
        written = [self._letter(letter, self._time_ms(letter)) for letter in letters]
        wait_s = _BACKOFF_S
        while True:
            await may_write()
            try:
                await self._store.put(written)
            except StoreUnavailable as error:
                _log.warning(
                    "Dead letters cannot be stored; trying again.",
                    partition=self._partition.partition,
                    letters=len(written),
                    wait_s=wait_s,
                    error=str(error),
                )
                await asyncio.sleep(wait_s * (0.5 + self._clock.jitter() / 2))
                wait_s = min(wait_s * 2, _BACKOFF_MAX_S)
            else:
                self._tell(written)
                return

    def _tell(self, letters: list[DeadLetter]) -> None:
        """Say what was put aside: a line a minute for each processor and reason, with one letter of it."""
        alike: dict[tuple[str | None, Reason], list[DeadLetter]] = {}
        for letter in letters:
            alike.setdefault((letter.processor, letter.reason), []).append(letter)
        now_s = self._clock.monotonic_s()
        for (processor, reason), group in alike.items():
            told_s, untold = self._told.get((processor, reason), (-_TELL_EVERY_S, 0))
            count = untold + len(group)
            if now_s - told_s < _TELL_EVERY_S:
                self._told[processor, reason] = told_s, count
                continue
            self._told[processor, reason] = now_s, 0
            _log.warning(
                "Events were put aside: see inturn dlq list.",
                partition=self._partition.partition,
                processor=processor,
                reason=reason.value,
                letters=count,
                key=group[0].key,
                sequence_number=group[0].position.sequence_number,
                error=group[0].error,
            )

    async def holds(self, processor: int, object_id: ObjectId) -> bool:
        """Whether there is a letter of a processor and an object. Raises `StoreUnavailable`."""
        return await self._store.holds(self._partition, self._names[processor], *object_id)

    def _time_ms(self, letter: Letter) -> int:
        """The time of a letter: letters are redriven by it, and those of one moment by their positions.

        So one that comes after another of its processor and object, but stands no further in the
        partition, is later. Over a change of the owner that is so as far as their clocks agree.
        """
        now_ms = self._clock.now_ms()
        subject = letter.subject
        place = subject.position.sequence_number, subject.position.index
        line = letter.processor, subject.object_id if isinstance(subject, Event) else None
        if now_ms > self._moment_ms or self._places.get(line, _BEFORE_ALL) >= place:
            self._moment_ms = max(now_ms, self._moment_ms + 1)
            self._places.clear()
        self._places[line] = place
        return self._moment_ms

    def _letter(self, letter: Letter, now_ms: int) -> DeadLetter:
        subject = letter.subject
        event_id, event_type = (
            (subject.event_id, subject.event_type)
            if isinstance(subject, Rejection)
            else (subject.id, subject.type)
        )
        processor = self._names[letter.processor] if letter.processor >= 0 else None
        event = None if isinstance(subject, Rejection) else subject
        return DeadLetter(
            key=self._key(letter, processor or ""),
            partition=self._partition,
            position=subject.position,
            reason=letter.reason,
            error=letter.error,
            original=subject.original,
            enqueued_time_ms=subject.enqueued_time_ms,
            dead_lettered_at_ms=now_ms,
            processor=processor,
            attempts=letter.attempts,
            event_id=event_id,
            event_type=event_type,
            topic=subject.topic,
            subject=subject.subject,
            object_path="" if event is None else event.object_path,
            partition_key=None if event is None else event.partition_key,
            stale=event is not None and event.stale,
        )

    def _key(self, letter: Letter, processor: str) -> str:
        """The same for the same failure, however often it is written; another one in a recreated hub."""
        position = letter.subject.position
        place = (*self._partition, str(position.sequence_number), str(position.index), processor)
        digest = hashlib.sha256("\x1f".join(place).encode())
        digest.update(letter.subject.original)
        return urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")
