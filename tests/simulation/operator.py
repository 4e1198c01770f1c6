"""Somebody who redrives dead letters, now and then and in order: what was parked goes on behind them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from simulation.audit import Audit
from simulation.processors import Moods
from simulation.servers import at_once

from consumer.events import DeadLetter
from consumer.stores.memory import MemoryDeadLetters

_EVERY_S = 12.0


class Operator:
    """Redrives the first letters of one object and processor, as if its receiver took them all."""

    def __init__(self, store: MemoryDeadLetters, audit: Audit, moods: Moods, chance: random.Random) -> None:
        self._store = store
        self._audit = audit
        self._moods = moods
        self._chance = chance

    async def work(self, is_over: Callable[[], bool]) -> None:
        """Go on until it is over."""
        while not is_over():
            is_late = self._moods.is_calm
            await asyncio.sleep(2 if is_late else _EVERY_S * self._chance.random())
            lines: dict[tuple[str, str, str], list[DeadLetter]] = {}
            for letter in await self._letters():
                if letter.processor in self._audit.parking:
                    line = letter.position.partition, letter.processor, letter.object_path
                    lines.setdefault(line, []).append(letter)
            for line in self._chance.sample(sorted(lines), len(lines) if is_late else min(len(lines), 3)):
                letters = lines[line]
                # Hardly ever all at once: a redrive takes its time, and may stop on the way.
                some = letters if is_late else letters[: self._chance.choice((1, 2, len(letters)))]
                at_once(self._store.remove(some))
                self._audit.redriven(some)

    async def _letters(self) -> list[DeadLetter]:
        return [letter async for letter in self._store.letters(limit=100_000)]
