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

from typing import Any, Final

import msgspec
import orjson
from msgspec.structs import astuple

from consumer.core.catalogue import bare_etag
from consumer.core.decode import BODY_MAX
from consumer.core.digests import Digests
from consumer.core.envelopes import cloud, clouds, grid, grids
from consumer.core.flights import Flight
from consumer.core.order_rules import usable_sequencer
from consumer.core.packed_token import code_of, pack_value
from consumer.core.plans import Layout, Plans, TypePlan
from consumer.core.times import TickReader
from consumer.events import Event, OrderedBy, OrderValue, RawBatch, Schema
from consumer.strict_json import DEPTH_MAX

_GRID: Final = len('{"topic":"","subject":"","eventType":"","id":"","eventTime":"","data":}')
_DATA_VERSION: Final = len('"dataVersion":"",')
_METADATA_VERSION: Final = len('"metadataVersion":"",')
_CLOUD: Final = len('{"specversion":"1.0","type":"","source":"","subject":"","id":"","time":"","data":}')

_HEAD: Final = 600
"""Bytes in which a CloudEvent has said that it is one; if it says so later, the exact way reads it."""
_TELLING: Final = 5
"""Where in a body that is an object a letter of its first member tells the schema, if only one has that."""
_UNKNOWN: Final = 0
_IS_GRID: Final = 1
_IS_CLOUD: Final = 2
_EITHER: Final = 3
_BRACKET: Final = 0x5B
"""A byte is found in bytes much faster by its number."""
_OPENED_MAX: Final = DEPTH_MAX - 2
"""Objects and arrays in the data, which may all be nested: the body adds two."""
_SIZE_MAX: Final = BODY_MAX
_SEQUENCER: Final = OrderedBy.SEQUENCER
_SEQUENCER_CODE: Final = code_of(OrderedBy.SEQUENCER)
_ARRIVAL: Final = OrderedBy.ARRIVAL
_ARRIVAL_CODE: Final = code_of(OrderedBy.ARRIVAL)
_EVENT_GRID: Final = Schema.EVENT_GRID
_CLOUD_EVENTS: Final = Schema.CLOUD_EVENTS
_REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# What is imported is looked up each time in the compiled form; what is final is not.
_astuple: Final = astuple
_grid: Final = grid
_grids: Final = grids
_cloud: Final = cloud
_clouds: Final = clouds
_loads: Final = orjson.loads
_NOTHING: Final[Any] = b""
_Event: Final = Event

Members = tuple[str, str, str, str, str, Any]
"""Topic, subject, type, id, time and data of an envelope."""


class Columns:
    """The columns of a batch, where each row finds them at once."""

    def __init__(self, batch: RawBatch) -> None:
        self.partition = batch.partition
        self.bodies = batch.bodies
        self.numbers: list[Any] = batch.sequence_numbers
        self.times_ms: list[Any] = batch.enqueued_times_ms
        self.keys = batch.partition_keys


class PlainEvents:
    """Reads plain events of one partition."""

    def __init__(self, plans: Plans, digests: Digests) -> None:
        self._plans = plans
        self._digests = digests
        self._ticks = TickReader()
        self._guesses = [_UNKNOWN] * 256
        """The schema of bodies by their telling letter; only guesses, for the members tell."""

    def read(self, columns: Columns, row: int) -> Flight | None:
        """The event of a message, or None for the exact way."""
        body = columns.bodies[row]
        size = len(body)
        if size > _SIZE_MAX or size <= _TELLING + 1:
            return None
        is_wrapped = body[0] == _BRACKET
        letter = body[_TELLING + 1] if is_wrapped else body[_TELLING]
        guess = self._guesses[letter]
        is_cloud = guess == _IS_CLOUD or (guess != _IS_GRID and self._look(body, letter))
        found: Any
        try:
            if not is_wrapped:
                found = _cloud(body) if is_cloud else _grid(body)
            else:
                elements = _clouds(body) if is_cloud else _grids(body)
                if len(elements) != 1:
                    return None
                found = elements[0]
        except _REFUSED:
            if is_cloud != _says_cloud(body):
                self._guesses[letter] = _EITHER
            return None
        return self._proven(columns, row, found, is_cloud, is_wrapped)

    def _look(self, body: bytes, letter: int) -> bool:
        """Whether a body seems to be a CloudEvent; remembered by its letter."""
        is_cloud = _says_cloud(body)
        if self._guesses[letter] == _UNKNOWN:
            self._guesses[letter] = _IS_CLOUD if is_cloud else _IS_GRID
        return is_cloud

    def _proven(
        self,
        columns: Columns,
        row: int,
        found: Any,
        is_cloud: bool,  # noqa: FBT001 - hot
        is_wrapped: bool,  # noqa: FBT001 - hot
    ) -> Flight | None:
        """Make a flight of an envelope if the body holds nothing but what was found."""
        if is_cloud:
            of_cloud: tuple[str, str, str, str, str, Any, str] = _astuple(found)
            topic, subject, spelt, id_, time, data, version = of_cloud
            if version != "1.0":
                return None
            length = _CLOUD
        else:
            of_grid: tuple[str, str, str, str, str, Any, str | None, str | None] = _astuple(found)
            topic, subject, spelt, id_, time, data, data_version, metadata_version = of_grid
            length = _GRID
            if data_version is not None:
                length += _DATA_VERSION + len(data_version)
            if metadata_version is not None:
                length += _METADATA_VERSION + len(metadata_version)
        if is_wrapped:
            length += 2
        written: bytes = _NOTHING + data  # `bytes(data)` takes twice as long
        length += len(topic) + len(subject) + len(spelt) + len(id_) + len(time)
        if not _fills(columns.bodies[row], length, written):
            return None
        if not (topic and subject and spelt and id_):
            return None
        members = (topic, subject, spelt, id_, time, data)
        return self._flight(columns, row, members, written, is_cloud, is_wrapped)

    def _flight(
        self,
        columns: Columns,
        row: int,
        members: Members,
        written: bytes,
        is_cloud: bool,  # noqa: FBT001 - hot
        is_wrapped: bool,  # noqa: FBT001 - hot
    ) -> Flight | None:
        """Make a flight of what stands in the envelope and of its data as they are written."""
        topic, subject, spelt, id_, time, data = members
        ticks: Any = self._ticks.ticks(time)
        plan = self._plans.of.get(spelt) or self._plans.plan(spelt)
        if ticks is None or not plan.is_flat:
            return None
        known = plan.topics.get(topic) or plan.topic(topic)
        try:
            values = _loads(written)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(values, dict):
            return None
        layout = plan.layout(list(values.keys()))
        sequencer = None if layout.sequencer is None else usable_sequencer(values[layout.sequencer])
        number, time_ms = columns.numbers[row], columns.times_ms[row]
        path, code, by, value = _place(plan, layout, values, subject, sequencer, ticks, number)
        digests = known.digests
        object_key = digests.object_key(path)
        body = columns.bodies[row]
        event = _Event(
            id_, plan.spelt, known.spelt, subject, _CLOUD_EVENTS if is_cloud else _EVENT_GRID, ticks, time_ms,
            columns.partition, number, 0, object_key, known.folded, path, by, value, body,
            is_wrapped, data, columns.keys[row],
        )  # fmt: skip
        flight = Flight(number, 0, time_ms)
        flight.event = event
        if known.verdict is not None:
            flight.verdict = known.verdict
            return flight
        etag = None if layout.etag is None else bare_etag(values[layout.etag])
        if etag is not None:
            flight.identity = digests.identity("etag", path, etag)
        elif sequencer is not None:
            flight.identity = digests.identity("sequencer", path, sequencer)
        else:
            flight.identity = digests.identity("id", id_, subject)
        flight.print = flight.identity + self._digests.data(written, values)
        flight.packed = pack_value(code, value)
        flight.size = len(body) - 2 if is_wrapped else len(body)
        flight.get_ready(object_key, plan.spelt, plan.route)
        return flight


def _says_cloud(body: bytes) -> bool:
    return body.find(b'"specversion":', 0, _HEAD) >= 0


def _fills(body: bytes, length: int, data: bytes) -> bool:
    """Whether a body is as long (in characters) as its members and the data, and nested as it may be."""
    # Nothing is fewer bytes than characters: where bytes alone make up the sum, each member is ASCII.
    if length + len(data) != len(body):
        if body.isascii():
            return False
        try:
            if length + len(data.decode()) != len(body.decode()):
                return False
        except UnicodeDecodeError:
            return False
    # `replace` leaps from one to the next, `count` looks at every byte: it takes twice as long.
    openings = len(data) - len(data.replace(b"{", b""))
    if _BRACKET in data:
        openings += len(data) - len(data.replace(b"[", b""))
    return openings <= _OPENED_MAX


def _place(
    plan: TypePlan,
    layout: Layout,
    values: dict[str, Any],
    subject: str,
    sequencer: str | None,
    ticks: Any,
    number: Any,
) -> tuple[str, int, OrderedBy, OrderValue]:
    """Path of the object, and code, kind and value of the order token, as the catalogue gives them."""
    if sequencer is not None and plan.reads_sequencer:
        return subject, _SEQUENCER_CODE, _SEQUENCER, sequencer
    path = subject
    if plan.object_rule.path and layout.object is not None:
        path = plan.object_rule.name(values[layout.object]) or subject
    for key, rule in layout.order:
        value = rule.value(None if key is None else values[key], ticks, plan.folded)
        if value is not None:
            return path, rule.code, rule.by, value
    return path, _ARRIVAL_CODE, _ARRIVAL, (number, 0)
