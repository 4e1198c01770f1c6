"""What an event's object, order token and identity are, by event family.

The table `BUILT_IN` shows it at a glance. A configuration can put rules before it, by type. Azure ML
events carry neither sequencer nor etag today; whatever carries a sequencer is ordered by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from consumer.core.order_rules import (
    OrderRule,
    by_event_time,
    by_number,
    by_run_status,
    by_sequencer,
    by_sync_token,
    by_version,
    by_window_end,
    usable_sequencer,
)
from consumer.events import ObjectId, OrderedBy, OrderToken
from consumer.fields import field


class Reading(NamedTuple):
    """An event as far as it is read before the catalogue is asked."""

    type: str
    topic: str
    """Case-folded: resource ids are compared without regard to case."""
    subject: str
    id: str
    data: Any
    ticks: int | None
    """Event time, 100 ns since 1970; None if the event has none."""
    arrival: tuple[int, int]
    """Sequence number and index."""


class PathRule:
    """Gives the name of the object within its topic: a value in the data, or the subject."""

    __slots__ = ("path", "prefix")

    def __init__(self, path: tuple[str, ...], prefix: str = "") -> None:
        self.path = path
        """Where in the data the value is; empty: the subject."""
        self.prefix = prefix

    def __call__(self, reading: Reading) -> str | None:
        """Give the name, or None if the event has none."""
        if not self.path:
            return reading.subject
        return self.name(field(reading.data, *self.path))

    def name(self, value: Any) -> str | None:
        """The name that a value gives, or None."""
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            return None
        return f"{self.prefix}{value}"


class Family(NamedTuple):
    """A line of the catalogue."""

    name: str
    types: tuple[str, ...]
    """Event types, case-folded; one that ends with ``*`` is a prefix."""
    object_path: PathRule
    """What names the object within its topic; where it finds nothing, the subject does."""
    order: tuple[OrderRule, ...]
    """The first rule that gives a token wins; after the last one, arrival does."""


subject = PathRule(())
"""The object is what the subject names."""


def named(*path: str, prefix: str = "") -> PathRule:
    """The object is named by a value in the data."""
    return PathRule(path, prefix)


_ML = "microsoft.machinelearningservices."
_RUNS = (f"{_ML}runcompleted", f"{_ML}runstatuschanged")
_IOT = ("microsoft.devices.deviceconnected", "microsoft.devices.devicedisconnected")
_IOT_STATE = ("deviceConnectionStateEventInfo", "sequenceNumber")

# fmt: off
ANY_SEQUENCER = Family("any event with a sequencer", ("*",), subject, (by_sequencer("sequencer"),))
BUILT_IN = (
    #      family               types                            object                               order
    Family("ML runs",            _RUNS,                           named("runId", prefix="runs/"),      (by_run_status,)),
    Family("ML models",          (f"{_ML}modelregistered",),      named("modelName", prefix="models/"), (by_version("modelVersion"), by_event_time)),
    Family("ML endpoints",       (f"{_ML}modeldeployed",),        subject,                             (by_event_time,)),
    Family("ML dataset drift",   (f"{_ML}datasetdriftdetected",), named("dataDriftId", prefix="drift/"), (by_window_end, by_event_time)),
    Family("App Configuration",  ("microsoft.appconfiguration.*",), subject,                           (by_sync_token("syncToken"), by_event_time)),
    Family("IoT connections",    _IOT,                            subject,                             (by_number(OrderedBy.SEQUENCE_NUMBER, *_IOT_STATE), by_event_time)),
    Family("FHIR resources",     ("microsoft.healthcareapis.fhir*",), subject,                         (by_version("resourceVersionId"), by_event_time)),
    Family("anything else",      ("*",),                          subject,                             (by_event_time,)),
)
# fmt: on


def identity_of(reading: Reading, object_id: ObjectId) -> tuple[str, ...]:
    """What makes two events the same: the first that is present of etag, sequencer and id.

    The type belongs to it, for an App Configuration deletion has the etag of the value that it deleted.
    """
    same = mark_of(field(reading.data, "etag"), field(reading.data, "sequencer"))
    if same is None:
        return ("id", object_id.topic, reading.id, reading.type, reading.subject)
    kind, mark = same
    return (kind, object_id.topic, object_id.path, reading.type, mark)


def mark_of(etag: Any, sequencer: Any) -> tuple[str, str] | None:
    """What marks an event among those of its object, and the kind of it; None: neither does."""
    bare = bare_etag(etag)
    if bare is not None:
        return "etag", bare
    usable = usable_sequencer(sequencer)
    return None if usable is None else ("sequencer", usable)


def bare_etag(etag: Any) -> str | None:
    """An etag without the sign of a weak one and without its quotes, or None for what is none."""
    if not isinstance(etag, str):
        return None
    if etag.startswith("W/") or '"' in etag:
        etag = etag.removeprefix("W/").strip('"')
    return etag or None


class Catalogue:
    """Answers for every event: which object it is about and where in the object's order it stands."""

    def __init__(self, overrides: Sequence[Family] = ()) -> None:
        self._families = (*overrides, *BUILT_IN)
        self._overrides = frozenset(family.name for family in overrides)
        self._by_type: dict[str, Family] = {}

    def family(self, event_type: str) -> Family:
        """The line of the catalogue for a type (case-folded): the first that matches."""
        found = self._by_type.get(event_type)
        if found is None:
            found = next(family for family in self._families if _matches(family.types, event_type))
            # Types come from outside: what is remembered of them must not grow without bound.
            if len(self._by_type) < 1_000:
                self._by_type[event_type] = found
        return found

    def reads_sequencer(self, family: Family) -> bool:
        """Whether an event of the family that has a sequencer is ordered by it."""
        return family.name not in self._overrides

    def classify(self, reading: Reading) -> tuple[ObjectId, OrderToken]:
        """Give the object and the order token."""
        family = self.family(reading.type)
        if self.reads_sequencer(family):
            token = _token(ANY_SEQUENCER, reading)
            if token is not None:
                return ObjectId(reading.topic, reading.subject), token
        object_id = ObjectId(reading.topic, family.object_path(reading) or reading.subject)
        return object_id, _token(family, reading) or OrderToken(OrderedBy.ARRIVAL, reading.arrival)


def _token(family: Family, reading: Reading) -> OrderToken | None:
    for rule in family.order:
        value = rule.find(reading.data, reading.ticks, reading.type)
        if value is not None:
            return OrderToken(rule.by, value)
    return None


def _matches(types: tuple[str, ...], event_type: str) -> bool:
    return any(
        event_type.startswith(pattern[:-1]) if pattern.endswith("*") else event_type == pattern
        for pattern in types
    )
