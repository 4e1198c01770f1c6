"""Run letters: those of a line one behind the other, lines side by side, every processor by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import msgspec
import structlog

from consumer.core.catalogue import Catalogue
from consumer.core.decode import Rejection
from consumer.core.stimuli import Verdict
from consumer.events import DeadLetter, Event, PartitionId, Reason
from consumer.redrive.adoption import Adopted, Adopter, refused
from consumer.redrive.lettered import event_of, group_and_replay
from consumer.redrive.pace import Pace
from consumer.runtime.attempts import Ending, RunningProcessor, Turn, run_attempts
from consumer.runtime.clock import Clock
from consumer.runtime.lease import Lease
from consumer.runtime.lifecycle import open_processor
from consumer.stores import DeadLetterStore, LetterFilter
from consumer.stores.letter_filter import Line, line_of

_LINES_AT_ONCE_MAX = 16
"""Lines of one processor that run side by side, if it allows so many."""
SELECTED_MAX = 100_000
"""Letters that one redrive takes; the rest is left for another one, and that is said."""
_SETTLE_S = 6.0
"""How long a redrive waits for more, if a consumer parks beside it, after the last letter of a line is gone:
the consumer asks every five seconds whether it is."""
_SETTLE_EVERY_S = 0.5

_log = structlog.get_logger("inturn.redrive")


@dataclass(slots=True)
class Tally:
    """What came of the letters of one processor."""

    redriven: int = 0
    failed: int = 0
    """Run and failed once more: they stay."""
    held_back: int = 0
    """Not run, so that they do not overtake one that stays."""


@dataclass(slots=True)
class Report:
    """What came of a redrive so far."""

    by_processor: dict[str, Tally] = field(default_factory=dict)
    refused: int = 0
    """Letters that are no event by today's rules either, or that nobody wants: they stay."""
    empty: int = 0
    """Letters in which there was no event: they are gone."""
    unknown: dict[str, int] = field(default_factory=dict)
    """Letters of processors that are not configured any more, by name: they stay."""
    total: int = 0
    """Letters to run, as far as is known."""
    has_more: bool = False
    """There are more than `SELECTED_MAX`."""

    def of(self, processor: str) -> Tally:
        """The tally of a processor."""
        return self.by_processor.setdefault(processor, Tally())

    @property
    def done(self) -> int:
        """Letters that were run."""
        return sum(each.redriven + each.failed for each in self.by_processor.values())

    @property
    def has_findings(self) -> bool:
        """Whether anything stays that was meant to go."""
        stays = any(each.failed or each.held_back for each in self.by_processor.values())
        return bool(stays or self.refused or self.unknown or self.has_more)


class Redrive:
    """One redrive; `run` carries it out, as far as it gets."""

    def __init__(
        self,
        store: DeadLetterStore,
        processors: Mapping[str, RunningProcessor],
        adopter: Adopter,
        catalogue: Catalogue,
        where: LetterFilter,
        pace: Pace,
        clock: Clock,
    ) -> None:
        """`processors` by name; `where` says which letters are meant."""
        self._store = store
        self._processors = processors
        self._adopter = adopter
        self._catalogue = catalogue
        self._where = where
        self._clock = clock
        self.pace = pace
        self.report = Report()
        self._adopted: set[str] = set()
        """Keys of letters that came of others which were meant."""
        self._waiting: dict[Line, None] = {}
        """Lines with letters to run, in the order in which they were found."""
        self._parking: dict[Line, None] = {}
        """Lines that were run to their end, behind which a consumer may park more."""
        self._is_parked_beside = False
        """A letter came while the redrive ran."""
        self._began_ms = clock.now_ms()

    async def run(self, lease: Lease) -> None:
        """Run what is meant, as long as `lease` lets attempts begin.

        Raises `StoreUnavailable`, `ProcessorSettingsError`.
        """
        await self._select()
        async with AsyncExitStack() as stack:
            is_open: set[str] = set()
            while self._waiting and not self.pace.is_over:
                waiting, self._waiting = self._waiting, {}
                for name in dict.fromkeys(line.processor for line in waiting):
                    if name not in is_open:
                        is_open.add(name)
                        await self.open(self._processors[name], stack)
                await self._run_side_by_side(waiting, lease)
                if not self._waiting:
                    await self.look_for_more()

    # What is meant.

    async def _select(self) -> None:
        """Find the lines in which letters are meant, and give a line to those that have none."""
        seen = 0
        async for letter in self._store.letters(limit=SELECTED_MAX, where=self._where):
            seen += 1
            if self.pace.is_stopped:
                return
            await self._sort_in(letter)
        self.report.has_more = seen >= SELECTED_MAX

    async def _sort_in(self, letter: DeadLetter) -> None:
        if letter.processor is not None and letter.processor not in self._processors:
            self.report.unknown[letter.processor] = self.report.unknown.get(letter.processor, 0) + 1
            return
        line = line_of(letter)
        if line is None:
            await self._adopt(letter)
            return
        self._waiting[line] = None
        self.report.total += 1

    async def _adopt(self, letter: DeadLetter) -> None:
        adopted = self._adopter.adopt(letter)
        await self.write_adopted(letter, adopted)
        self.report.empty += adopted.is_nothing
        self._take_in([*adopted.letters] if adopted.anew is None else [adopted.anew])

    def _take_in(self, letters: Sequence[DeadLetter]) -> None:
        """Have letters run that came of others which were meant."""
        for each in letters:
            line = line_of(each)
            if line is None:
                self.report.refused += 1
                continue
            self._adopted.add(each.key)
            self._waiting[line] = None
            self.report.total += 1

    # Lines side by side.

    async def _run_side_by_side(self, lines: Mapping[Line, None], lease: Lease) -> None:
        by_processor: dict[str, list[Line]] = {}
        for line in lines:
            by_processor.setdefault(line.processor, []).append(line)
        async with asyncio.TaskGroup() as tasks:
            for name, queue in by_processor.items():
                queue.reverse()
                lanes = min(self._processors[name].concurrency, _LINES_AT_ONCE_MAX, len(queue))
                for number in range(lanes):
                    tasks.create_task(self._work(queue, lease), name=f"redrive {name}/{number}")

    async def _work(self, queue: list[Line], lease: Lease) -> None:
        turn = Turn(lease, self._clock, 0)
        try:
            while queue and not self.pace.is_over:
                await self._run_line(queue.pop(), turn)
        finally:
            turn.deadline.close()

    # One line.

    async def _run_line(self, line: Line, turn: Turn) -> None:
        """Run what is meant in a line until it is empty, or a letter stays that nothing may overtake."""
        passed: set[str] = set()
        has_run = False
        while True:
            found = False
            where = LetterFilter(line=line)
            async for letter, is_last in _with_last(self._store.letters(limit=SELECTED_MAX, where=where)):
                if letter.key in passed:
                    continue
                passed.add(letter.key)
                if not self._is_meant(letter, has_run=has_run):
                    if self._processors[line.processor].plan.parks:
                        await self._hold_back(line, 0)
                        return
                    continue
                if not await self.pace.begin():
                    return
                self._is_parked_beside |= letter.dead_lettered_at_ms >= self._began_ms
                if not await self._run_letter(letter, turn, is_last=is_last):
                    await self._hold_back(line, 1)
                    return
                found = has_run = True
            if not found or not self._store.is_indexed:  # then nobody parks, and to look again is dear
                break
        if has_run and self._processors[line.processor].plan.parks:
            self._parking[line] = None

    def _is_meant(self, letter: DeadLetter, *, has_run: bool) -> bool:
        """Whether a letter is to be run: asked for, or parked behind one that was."""
        follows = has_run and letter.reason is Reason.PARKED
        return follows or letter.key in self._adopted or self._where.matches(letter)

    async def _run_letter(self, letter: DeadLetter, turn: Turn, *, is_last: bool) -> bool:
        """Run one letter, and tell whether those behind it may be run."""
        assert letter.processor is not None
        event = event_of(letter, self._catalogue)
        if isinstance(event, Rejection):
            anew = refused(letter, event)
        else:
            if not is_last:
                event = msgspec.structs.replace(event, is_latest=False)
            processor = self._processor_of(letter)
            ending = await self.attempt(letter, event, processor, turn)
            if ending.verdict is Verdict.HANDLED:
                self.report.of(letter.processor).redriven += 1
                return True
            anew = msgspec.structs.replace(
                letter,
                reason=ending.reason or letter.reason,
                error=ending.error,
                attempts=letter.attempts + ending.attempts,
            )
        self.report.of(letter.processor).failed += 1
        await self.write_failed(anew)
        return False

    def _processor_of(self, letter: DeadLetter) -> RunningProcessor:
        """The processor as it was at the letter's event, with its keys; its attempts have an end."""
        assert letter.processor is not None
        processor = self._processors[letter.processor]
        group, replay_id = group_and_replay(letter.partition.group)
        return replace(
            processor, group=group, replay_id=replay_id, retry=replace(processor.retry, block=False)
        )

    # What changes anything: a rehearsal does other things here.

    async def open(self, processor: RunningProcessor, stack: AsyncExitStack) -> None:
        """Get a processor ready."""
        await open_processor(processor, stack)

    async def attempt(
        self, letter: DeadLetter, event: Event, processor: RunningProcessor, turn: Turn
    ) -> Ending:
        """Give an event to its processor, and remove the letter if it is handled."""
        ending = await run_attempts(processor, [event], turn)
        assert ending is not None, "an event alone has a verdict"
        if ending.verdict is Verdict.HANDLED:
            emitted = self._adopter.emitted(letter, event, ending.emitted)
            if emitted:  # before the letter goes: it is what they could be made of again
                await self._store.put(emitted)
                self._take_in(emitted)
            await self._store.remove([letter])
        return ending

    async def write_failed(self, letter: DeadLetter) -> None:
        """Write down how a letter failed once more."""
        await self._store.replace(letter)

    async def write_adopted(self, letter: DeadLetter, adopted: Adopted) -> None:
        """Write down what becomes of a letter; what takes its place is there before it goes."""
        if adopted.letters:
            await self._store.put(adopted.letters)
        if adopted.anew is None:
            await self._store.remove([letter])
        else:
            await self._store.replace(adopted.anew)

    async def _hold_back(self, line: Line, stays: int) -> None:
        """Count what stays behind a letter that was not run, or failed."""
        behind = await self._store.count(LetterFilter(line=line)) - stays
        self.report.of(line.processor).held_back += max(0, behind)

    # What a consumer parks meanwhile.

    async def look_for_more(self) -> None:
        """Look whether a consumer has parked more behind lines that are done, until it sees them empty."""
        waited_s = 0.0
        while self._parking and not self.pace.is_over:
            for line in list(self._parking):
                if await self._holds(line):
                    del self._parking[line]
                    self._waiting[line] = None
                    self._is_parked_beside = True
            if self._waiting or not self._is_parked_beside or waited_s >= _SETTLE_S:
                return
            await self.pace.pause(_SETTLE_EVERY_S)
            waited_s += _SETTLE_EVERY_S

    async def _holds(self, line: Line) -> bool:
        partition = PartitionId(line.namespace, line.hub, line.group, "")
        return await self._store.holds(partition, line.processor, line.topic, line.object_path)


async def _with_last(letters: AsyncIterator[DeadLetter]) -> AsyncIterator[tuple[DeadLetter, bool]]:
    """Letters, each with whether it is the last one."""
    before: DeadLetter | None = None
    async for letter in letters:
        if before is not None:
            yield before, False
        before = letter
    if before is not None:
        yield before, True
