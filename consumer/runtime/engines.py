"""Several engines in one process: one for each consumer group, shown and stopped as one.

Each has its source, its pipelines, its checkpoints and its state, so what one of them waits for costs the
others nothing. What they have in common is the process: a signal drains all; and one that ends, ends all, so
that whoever runs inturn is told and starts it again.

In what they say of themselves the partitions of a group of its own are called ``GROUP/PARTITION``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
import structlog

from consumer.errors import InturnError
from consumer.runtime.engine import Engine
from consumer.status import EngineStatus, PartitionStatus

_STATES = ("draining", "starting", "running", "stopped")
"""Of several engines, the first of these is the state of all."""


class Engines:
    """Runs engines side by side. Has of an `Engine` what is around it."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        """`engines` by consumer group; "" is the one that processors share that name none."""
        self._engines = dict(engines)
        self._left = len(self._engines)
        """Those that have neither ended nor been found stuck."""
        self._all_left = asyncio.Event()
        self._failure: InturnError | None = None

    async def run(self, on_stuck: Callable[[], Awaitable[None]] | None = None) -> None:
        """Run until one of them has ended, or `drain` was asked for, and all are through.

        Raises what the first of them raised. `on_stuck` is called when nothing but attempts that cannot be
        cut off is left, of any of them: see `Engine.run`.
        """
        async with asyncio.TaskGroup() as tasks:
            for group, engine in self._engines.items():
                tasks.create_task(self._run(group, engine, on_stuck), name=f"engine {group}")
        if self._failure is not None:
            raise self._failure

    async def _run(self, group: str, engine: Engine, on_stuck: Callable[[], Awaitable[None]] | None) -> None:
        is_stuck = False

        async def stuck() -> None:
            nonlocal is_stuck
            is_stuck = True
            self._leave()
            await self._all_left.wait()
            assert on_stuck is not None
            await on_stuck()

        if group:
            # Everything that is started below here has it in its log.
            structlog.contextvars.bind_contextvars(consumer_group=group)
        try:
            await engine.run(None if on_stuck is None else stuck)
        except InturnError as error:
            self._failure = self._failure or error
        finally:
            if not is_stuck:
                self._leave()

    def _leave(self) -> None:
        self._left -= 1
        if not self._left:
            self._all_left.set()
        self.drain()

    def drain(self) -> None:
        """Ask all of them for a graceful stop."""
        for engine in self._engines.values():
            engine.drain()

    def hurry(self) -> None:
        """Wait no longer for what is in flight; the checkpoints are stored all the same."""
        for engine in self._engines.values():
            engine.hurry()

    @property
    def was_clean(self) -> bool:
        """Whether the stop cut nothing off and stored every checkpoint."""
        return all(engine.was_clean for engine in self._engines.values())

    def status(self) -> EngineStatus:
        """What the process says of itself."""
        return merged({group: engine.status() for group, engine in self._engines.items()})


def labelled(group: str, partition: PartitionStatus) -> PartitionStatus:
    """A partition under the name that it has beside those of other groups."""
    if not group:
        return partition
    return msgspec.structs.replace(partition, partition=f"{group}/{partition.partition}")


def merged(statuses: Mapping[str, EngineStatus]) -> EngineStatus:
    """One status for the engines of several groups; there must be one."""
    every = list(statuses.values())
    outcomes: Counter[str] = Counter()
    for status in every:
        outcomes.update(status.outcomes)
    counted = [each.dead_letters for each in every if each.dead_letters is not None]
    own = ", ".join(group for group in statuses if group)
    return msgspec.structs.replace(
        every[0],
        state=min((status.state for status in every), key=_STATES.index),
        ready=all(status.ready for status in every),
        not_ready=_reasons(statuses),
        source=every[0].source if len(every) == 1 else f"{every[0].source}; groups of their own: {own}",
        # They all count the same store.
        dead_letters=max(counted, default=None),
        # Each group sees the same objects.
        objects_spread=max(status.objects_spread for status in every),
        outcomes=dict(outcomes),
        partitions=[
            labelled(group, each) for group, status in statuses.items() for each in status.partitions
        ],
        processors=[
            msgspec.structs.replace(each, group=group)
            for group, status in statuses.items()
            for each in status.processors
        ],
    )


def _reasons(statuses: Mapping[str, EngineStatus]) -> list[str]:
    """Why not all are ready; what is true of all of them is said once."""
    reasons: dict[str, list[str]] = {}
    for group, status in statuses.items():
        for reason in status.not_ready:
            reasons.setdefault(reason, []).append(group)
    return [text for reason, groups in reasons.items() for text in _said(reason, groups, len(statuses))]


def _said(reason: str, groups: Sequence[str], engines: int) -> list[str]:
    if len(groups) == engines:
        return [reason]
    return [f"Consumer group {group}: {reason}" if group else reason for group in groups]
