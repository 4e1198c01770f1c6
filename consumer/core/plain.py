"""Read events in the form that nearly all have, at a fraction of what the exact way costs.

*Plain* is a message with one event, written without blanks, with the members that Event Grid writes and no
others, each once and without escapes. That is checked by its length: a JSON object is exactly as long as
its members and the signs between them only if there is nothing else in it, nothing twice, no blank and no
escape. Whatever is not plain, or would be refused, is left to `consumer.core.decode`, which gives the very
same for what is plain, and the reason for what is no event.

What is refused in time, whether plain or not: text that is not UTF-8 or not JSON, NaN, a number too large
for a double, half a surrogate pair, a missing or empty field, a bad time, a size or depth beyond the limit,
a member twice in the envelope. What shows only when `Event.data` is asked for, if the event was plain: a key
that stands twice in one object within the data.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from consumer.core.catalogue import mark_of, usable_sequencer
from consumer.core.decode import BODY_MAX
from consumer.core.digests import Digests
from consumer.core.envelopes import cloud, clouds, grid, grids
from consumer.core.flights import Flight
from consumer.core.packed_token import pack
from consumer.core.plans import Layout, Plans, TypePlan
from consumer.core.times import TickReader
from consumer.events import Event, OrderedBy, OrderToken, RawBatch, Schema
from consumer.strict_json import DEPTH_MAX

_GRID = len('{"topic":"","subject":"","eventType":"","id":"","eventTime":"","data":}')
_DATA_VERSION = len('"dataVersion":"",')
_METADATA_VERSION = len('"metadataVersion":"",')
_CLOUD = len('{"specversion":"1.0","type":"","source":"","subject":"","id":"","time":"","data":}')

_HEAD = 600
"""Bytes in which a CloudEvent has said that it is one; if it says so later, the exact way reads it."""
_OPENING = 7
"""Bytes with which a body begins, up to the name of its first member: it nearly always tells the schema."""
_OPENINGS_MAX = 32
_BRACKET = 0x5B
"""A byte is found in bytes much faster by its number."""
_SEQUENCER = OrderedBy.SEQUENCER
_EVENT_GRID, _CLOUD_EVENTS = Schema.EVENT_GRID, Schema.CLOUD_EVENTS
_REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class PlainEvents:
    """Reads plain events of one partition."""

    def __init__(self, plans: Plans, digests: Digests) -> None:
        self._plans = plans
        self._digests = digests
        self._ticks = TickReader()
        self._openings: dict[bytes, bool | None] = {}
        """Whether a body that begins so is a CloudEvent; None: may be. Only a guess, for the members tell."""

    def read(self, batch: RawBatch, row: int) -> Flight | None:
        """The event of a message, or None for the exact way."""
        body = batch.bodies[row]
        if len(body) > BODY_MAX:
            return None
        is_wrapped = body.startswith(b"[")
        opening = body[:_OPENING]
        guess = self._openings.get(opening)
        is_cloud = self._look(body, opening) if guess is None else guess
        found: Any
        try:
            if not is_wrapped:
                found = cloud(body) if is_cloud else grid(body)
            else:
                elements = clouds(body) if is_cloud else grids(body)
                if len(elements) != 1:
                    return None
                found = elements[0]
        except _REFUSED:
            if guess is not None and guess != _says_cloud(body):
                self._openings[opening] = None
            return None
        written = bytes(found.data)
        length = len(found.topic) + len(found.subject) + len(found.type) + len(found.id) + len(found.time)
        if is_cloud:
            if found.specversion != "1.0":
                return None
            length += _CLOUD
        else:
            length += _GRID
            if found.data_version is not None:
                length += _DATA_VERSION + len(found.data_version)
            if found.metadata_version is not None:
                length += _METADATA_VERSION + len(found.metadata_version)
        if not _fills(body, length, written, is_wrapped):
            return None
        return self._flight(batch, row, found, written, is_cloud)

    def _look(self, body: bytes, opening: bytes) -> bool:
        """Whether a body seems to be a CloudEvent; remembered by its opening, while there are few of them."""
        is_cloud = _says_cloud(body)
        if len(self._openings) < _OPENINGS_MAX:
            self._openings.setdefault(opening, is_cloud)
        return is_cloud

    def _flight(self, batch: RawBatch, row: int, found: Any, written: bytes, is_cloud: bool) -> Flight | None:  # noqa: FBT001 - hot
        """Make a flight of what stands in the envelope."""
        topic: str = found.topic
        subject: str = found.subject
        spelt: str = found.type
        id_: str = found.id
        ticks = self._ticks.ticks(found.time)
        if ticks is None or not (topic and subject and spelt and id_):
            return None
        plan = self._plans.of.get(spelt) or self._plans.plan(spelt)
        if not plan.is_flat:
            return None
        known = plan.topics.get(topic) or plan.topic(topic)
        folded = known.folded
        try:
            members = orjson.loads(written)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(members, dict):
            return None
        keys = tuple(members)
        layout = plan.layouts.get(keys) or plan.layout(keys)
        path, token = _place(plan, layout, members, subject, ticks)
        number = batch.sequence_numbers[row]
        if token is None:
            token = OrderToken(OrderedBy.ARRIVAL, (number, 0))
        by, value = token
        digests = self._digests
        object_key = digests.object_key(folded, path)
        body = batch.bodies[row]
        time_ms = batch.enqueued_times_ms[row]
        is_wrapped = body.startswith(b"[")
        event = Event(
            id_, spelt, topic, subject, _CLOUD_EVENTS if is_cloud else _EVENT_GRID, ticks, time_ms,
            batch.partition, number, 0, object_key, folded, path, by, value, body, is_wrapped,
            found.data, batch.partition_keys[row],
        )  # fmt: skip
        flight = Flight(number, 0, time_ms)
        flight.event = event
        if known.verdict is not None:
            flight.verdict = known.verdict
            return flight
        etag = None if layout.etag is None else members[layout.etag]
        sequencer = None if layout.sequencer is None else members[layout.sequencer]
        same = mark_of(etag, sequencer)
        if same is None:
            flight.identity = digests.identity(("id", folded, id_, plan.folded, subject))
        else:
            kind, mark = same
            flight.identity = digests.identity((kind, folded, path, plan.folded, mark))
        flight.print = flight.identity + digests.data(written, members)
        flight.packed = pack(token)
        flight.size = len(body) - 2 if is_wrapped else len(body)
        flight.get_ready(event, plan.route)
        return flight


def _says_cloud(body: bytes) -> bool:
    return body.find(b'"specversion":', 0, _HEAD) >= 0


def _fills(body: bytes, length: int, data: bytes, is_wrapped: bool) -> bool:  # noqa: FBT001 - a measure
    """Whether a body is as long (in characters) as its members and the data, and nested as it may be."""
    if is_wrapped:
        length += 2
    if body.isascii():
        if length + len(data) != len(body):
            return False
    else:
        try:
            if length + len(data.decode()) != len(body.decode()):
                return False
        except UnicodeDecodeError:
            return False
    # `replace` leaps from one to the next, `count` looks at every byte: it takes twice as long.
    openings = len(data) - len(data.replace(b"{", b""))
    if _BRACKET in data:
        openings += len(data) - len(data.replace(b"[", b""))
    return openings <= DEPTH_MAX - 2


def _place(
    plan: TypePlan, layout: Layout, members: dict[str, Any], subject: str, ticks: int
) -> tuple[str, OrderToken | None]:
    """Path of the object and order token, as the catalogue gives them."""
    value: Any
    if layout.sequencer is not None and plan.reads_sequencer:
        sequencer = usable_sequencer(members[layout.sequencer])
        if sequencer is not None:
            return subject, OrderToken(_SEQUENCER, sequencer)
    path = subject
    if plan.object_rule.path:
        value = None if layout.object is None else members[layout.object]
        path = plan.object_rule.name(value) or subject
    for key, rule in layout.order:
        value = None if key is None else members[key]
        token = rule.make(value, ticks, plan.folded)
        if token is not None:
            return path, token
    return path, None
