"""Give letters that stand in no line their place in one.

What could not be decoded, or was not admitted, may be an event by today's rules: then every processor that
wants it gets a letter of its own, which is redriven like any other. So nothing is lost if that is
interrupted, and an event takes its turn behind what its object has in the dead letters already.

What an earlier version of inturn put aside without its object gets that written down.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.decode import Rejection
from consumer.core.flights import ProcessorPlan, Router, bits
from consumer.errors import BadData
from consumer.events import DeadLetter, Event, Reason
from consumer.redrive.lettered import entries_of, event_of


@dataclass(slots=True)
class Adopted:
    """What becomes of a letter without a line."""

    letters: list[DeadLetter] = field(default_factory=list)
    """Take its place, each under a key of its own. If there are any, the old one is to be removed."""
    anew: DeadLetter | None = None
    """The letter itself, to be written anew."""
    is_nothing: bool = False
    """There is no event in it: it is to be removed."""


class Adopter:
    """Knows today's rules."""

    def __init__(self, admission: Admission, catalogue: Catalogue, plans: Sequence[ProcessorPlan]) -> None:
        self._admission = admission
        self._catalogue = catalogue
        self._plans = list(plans)
        self._router = Router(self._plans)

    def adopt(self, letter: DeadLetter) -> Adopted:
        """Say what becomes of a letter that no processor had, or whose object is not written down."""
        if letter.processor is not None:
            return self._with_object(letter)
        entries = entries_of(letter, self._catalogue)
        if not entries:
            return Adopted(is_nothing=True)
        if len(entries) == 1:
            return self._alone(letter, entries[0])
        adopted = Adopted()
        for entry in entries:
            parts = self._alone(letter, entry)
            # Its neighbours are no reason to keep what is no event under the key of all of them.
            adopted.letters += parts.letters or [_part(letter, entry, None, parts.anew)]
        return adopted

    def _with_object(self, letter: DeadLetter) -> Adopted:
        entry = event_of(letter, self._catalogue)
        if isinstance(entry, Rejection):
            return Adopted(anew=refused(letter, entry))
        return Adopted(anew=msgspec.structs.replace(letter, object_path=entry.object_path))

    def _alone(self, letter: DeadLetter, entry: Event | Rejection) -> Adopted:
        if isinstance(entry, Rejection):
            return Adopted(anew=refused(letter, entry))
        verdict = self._admission.check(entry, None)
        if verdict is not None:
            return Adopted(anew=_because(letter, verdict.reason, verdict.error))
        try:
            wanting = self.wanting(entry)
        except BadData as flaw:  # found only now, by a filter
            return Adopted(anew=_because(letter, flaw.reason, str(flaw)))
        if not wanting:
            return Adopted(anew=_because(letter, Reason.TYPE, "no processor wants the event"))
        return Adopted([_part(letter, entry, name, None) for name in wanting])

    def wanting(self, event: Event) -> list[str]:
        """The processors that want an event. Raises `BadData` if a filter cannot read its data."""
        route = self._router.route(event.type)
        plans = [self._plans[index] for index in bits(route.on_arrival | route.in_turn)]
        return [plan.name for plan in plans if plan.matches is None or plan.matches(event)]


def refused(letter: DeadLetter, rejection: Rejection) -> DeadLetter:
    """The letter, with why its bytes are no event by today's rules."""
    return msgspec.structs.replace(
        letter,
        reason=rejection.reason,
        error=rejection.error,
        event_id=rejection.event_id or letter.event_id,
        event_type=rejection.event_type or letter.event_type,
        topic=rejection.topic or letter.topic,
        subject=rejection.subject or letter.subject,
    )


def _because(letter: DeadLetter, reason: Reason, error: str) -> DeadLetter:
    return msgspec.structs.replace(letter, reason=reason, error=error)


def _part(
    letter: DeadLetter, entry: Event | Rejection, processor: str | None, anew: DeadLetter | None
) -> DeadLetter:
    """A letter for one event of another letter, and for one processor (None: it stays without)."""
    part = msgspec.structs.replace(
        anew or letter,
        key=_key(letter.key, str(entry.position.index), processor or ""),
        position=entry.position,
        original=entry.original,
        topic=entry.topic,
        subject=entry.subject,
    )
    if isinstance(entry, Rejection):
        return msgspec.structs.replace(part, event_id=entry.event_id, event_type=entry.event_type)
    return msgspec.structs.replace(
        part,
        processor=processor,
        error=part.error if processor is None else f"an event now; before: {letter.error}"[:1_000],
        event_id=entry.id,
        event_type=entry.type,
        object_path=entry.object_path,
    )


def _key(*parts: str) -> str:
    """The same however often the same letter is taken apart."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
