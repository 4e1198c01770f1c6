"""Attempts that go on although they were cut off: when they are too many, or all that is left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.clock import Clock

_log = structlog.get_logger("inturn.engine")

_LAST_WAIT_S = 0.5
"""How long they are waited for when everything else has ended."""
_STRAYS_MAX = 8
"""Attempts of one processor that may go on after they were cut off; with more the process stops."""
_STRAYS_MAX_S = 300.0
"""How long an attempt may go on in all; then the process stops."""
_LOOK_EVERY_S = 1.0


async def too_many(processors: Sequence[RunningProcessor], clock: Clock) -> None:
    """Return when a processor has so many of them that only a new process can help; says so."""
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        now_s = clock.monotonic_s()
        for processor in processors:
            strays = processor.counts.strays
            if len(strays) > _STRAYS_MAX or (strays and now_s - min(strays) > _STRAYS_MAX_S):
                _log.error(
                    "A processor does not end what was cut off; the process stops so that it can be "
                    "started anew.",
                    processor=processor.plan.name,
                    attempts=len(strays),
                )
                return


async def are_left(processors: Sequence[RunningProcessor], tasks: Iterable[asyncio.Task[None]]) -> bool:
    """Whether any of them keep partitions' `tasks` from ending, although everything is stored; says so."""
    running = [task for task in tasks if not task.done()]
    if running:
        await asyncio.wait(running, timeout=_LAST_WAIT_S)
    if all(task.done() for task in running):
        return False
    _log.error(
        "Everything is stored and released, and attempts cannot be cut off: the process ends in spite of "
        "them. What they were doing is done again with the same idempotency keys.",
        processors=[each.plan.name for each in processors if each.counts.strays],
    )
    return True
