"""Watches a simulated run from outside and says what is wrong: the invariants.

Three places are watched: receivers of effects, the stores' servers (what is *durable*), and the snapshots
that pipelines ask to be stored. What is right comes from the oracle, which shares no line with the engine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from property.oracle import Answer, Spot, Wish
from simulation.records import LIFE, Effect, Life, Place, Tally, Violation

from consumer.core.pipeline import Pipeline
from consumer.core.snapshot import Snapshot, decode
from consumer.events import Checkpoint, DeadLetter, Outcome, Reason
from consumer.runtime.lease import FENCE_AFTER_S

REPORT_S = 3.0
"""What was done longer than this before a snapshot must be in it, if its lane was not busy since.

Time in which the process was frozen does not count: it can report nothing then.
"""


@dataclass
class Audit:
    """Takes note of everything, and of what is wrong."""

    now_s: Callable[[], float]
    answers: dict[str, Answer]
    wishes: list[Wish]
    names: list[str]
    """Of the processors."""
    violations: list[Violation] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    digest: Callable[..., None] = lambda *_: None
    lives: list[Life] = field(default_factory=list)
    effects: dict[tuple[int, Place], list[Effect]] = field(default_factory=dict)
    keys: dict[tuple[int, Place], str] = field(default_factory=dict)
    letters: dict[tuple[Place, str | None], DeadLetter] = field(default_factory=dict)
    reasons: dict[tuple[Place, str | None], set[Reason]] = field(default_factory=dict)
    """Why it was dead-lettered: parked by one owner, and given up by another."""
    stored: dict[str, Snapshot] = field(default_factory=dict)
    trouble_s: dict[tuple[int, int], float] = field(default_factory=dict)
    """When a lane of a life's processor was last held up."""
    may_repeat: bool = True
    parking: frozenset[str] = frozenset()
    """Processors that park."""
    put_aside_of: Callable[[str, str, str], list[Place]] = lambda *_: []
    """The events of a partition, processor and object whose letters are in the store."""
    again: set[tuple[int, Place]] = field(default_factory=set)
    """What was redriven."""

    def __post_init__(self) -> None:
        self._rank: dict[tuple[str, Spot], tuple[str, int]] = {}
        for partition, answer in self.answers.items():
            for name, spots in answer.order.items():
                for rank, spot in enumerate(spots):
                    self._rank[partition, spot] = (name, rank)
        self._reached: dict[tuple[int, str, str], int] = {}
        self._newest_effect: dict[tuple[int, str, str], int] = {}
        self._verified: dict[str, set[Spot]] = {partition: set() for partition in self.answers}
        self._spots = {partition: sorted(answer.spots()) for partition, answer in self.answers.items()}
        self._verified_to = dict.fromkeys(self.answers, 0)
        self._wanted: dict[Place, list[int]] = {}
        for partition, answer in self.answers.items():
            for processor, (number, index) in answer.given:
                self._wanted.setdefault(Place(partition, number, index), []).append(processor)

    def complain(self, kind: str, what: str) -> None:
        """Note a violation."""
        if len(self.violations) < 50:
            self.violations.append(Violation(kind, what, self.now_s()))
        self.digest("violation", kind)

    # What processors do.

    def effect(self, processor: int, place: Place, *, stale: bool, key: str, began_s: float) -> Effect:
        """Take note of an effect at the moment it happens."""
        life = LIFE.get()
        assert life is not None
        now_s = self.now_s()
        self.tally.effects += 1
        self.digest("effect", self.names[processor], place, life.number)
        answer, spot = self.answers[place.partition], place.spot
        told = f"{self.names[processor]} {place.partition}/{place.number}/{place.index} by {life.owner}"
        if (processor, spot) not in answer.given:
            self.complain("unaccounted", f"{told}: it was not to be given this event")
        elif self.wishes[processor].in_turn and answer.given[processor, spot] is not stale:
            self.complain("unaccounted", f"{told}: stale is {stale} and must not be")
        if self.keys.setdefault((processor, place), key) != key:
            self.complain("repeated", f"{told}: the idempotency key has changed")
        if began_s > life.fenced_s + FENCE_AFTER_S:
            self.complain("lease", f"{told}: begun at {began_s:.3f} s, fenced at {life.fenced_s:.3f} s")
        before = self.effects.setdefault((processor, place), [])
        effect = Effect(now_s, life)
        fenced = self.stored[place.partition].epoch > life.epoch
        if before:
            self.tally.repeats += 1
            self._repeated(processor, place, before, life, told)
        elif not stale and (processor, place) not in self.again:
            self._first(processor, place, told)
        if not fenced:
            self._not_parked(processor, place, told)
        # What an old owner had begun may still happen after the new one has gone on.
        if self.wishes[processor].latest and not stale and not fenced:
            self._newest_effect[processor, place.partition, self._object(place)] = self._rank[
                place.partition, spot
            ][1]
        before.append(effect)
        return effect

    def acked(self, effects: Sequence[Effect]) -> None:
        """An attempt has returned: its effects are done."""
        for effect in effects:
            effect.is_acked = True
            effect.acked_s = self.now_s()

    def held_up(self, processor: int) -> None:
        """An attempt failed or was slow: what its lane did before may be reported later."""
        life = LIFE.get()
        if life is not None:
            self.trouble_s[life.number, processor] = self.now_s()

    def _object(self, place: Place) -> str:
        return self._rank.get((place.partition, place.spot), ("", 0))[0]

    def _first(self, processor: int, place: Place, told: str) -> None:
        wish = self.wishes[processor]
        ranked = self._rank.get((place.partition, place.spot))
        if not wish.in_turn or ranked is None:
            return
        name, rank = ranked
        reached = self._reached.get((processor, place.partition, name), -1)
        if rank < reached:
            self.complain("out-of-order", f"{told}: first done after a later one of {name}")
        self._reached[processor, place.partition, name] = max(rank, reached)

    def _not_parked(self, processor: int, place: Place, told: str) -> None:
        """Whether nothing that was put aside before, and is there still, ought to have come first."""
        name, path = self.names[processor], self.answers[place.partition].objects.get(place.spot, "")
        if name not in self.parking:
            return
        # A request of an old owner may put aside what the new one has done.
        waiting = [
            other
            for other in self.put_aside_of(place.partition, name, path)
            if other != place and (processor, other) not in self.effects
        ]
        for parked in self.stored[place.partition].parked if waiting else ():
            if (parked.processor, parked.path) == (name, path) and parked.spot != place.spot:
                self.complain("out-of-order", f"{told}: behind {waiting}, which are put aside")

    def _repeated(self, processor: int, place: Place, before: list[Effect], life: Life, told: str) -> None:
        if not self.may_repeat and all(effect.is_acked for effect in before):
            self.complain("repeated", f"{told}: nothing had happened")
        if is_done(life.begun, self.names[processor], place.spot):
            self.complain("repeated", f"{told}: the state it began with says that it was done")
        for effect in before:
            if not effect.is_acked:
                continue
            if effect.life is life:
                self.complain("repeated", f"{told}: the same owner had done it")
            elif effect.life.is_clean and effect.life.number < life.number:
                self.complain("repeated", f"{told}: after a drain of {effect.life.owner}")
            elif (
                effect.life.epoch < life.epoch
                and effect.life.awake_s(effect.acked_s, effect.life.durable_s) > REPORT_S
                and self.trouble_s.get((effect.life.number, processor), 0) < effect.acked_s
            ):
                self.complain(
                    "repeated",
                    f"{told}: {effect.life.owner} did it at {effect.acked_s:.3f} s, and its state of "
                    f"{effect.life.durable_s:.3f} s knows nothing of it",
                )

    # What is durable.

    def put_aside(self, letters: Sequence[DeadLetter]) -> None:
        """Dead letters are durable."""
        for letter in letters:
            place = Place(letter.position.partition, letter.position.sequence_number, letter.position.index)
            self.tally.letters += 1
            self.digest("letter", place, letter.processor, letter.reason)
            self.tally.parked += letter.reason is Reason.PARKED
            self.letters.setdefault((place, letter.processor), letter)
            self.reasons.setdefault((place, letter.processor), set()).add(letter.reason)
            fixed = self.answers[place.partition].fixed.get(place.spot)
            if letter.processor is None:
                if fixed != f"dead_lettered:{letter.reason}":
                    self.complain("unaccounted", f"{place} is dead-lettered: {letter.reason}, not {fixed}")
            elif (self.names.index(letter.processor), place.spot) not in self.answers[place.partition].given:
                self.complain("unaccounted", f"{place} is dead-lettered for {letter.processor}")

    def redriven(self, letters: Sequence[DeadLetter]) -> None:
        """An operator has had them handled, in this order."""
        for letter in letters:
            place = Place(letter.position.partition, letter.position.sequence_number, letter.position.index)
            key = self.names.index(letter.processor or ""), place
            self.tally.redriven += 1
            self.digest("redriven", place, letter.processor)
            if key not in self.again and key not in self.effects and not letter.stale:
                self._first(*key, f"{letter.processor} {place} by the operator")
            self.again.add(key)

    def writer(self) -> tuple[Life | None, float]:
        """Who sends a snapshot, and when it was made."""
        life = LIFE.get()
        return life, 0.0 if life is None else life.last_made_s

    def saved(
        self, partition: str, checkpoint: Checkpoint, body: bytes, by: tuple[Life | None, float]
    ) -> None:
        """A checkpoint with its snapshot is durable."""
        snapshot = decode(body)
        self.tally.saves += 1
        self.digest("saved", partition, checkpoint.sequence_number, snapshot.epoch)
        before = self.stored.get(partition)
        self.stored[partition] = snapshot
        for other in self.lives:
            if other.partition == partition and other.epoch < snapshot.epoch:
                other.fenced_s = min(other.fenced_s, self.now_s())
        life, made_s = by
        if life is not None and life.epoch == snapshot.epoch:
            life.durable_s = max(made_s, life.durable_s)
        if before is not None:
            if snapshot.epoch < before.epoch:
                self.complain(
                    "checkpoint", f"partition {partition}: epoch {snapshot.epoch} after {before.epoch}"
                )
            if checkpoint.sequence_number < before.checkpoint.sequence_number:
                self.complain(
                    "checkpoint",
                    f"partition {partition}: back from {before.checkpoint.sequence_number} "
                    f"to {checkpoint.sequence_number}",
                )
        spots, reached = self._spots[partition], self._verified_to[partition]
        while reached < len(spots) and spots[reached][0] <= checkpoint.sequence_number:
            self._must_be_resolved(partition, spots[reached], "the checkpoint passes it")
            reached += 1
        self._verified_to[partition] = reached
        for number, indexes in snapshot.resolved_above().items():
            for index in indexes:
                self._must_be_resolved(partition, (number, index), "it is stored as done")

    def _must_be_resolved(self, partition: str, spot: Spot, why: str) -> None:
        if spot in self._verified[partition]:
            return
        missing = self.unresolved(Place(partition, *spot))
        if missing:
            self.complain("lost", f"{partition}/{spot[0]}/{spot[1]}: {why}, but {missing}")
        self._verified[partition].add(spot)

    def unresolved(self, place: Place) -> str:
        """What is still to be done about an event; "" if nothing is."""
        answer = self.answers[place.partition]
        fixed = answer.fixed.get(place.spot)
        if fixed is not None:
            if fixed.startswith("dead_lettered") and (place, None) not in self.letters:
                return "no dead letter"
            return ""
        for processor in self._wanted.get(place, ()):
            if (processor, place) in self.effects or (place, self.names[processor]) in self.letters:
                continue
            if self.wishes[processor].latest and self._has_later(place):
                continue
            return f"not handled by {self.names[processor]}"
        return ""

    def _has_later(self, place: Place) -> bool:
        ranked = self._rank.get((place.partition, place.spot))
        if ranked is None:
            return False
        return ranked[1] + 1 < len(self.answers[place.partition].order[ranked[0]])

    # What pipelines count.

    def began(self, partition: str, owner: str, snapshot: Snapshot) -> Life:
        """A pipeline begins."""
        life = Life(
            len(self.lives),
            owner,
            partition,
            snapshot.epoch,
            snapshot,
        )
        self.tally.lives += 1
        self.lives.append(life)
        self.digest("life", life.number, owner, partition, snapshot.epoch)
        return life

    def thawed(self, owner: str, since_s: float) -> None:
        """A process that was frozen goes on."""
        for life in self.lives:
            if life.owner == owner:
                life.freezes.append((since_s, self.now_s()))

    def check_counts(self, life: Life, pipeline: Pipeline, snapshot: Snapshot) -> None:
        """What a pipeline has counted must be what became of exactly the events that it resolved."""
        low: Counter[str] = Counter()
        high: Counter[str] = Counter()
        total = 0
        for spot in self._spots[life.partition]:
            if not _is_resolved(snapshot, spot) or _is_resolved(life.begun, spot):
                continue
            total += 1
            ends = self._ends(Place(life.partition, *spot))
            for end in ends:
                high[end] += 1
            if len(ends) == 1:
                low[ends[0]] += 1
        counted: Counter[str] = Counter()
        for (outcome, reason), count in pipeline.counts.outcomes.items():
            counted[_label(outcome, reason)] += count
        wrong = {
            end: (low[end], count, high[end])
            for end, count in (counted | Counter(dict.fromkeys(low, 0))).items()
            for count in (counted[end],)
            if not low[end] <= count <= high[end]
        }
        if wrong or counted.total() != total:
            self.complain(
                "unaccounted",
                f"{life.owner} counted {counted.total()} of {total} on {life.partition}; "
                f"(at least, counted, at most): {wrong}",
            )

    def _ends(self, place: Place) -> list[str]:
        """How an event may have ended, by what the oracle says and which dead letters there are."""
        fixed = self.answers[place.partition].fixed.get(place.spot)
        if fixed is not None:
            return [fixed]
        wanted = self._wanted.get(place, ())
        if not wanted:
            return ["stale"]
        ends = []
        reasons = [self.reasons.get((place, self.names[index]), set()) for index in wanted]
        ends = [f"dead_lettered:{reason}" for reason in sorted(set().union(*reasons))]
        if any(not self.wishes[index].latest for index in wanted):
            return [*dict.fromkeys(ends), "handled"] if ends else ["handled"]
        return [*dict.fromkeys(ends), "handled", "stale"]

    # The end.

    def finish(self, partitions: dict[str, int]) -> None:
        """After the last fault and the drain: everything must be resolved, and stored as such."""
        for partition, spots in self._spots.items():
            stored = self.stored.get(partition)
            reached = -1 if stored is None else stored.checkpoint.sequence_number
            if reached != partitions[partition]:
                self.complain("stuck", f"partition {partition}: {reached} is not {partitions[partition]}")
            for spot in spots:
                missing = self.unresolved(Place(partition, *spot))
                if missing:
                    self.complain("lost", f"{partition}/{spot[0]}/{spot[1]}: {missing}")
            for name, order in self.answers[partition].order.items():
                self._check_newest(partition, name, order)

    def _check_newest(self, partition: str, name: str, order: list[Spot]) -> None:
        """Whoever wants only the latest must have it in the end."""
        for processor, wish in enumerate(self.wishes):
            if not wish.latest:
                continue
            mine = [spot for spot in order if (processor, spot) in self.answers[partition].given]
            # What a dead-lettered one had superseded was skipped for good.
            if not mine or (Place(partition, *mine[-1]), self.names[processor]) in self.letters:
                continue
            newest = self._newest_effect.get((processor, partition, name), -1)
            if newest < order.index(mine[-1]):
                self.complain("out-of-order", f"{self.names[processor]}: {name} does not end with the latest")


def _label(outcome: Outcome, reason: Reason | None) -> str:
    return outcome.value if reason is None else f"{outcome.value}:{reason.value}"


def _is_resolved(snapshot: Snapshot, spot: Spot) -> bool:
    number, index = spot
    if number <= snapshot.checkpoint.sequence_number or index in snapshot.done_above.get(number, ()):
        return True
    return index == 0 and any(first <= number < first + count for first, count in snapshot.done_rows)


def is_done(snapshot: Snapshot, processor: str, spot: Spot) -> bool:
    """Whether a state says that a processor is done with an event."""
    return _is_resolved(snapshot, spot) or any(
        ack[:2] == spot and processor in ack.done for ack in snapshot.acks
    )
