"""Ask the store whether parked objects still have dead letters, and keep lanes from attempting their events.

Others redrive and purge, so only the store knows when the last letter of an object is gone. What was parked
before the partition was taken may be free since: until the store has answered once, its events wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from consumer.core import stimuli
from consumer.core.parking import Answer, Parked, ParkedObjects
from consumer.errors import StoreUnavailable
from consumer.events import Event, ObjectId
from consumer.runtime.clock import Clock

_log = structlog.get_logger("inturn.partition")

_ASK_EVERY_S = 5.0
"""How often the store is asked about what is parked: as long as a redriven object waits, at most, and seldom
enough for a small request for each one. Nothing is asked while nothing is parked."""
_ASKING_SHARE = 20
"""It is asked less often if that takes long: of the time, it must stay a small part,"""
_ASK_EVERY_MAX_S = 30.0
"""but not less often than this: it may have taken long because the store was away."""


class ParkingWatch:
    """What is parked on one partition, as its lanes see it."""

    def __init__(
        self,
        parked: ParkedObjects,
        holds: Callable[[int, ObjectId], Awaitable[bool]],
        feed: Callable[[stimuli.Stimulus], None],
        clock: Clock,
        partition: str,
    ) -> None:
        """`holds` tells whether a processor and an object have a letter, or raises `StoreUnavailable`."""
        self._parked = parked
        self._holds = holds
        self._feed = feed
        self._clock = clock
        self._partition = partition
        self._has_answered = asyncio.Condition()

    async def run(self) -> None:
        """Ask, over and over, as long as anything is parked; runs until cancelled."""
        while True:
            started_s = self._clock.monotonic_s()
            if self._parked:
                await self._ask()
            took_s = self._clock.monotonic_s() - started_s
            await asyncio.sleep(max(_ASK_EVERY_S, min(_ASKING_SHARE * took_s, _ASK_EVERY_MAX_S)))

    async def behind(self, processor: int, events: Sequence[Event]) -> list[Parked | None]:
        """What each event has to wait for in the dead letters; None: it may be attempted.

        It is so until the caller waits again.
        """
        while True:
            found = [self._parked.find(processor, event.object_key) for event in events]
            if all(parked is None or parked.is_confirmed for parked in found):
                return found
            await self._answer()

    def has_room(self, processor: int) -> bool:
        """Whether one more object may be parked."""
        return self._parked.has_room(processor)

    async def look_for_room(self, processor: int, wait_s: float | None) -> None:
        """Return when one more object may be parked, or after so many seconds (None: never)."""
        try:
            async with asyncio.timeout(wait_s):
                while not self._parked.has_room(processor):
                    await self._answer()
        except TimeoutError:
            pass

    async def _answer(self) -> None:
        async with self._has_answered:
            await self._has_answered.wait()

    async def _ask(self) -> None:
        answers = []
        try:
            for parked in self._parked.all():
                if parked.letters_out:
                    continue
                answer = Answer(parked)
                answer.holds = await self._holds(parked.processor, parked.object_id)
                answers.append(answer)
        except StoreUnavailable as error:
            _log.warning(
                "Dead letters cannot be looked for; what is parked stays so, and they are looked for again.",
                partition=self._partition,
                parked=len(self._parked),
                error=str(error),
            )
        if answers:
            before = len(self._parked)
            self._feed(stimuli.LettersLookedFor(answers))
            if len(self._parked) < before:
                _log.info(
                    "The dead letters of parked objects are gone; their events are handled again.",
                    partition=self._partition,
                    objects=before - len(self._parked),
                )
        async with self._has_answered:
            self._has_answered.notify_all()
