"""Say what a redrive would do: the same letters in the same order, and nothing goes out or is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from math import inf
from typing import Any, NamedTuple

from consumer.core.stimuli import Verdict
from consumer.errors import BadData
from consumer.events import DeadLetter, Event, Reason
from consumer.processor import Context, Previewer, Reject
from consumer.redrive.adoption import Adopted
from consumer.redrive.running import Redrive
from consumer.runtime.attempts import HANDLED, Ending, RunningProcessor, Turn
from consumer.runtime.clock import SystemClock
from consumer.runtime.lease import Lease


class Proposal(NamedTuple):
    """What would come of a letter."""

    letter: DeadLetter
    what: str
    """For a person."""
    effect: Mapping[str, Any] | None = None
    """What the processor says it would do; None if it cannot say, or would do nothing."""


class Rehearsal(Redrive):
    """A redrive in which every attempt that is not refused beforehand succeeds."""

    async def rehearse(self, propose: Callable[[Proposal], None]) -> None:
        """Propose what would come of what is meant, line by line. Raises `StoreUnavailable`."""
        self._propose = propose

        async def nobody_else() -> None:
            """No right is needed to change nothing."""

        await self.run(Lease("rehearsal", nobody_else, SystemClock(), proved_s=0, lasts_s=inf))

    async def open(self, processor: RunningProcessor, stack: AsyncExitStack) -> None:
        """Nothing is opened: it could reach out."""

    async def look_for_more(self) -> None:
        """What was gone through is still there, and nothing else is to be waited for."""

    async def attempt(
        self,
        letter: DeadLetter,
        event: Event,
        processor: RunningProcessor,
        turn: Turn,  # noqa: ARG002 - nothing is attempted
    ) -> Ending:
        """Ask the processor what it would do."""
        target = processor.target
        if not isinstance(target, Previewer):
            self._propose(Proposal(letter, "would be run"))
            return HANDLED
        name = processor.plan.name
        context = Context(name, 1, [event], processor.key_of, processor.replay_id)
        try:
            effect = target.preview(event, context)
        except Reject as verdict:
            return Ending(Verdict.FAILED, Reason.REJECTED, str(verdict) or "rejected by the processor")
        except BadData as flaw:
            return Ending(Verdict.FAILED, flaw.reason, str(flaw))
        self._propose(Proposal(letter, "would be run" if effect else "would do nothing", effect))
        return HANDLED

    async def write_failed(self, letter: DeadLetter) -> None:
        """Say that a letter would stay."""
        self._propose(Proposal(letter, f"would stay: {letter.reason}: {letter.error}"))

    async def write_adopted(self, letter: DeadLetter, adopted: Adopted) -> None:
        """Say what would become of a letter that no processor had."""
        names = [each.processor for each in adopted.letters if each.processor is not None]
        if names:
            what = f"is an event now: would be given to {', '.join(names)}"
        elif adopted.anew is not None and adopted.anew.processor is None:
            what = f"would stay: {adopted.anew.reason}: {adopted.anew.error}"
        elif adopted.anew is not None:
            what = "would be run, once its object is written down"
        else:
            what = "holds no event: would be removed"
        self._propose(Proposal(letter, what))
