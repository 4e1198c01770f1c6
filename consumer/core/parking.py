"""Objects whose later events wait in the dead letters behind an earlier one of theirs.

A processor with `parks` is given no event of an object after one that it put aside: the later ones follow it
into the dead letters, unattempted and in order, until no letter of the object and the processor is left
there. Only the store knows that, since others redrive. What it says counts if no letter was sent meanwhile.

Which objects are parked is stored with the checkpoint. After a restart it is a claim that the store has to
confirm before it keeps anything from being attempted: the letters may be gone since it was stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.core.digests import Digests
from consumer.core.flights import Flight, ProcessorPlan
from consumer.core.snapshot import ParkedObject
from consumer.events import ObjectId


class Parked:
    """One object, for one processor."""

    def __init__(self, processor: int, object_key: bytes, object_id: ObjectId, spot: tuple[int, int]) -> None:
        self.processor = processor
        """Index in the pipeline's list of processors."""
        self.object_key = object_key
        self.object_id = object_id
        self.spot = spot
        """Sequence number and index of the event that the others wait behind."""
        self.is_confirmed = True
        """Whether a letter is known to have been there in this life."""
        self.letters_sent = 0
        """Of those that wait behind the first one, in this life."""
        self.letters_out = 0
        """Those of them that are not stored yet."""


class Answer:
    """What the store said of a parked object."""

    def __init__(self, parked: Parked) -> None:
        """Made when the store is asked."""
        self.parked = parked
        self.holds = True
        """Whether a letter is there."""
        self._letters_sent = parked.letters_sent

    @property
    def is_certain(self) -> bool:
        """Whether no letter was on its way since the store was asked."""
        return self.parked.letters_out == 0 and self.parked.letters_sent == self._letters_sent


class ParkedObjects:
    """All parked objects of one partition."""

    def __init__(
        self, plans: Sequence[ProcessorPlan], stored: Sequence[ParkedObject], digests: Digests
    ) -> None:
        """What is `stored` of processors that do not park any more is dropped."""
        self._plans = plans
        self._of: list[dict[bytes, Parked]] = [{} for _ in plans]
        self._failing = [0] * len(plans)
        """Events on their way to the dead letters that are going to park their object."""
        indexes = {plan.name: index for index, plan in enumerate(plans) if plan.parks}
        for entry in stored:
            index = indexes.get(entry.processor)
            if index is not None:
                key = digests.object_key(entry.topic, entry.path)
                parked = Parked(index, key, ObjectId(entry.topic, entry.path), entry.spot)
                parked.is_confirmed = False
                self._of[index][key] = parked

    def __len__(self) -> int:
        return sum([len(objects) for objects in self._of])

    def count(self, processor: int) -> int:
        """How many objects are parked for a processor."""
        return len(self._of[processor])

    def find(self, processor: int, object_key: bytes) -> Parked | None:
        """What the events of an object wait for; None: they may be attempted."""
        return self._of[processor].get(object_key)

    def has_room(self, processor: int) -> bool:
        """Whether one more object may be parked."""
        return len(self._of[processor]) + self._failing[processor] < self._plans[processor].parked_max

    def all(self) -> list[Parked]:
        """Every parked object."""
        return [parked for objects in self._of for parked in objects.values()]

    # What happens to events.

    def failed(self, processor: int) -> None:
        """Note that the letter of a failure is on its way."""
        self._failing[processor] += 1

    def follows(self, flight: Flight, processor: int) -> None:
        """Note that the letter of an event that waits behind another is on its way."""
        assert flight.event is not None
        parked = self._of[processor][flight.event.object_key]
        parked.letters_sent += 1
        parked.letters_out += 1
        flight.parked |= 1 << processor

    def stored(self, flight: Flight, processor: int) -> bool:
        """Note that a letter is stored; tell whether it has just parked the object."""
        event = flight.event
        assert event is not None
        if flight.parked >> processor & 1:
            flight.parked &= ~(1 << processor)
            self._of[processor][event.object_key].letters_out -= 1
            return False
        self._failing[processor] -= 1
        parked = Parked(processor, event.object_key, event.object_id, flight.position)
        return self._of[processor].setdefault(event.object_key, parked) is parked

    def answered(self, answers: Sequence[Answer]) -> bool:
        """Take what the store said; tell whether any object is not parked any more."""
        before = len(self)
        for answer in answers:
            parked = answer.parked
            objects = self._of[parked.processor]
            if answer.holds:
                parked.is_confirmed = True
            elif answer.is_certain and objects.get(parked.object_key) is parked:
                del objects[parked.object_key]
        return len(self) < before

    def dump(self) -> list[ParkedObject]:
        """For a snapshot."""
        return [
            ParkedObject(self._plans[parked.processor].name, *parked.object_id, parked.spot)
            for parked in self.all()
        ]
