"""Give letters that stand in no line their place in one.

What could not be decoded, or was not admitted, may be an event by today's rules: then every processor that
wants it gets a letter of its own, which is redriven like any other. So nothing is lost if that is
interrupted, and an event takes its turn behind what its object has in the dead letters already.

What an earlier version of inturn put aside without its object gets that written down.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.decode import Rejection
from consumer.core.flights import ProcessorPlan, Router, bits
from consumer.core.internal_events import body_of, cause_of
from consumer.errors import BadData
from consumer.events import DeadLetter, Event, Reason
from consumer.processor import Emission
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


class Rules:
    """Whom the events of one consumer group are for, by today's configuration."""

    def __init__(self, admission: Admission, plans: Sequence[ProcessorPlan]) -> None:
        self.admission = admission
        self._plans = list(plans)
        self._router = Router(self._plans)

    def wanting(self, event: Event) -> list[str]:
        """The processors that want an event. Raises `BadData` if a filter cannot read its data."""
        route = self._router.route(event.type)
        return self._passed(event, route.on_arrival | route.in_turn)

    def wanting_internal(self, event: Event) -> list[str]:
        """The processors that name the type of an event of our own."""
        return self._passed(event, self._router.internal(event.type))

    def _passed(self, event: Event, mask: int) -> list[str]:
        plans = [self._plans[index] for index in bits(mask)]
        return [plan.name for plan in plans if plan.matches is None or plan.matches(event)]


class Adopter:
    """Finds who wants what a letter holds."""

    def __init__(self, catalogue: Catalogue, rules_of: Callable[[str], Rules]) -> None:
        """`rules_of` gives the rules of a letter's consumer group, which may be that of a replay."""
        self._catalogue = catalogue
        self._rules_of = rules_of

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

    def emitted(self, letter: DeadLetter, event: Event, emissions: Sequence[Emission]) -> list[DeadLetter]:
        """Letters of what a processor emits when it handles a letter's event, for whoever names the type.

        They have the ids, and so the keys, that they would have had live.
        """
        letters: list[DeadLetter] = []
        for number, (_, type_, subject, data) in enumerate(emissions, start=1):
            body = body_of(cause_of(event), f"{letter.processor} {number}", type_, subject, data)
            made = event_of(msgspec.structs.replace(letter, original=body), self._catalogue)
            assert not isinstance(made, Rejection), "what is emitted was looked at before"
            for name in self._rules_of(letter.partition.group).wanting_internal(made):
                waiting = msgspec.structs.replace(letter, key=_key(letter.key, made.id), attempts=0)
                waiting = msgspec.structs.replace(waiting, reason=Reason.PARKED, error="", stale=False)
                letters.append(_part(waiting, made, name, None, "emitted in a redrive, and not run yet"))
        return letters

    def _with_object(self, letter: DeadLetter) -> Adopted:
        entry = event_of(letter, self._catalogue)
        if isinstance(entry, Rejection):
            return Adopted(anew=refused(letter, entry))
        return Adopted(anew=msgspec.structs.replace(letter, object_path=entry.object_path))

    def _alone(self, letter: DeadLetter, entry: Event | Rejection) -> Adopted:
        if isinstance(entry, Rejection):
            return Adopted(anew=refused(letter, entry))
        rules = self._rules_of(letter.partition.group)
        verdict = rules.admission.check(entry, None)
        if verdict is not None:
            return Adopted(anew=_because(letter, verdict.reason, verdict.error))
        try:
            wanting = rules.wanting(entry)
        except BadData as flaw:  # found only now, by a filter
            return Adopted(anew=_because(letter, flaw.reason, str(flaw)))
        if not wanting:
            return Adopted(anew=_because(letter, Reason.TYPE, "no processor wants the event"))
        return Adopted([_part(letter, entry, name, None) for name in wanting])


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
    letter: DeadLetter,
    entry: Event | Rejection,
    processor: str | None,
    anew: DeadLetter | None,
    error: str | None = None,
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
        error=part.error if processor is None else error or f"an event now; before: {letter.error}"[:1_000],
        event_id=entry.id,
        event_type=entry.type,
        object_path=entry.object_path,
    )


def _key(*parts: str) -> str:
    """The same however often the same letter is taken apart."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
