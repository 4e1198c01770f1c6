"""Rules about what does not come: after one event another of the same key is expected within a time.

Failed and cancelled operations often emit nothing, so only the absence of an event tells of them. Time is log
time, so a replay misses what was missed. A trigger is met by a fulfilment of its key that comes before its
deadline, or that came before it by no more than the reorder window. Both have to be on one partition.

Events are folded in the order of the log, on arrival, once: after a restart those up to `folded_to` are not
folded again. What is pending does not depend on the checkpoint, which they may be ahead of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consumer.core.expectation_keys import Sought
from consumer.core.internal_events import Cause
from consumer.core.snapshot import Expected, KeptRule
from consumer.core.times import write_time
from consumer.events import Event

MISSED = "Inturn.ExpectationMissed"
"""The type of what is emitted for a trigger whose deadline has passed."""
NAMES_MAX = 16_384
"""Characters of a trigger's id, topic, type and subject together: the state has them, and what is emitted."""


class Rule:
    """What is expected after what."""

    def __init__(
        self, name: str, after: Sought, fulfilment: Sought, within_ms: int, pending_max: int = 10_000
    ) -> None:
        """At `pending_max` a further trigger is not watched, and counted; so is one beyond `NAMES_MAX`."""
        self.name = name
        self.after = after
        self.fulfilment = fulfilment
        self.within_ms = within_ms
        self.pending_max = pending_max


class RuleCounts:
    """What became of the triggers of a rule since the assignment."""

    def __init__(self) -> None:
        self.met = 0
        self.missed = 0
        self.unwatched = 0
        """Triggers that came when there was no room, or that have too long names."""


class _Watched:
    """A rule with what is pending."""

    def __init__(self, rule: Rule, window_ms: int, stored: KeptRule | None) -> None:
        self.rule = rule
        self.counts = RuleCounts()
        self._window_ms = window_ms
        self.pending: dict[Expected, None] = {}
        """Deadlines rise: all have the same time, that of the rule as it is now, and log time never falls."""
        self._by_key: dict[str, list[Expected]] = {}
        self.recent: dict[str, int] = {}
        """When the last fulfilment of a key came, oldest first, as far as the reorder window reaches."""
        if stored is not None:
            self.recent = dict(stored.recent)
            longer_ms = 0 if stored.within_ms is None else rule.within_ms - stored.within_ms
            for expected in stored.pending:
                self._add(expected._replace(deadline_ms=expected.deadline_ms + longer_ms))

    def wants(self, event_type: str) -> bool:
        return event_type in self.rule.after.types or event_type in self.rule.fulfilment.types

    def fold(self, event: Event, event_type: str, time_ms: int) -> None:
        fulfilled = self.rule.fulfilment.keys(event) if event_type in self.rule.fulfilment.types else []
        for key in fulfilled:
            for expected in self._by_key.pop(key, ()):
                del self.pending[expected]
                self.counts.met += 1
        if event_type in self.rule.after.types:
            for key in self.rule.after.keys(event):
                self._expect(key, event, time_ms)
        for key in fulfilled:  # only now: no event fulfils what it triggers itself
            self.recent.pop(key, None)
            self.recent[key] = time_ms
        while len(self.recent) > self.rule.pending_max:
            del self.recent[next(iter(self.recent))]

    def _expect(self, key: str, event: Event, time_ms: int) -> None:
        if self.recent.get(key, time_ms - self._window_ms - 1) >= time_ms - self._window_ms:
            self.counts.met += 1
        elif len(self.pending) >= self.rule.pending_max or _length(event) > NAMES_MAX:
            self.counts.unwatched += 1
        else:
            self._add(_expected(key, event, time_ms + self.rule.within_ms))

    def _add(self, expected: Expected) -> None:
        self.pending[expected] = None
        self._by_key.setdefault(expected.key, []).append(expected)

    def expire(self, time_ms: int) -> list[Expected]:
        """Take out what has been waited for in vain: until its deadline, and in that very millisecond."""
        missed = []
        for expected in self.pending:
            if expected.deadline_ms >= time_ms:
                break
            missed.append(expected)
        for expected in missed:
            del self.pending[expected]
            same = self._by_key[expected.key]
            same.remove(expected)
            if not same:
                del self._by_key[expected.key]
        self.counts.missed += len(missed)
        while self.recent:
            key, came_ms = next(iter(self.recent.items()))
            if came_ms >= time_ms - self._window_ms:
                break
            del self.recent[key]
        return missed


def _length(event: Event) -> int:
    return len(event.id) + len(event.topic) + len(event.type) + len(event.subject)


def _expected(key: str, event: Event, deadline_ms: int) -> Expected:
    return Expected(
        key=key,
        partition=event.partition,
        sequence_number=event.sequence_number,
        element=event.index,
        topic=event.topic,
        id=event.id,
        type=event.type,
        subject=event.subject,
        ticks=event.ticks,
        enqueued_time_ms=event.enqueued_time_ms,
        deadline_ms=deadline_ms,
    )


class Missed:
    """A trigger that was not followed by what was expected, as an internal event."""

    def __init__(self, rule: Rule, expected: Expected) -> None:
        ticks = expected.deadline_ms * 10_000
        place = expected.partition, expected.sequence_number, expected.element
        self.cause = Cause(*place, expected.topic, expected.id, expected.deadline_ms, ticks)
        self.named = f"expect {rule.name} {expected.key}"
        self.subject = expected.subject
        self.data = {
            "rule": rule.name,
            "key": expected.key,
            "trigger": {
                "id": expected.id,
                "type": expected.type,
                "subject": expected.subject,
                "time": None if expected.ticks is None else write_time(expected.ticks),
                "enqueuedTime": write_time(expected.enqueued_time_ms * 10_000),
            },
            "deadline": write_time(ticks),
            "withinMinutes": rule.within_ms / 60_000,
        }


class Expectations:
    """All rules of a partition."""

    def __init__(
        self, rules: Sequence[Rule], window_ms: int, stored: Iterable[KeptRule] = (), folded_to: int = -1
    ) -> None:
        """What is `stored` of rules that there are no more is dropped."""
        by_name = {kept.name: kept for kept in stored}
        self._rules = [_Watched(rule, window_ms, by_name.get(rule.name)) for rule in rules]
        self._folded_to = folded_to
        self._wanted: dict[str, bool] = {}

    def wants(self, spelt_type: str) -> bool:
        """Whether a rule looks at a type of event."""
        wanted = self._wanted.get(spelt_type)
        if wanted is None:
            folded = spelt_type.casefold()
            wanted = any(watched.wants(folded) for watched in self._rules)
            if len(self._wanted) < 1_000:  # types come from outside; the rest is looked up every time
                self._wanted[spelt_type] = wanted
        return wanted

    def fold(self, event: Event, time_ms: int) -> None:
        """Take the next event of the log, that is no duplicate, at the watermark that it came with."""
        if event.sequence_number <= self._folded_to or not self.wants(event.type):
            return
        event_type = event.type.casefold()
        for watched in self._rules:
            watched.fold(event, event_type, time_ms)

    def expire(self, time_ms: int) -> list[Missed]:
        """What has been waited for in vain by a watermark."""
        return [
            Missed(watched.rule, expected)
            for watched in self._rules
            if watched.pending or watched.recent
            for expected in watched.expire(time_ms)
        ]

    def next_due_ms(self) -> int | None:
        """The watermark at which the next one is missed."""
        firsts = [next(iter(watched.pending)).deadline_ms + 1 for watched in self._rules if watched.pending]
        return min(firsts, default=None)

    @property
    def pending(self) -> int:
        """Triggers that are waited with."""
        return sum([len(watched.pending) for watched in self._rules])

    def counts(self) -> dict[str, RuleCounts]:
        """By the name of the rule."""
        return {watched.rule.name: watched.counts for watched in self._rules}

    def summary(self) -> dict[str, int]:
        """pending, met, missed and unwatched, over all rules."""
        counts = [watched.counts for watched in self._rules]
        return {
            "pending": self.pending,
            "met": sum([each.met for each in counts]),
            "missed": sum([each.missed for each in counts]),
            "unwatched": sum([each.unwatched for each in counts]),
        }

    def dump(self) -> list[KeptRule]:
        """For a snapshot."""
        return [
            KeptRule(
                watched.rule.name,
                list(watched.pending),
                list(watched.recent.items()),
                watched.rule.within_ms,
            )
            for watched in self._rules
        ]

    def folded_to(self, received: int) -> int:
        """The sequence number up to which all is folded, when all up to `received` has come in this life."""
        return max(self._folded_to, received)
