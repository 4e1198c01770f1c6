"""Put a redrive together from settings, and carry it out until its end or a signal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import NamedTuple

from consumer.composition import admission_of, catalogue_of, running_processor
from consumer.consumer_groups import settings_of
from consumer.core.flights import ProcessorPlan
from consumer.errors import FenceLost, InturnError, StoreUnavailable
from consumer.opening import open_dead_letters
from consumer.redrive.adoption import Adopter, Rules
from consumer.redrive.lettered import group_and_replay
from consumer.redrive.pace import Pace
from consumer.redrive.previewing import Proposal, Rehearsal
from consumer.redrive.right import right_to
from consumer.redrive.running import Redrive
from consumer.runtime.clock import SystemClock
from consumer.runtime.signals import stop_signals
from consumer.settings import Settings
from consumer.stores import DeadLetterStore, LetterFilter


class Request(NamedTuple):
    """What is asked for."""

    where: LetterFilter
    rate_per_s: float | None = None
    """Letters begun in a second; None: as fast as they go."""
    letters_max: int | None = None
    """Letters to run; None: all that are meant."""
    is_dry: bool = False
    """Say what would be done, and do nothing."""


class Carrier:
    """Carries a redrive out. The first signal lets nothing more begin, the second cuts off what runs."""

    def __init__(self, redrive: Redrive, store: DeadLetterStore) -> None:
        self.redrive = redrive
        self._store = store
        self._running: asyncio.Task[None] | None = None
        self.was_hurried = False

    def drain(self) -> None:
        """Let nothing more begin."""
        self.redrive.pace.stop()

    def hurry(self) -> None:
        """Cut off what runs; it stays in the dead letters."""
        self.was_hurried = True
        if self._running is not None:
            self._running.cancel()

    async def carry_out(self) -> None:
        """Run what is meant. Raises `TemporaryError`, `ConfigurationError`."""
        async with stop_signals(self), right_to(self._store, SystemClock()) as right:
            try:
                async with asyncio.TaskGroup() as tasks:
                    keeping = tasks.create_task(right.keep(), name="right")
                    self._running = tasks.create_task(self.redrive.run(right.lease), name="redrive")
                    await asyncio.wait((self._running,))
                    keeping.cancel()
            except ExceptionGroup as errors:
                raise _first(errors) from None

    async def rehearse(self, propose: Callable[[Proposal], None]) -> None:
        """Propose what would be done. Raises `TemporaryError`, `ConfigurationError`."""
        assert isinstance(self.redrive, Rehearsal), "asked for as a dry run"
        async with stop_signals(self):
            await self.redrive.rehearse(propose)


@asynccontextmanager
async def open_redrive(settings: Settings, request: Request) -> AsyncIterator[Carrier]:
    """Put a redrive together. Raises `ConfigurationError`."""
    clock = SystemClock()
    processors = {
        each.name: running_processor(each, "", clock, waits_for_target=False) for each in settings.processors
    }
    catalogue = catalogue_of(settings)
    rules = _rules_by_group(settings, {name: each.plan for name, each in processors.items()})
    make = Rehearsal if request.is_dry else Redrive
    async with open_dead_letters(settings.dead_letters) as store:
        redrive = make(
            store,
            processors,
            Adopter(catalogue, rules),
            catalogue,
            request.where,
            Pace(clock, rate_per_s=request.rate_per_s, letters_max=request.letters_max),
            clock,
        )
        yield Carrier(redrive, store)


def _rules_by_group(settings: Settings, plans: Mapping[str, ProcessorPlan]) -> Callable[[str], Rules]:
    """The rules of every consumer group by its name in the hub."""

    @cache
    def rules_of(group: str) -> Rules:
        name, replay_id = group_and_replay(group)
        # A replay has all processors side by side. A source without groups, such as a file, has the first.
        of_group = settings_of(settings, name) or settings_of(settings, None)
        told = settings if replay_id or of_group is None else of_group
        return Rules(admission_of(told), [plans[each.name] for each in told.processors])

    return rules_of


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What stands for all: that the right was lost or the store was away, else the group itself."""
    for error in errors.exceptions:
        found = _first(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, FenceLost):
            return StoreUnavailable(str(found))
        if isinstance(found, InturnError):
            return found
    return errors
