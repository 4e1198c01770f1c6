"""What a failed attempt means, by what the processor raised."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from consumer.errors import BadData
from consumer.events import Reason
from consumer.processor import NotYet, Reject, Retry


class Fault(NamedTuple):
    """A failed attempt."""

    kind: str
    """As the durations are labelled: failed, timeout, retry, not_yet or rejected."""
    error: str
    after_s: float | None = None
    reason: Reason | None = None
    """Why no further attempt can help, if it is not the processor who says so."""

    @property
    def is_final(self) -> bool:
        """Whether no further attempt can help."""
        return self.kind == "rejected"

    @property
    def is_put_off(self) -> bool:
        """Whether nothing has failed: it only has to wait."""
        return self.kind == "not_yet"


def fault_of(error: BaseException, deadline_s: float | None) -> Fault | None:
    """The fault that an error is; None if it is that this very task is cancelled, which is nobody's.

    `deadline_s` is ours, if it has cut the attempt off.
    """
    match error:
        case Reject():
            return Fault("rejected", _describe(error, "rejected by the processor"))
        case BadData():  # found only now, by the first who asked for the data
            return Fault("rejected", _describe(error), reason=error.reason)
        case NotYet():
            return Fault("not_yet", _describe(error, "it has to wait"), error.after_s)
        case Retry():
            return Fault("retry", _describe(error, "the processor asked for it again"), error.after_s)
        case TimeoutError() | asyncio.CancelledError():
            return _interrupted(error, deadline_s)
    return Fault("failed", _describe(error))


def is_cancelled() -> bool:
    """Whether this task is to end, by whatever its processor made of that."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _interrupted(error: TimeoutError | asyncio.CancelledError, deadline_s: float | None) -> Fault | None:
    """Tell our deadline (None: it was not over) from the processor's own ones, and from being cancelled."""
    # Being cancelled ourselves is not the processor's fault; a cancellation of its own is.
    if isinstance(error, asyncio.CancelledError) and is_cancelled():
        return None
    if deadline_s is not None:
        return Fault("timeout", f"no result within the deadline of {deadline_s:g} s")
    return Fault("failed", _describe(error, "the processor was cancelled from inside"))


def _describe(error: BaseException, otherwise: str = "") -> str:
    """One line for a person: what was raised, without a trace."""
    if isinstance(error, (Reject, Retry, BadData)):
        return (str(error) or otherwise)[:1_000]
    text = f"{type(error).__name__}: {error}" if str(error) else otherwise or type(error).__name__
    return " ".join(text.split())[:1_000]
