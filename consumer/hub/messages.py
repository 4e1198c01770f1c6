"""Messages on the wire: taken apart as they come in, and stored ready to go out again.

An event is stored as the bytes that follow the transfer performative: its annotations as the
service writes them, then the sender's properties and body exactly as they were sent. A delivery
only needs a frame head in front of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from consumer.hub.codec import CodecError, Described, Symbol, Timestamp, ULong, decode, encode, skip

HEADER, DELIVERY_ANNOTATIONS, MESSAGE_ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES = range(0x70, 0x75)
DATA, SEQUENCE, VALUE, FOOTER = range(0x75, 0x79)

_SEQUENCE_NUMBER = encode(Symbol("x-opt-sequence-number")) + b"\x81"
_OFFSET = encode(Symbol("x-opt-offset")) + b"\xa1"
_ENQUEUED_TIME = encode(Symbol("x-opt-enqueued-time")) + b"\x83"
_PARTITION_KEY = encode(Symbol("x-opt-partition-key"))
_STAMPED = {"x-opt-sequence-number", "x-opt-offset", "x-opt-enqueued-time", "x-opt-partition-key"}
"""Annotations that are the hub's to write; a sender's own values of them are not kept."""
_LONG = struct.Struct(">q")
_U32 = struct.Struct(">I")
_MAP32 = struct.Struct(">3sBII")


class Incoming(NamedTuple):
    """An event as a sender gave it, before it has a place in a partition."""

    partition_key: str | None
    annotations: bytes
    """The sender's own message annotations, encoded keys and values without the map around them."""
    annotation_count: int
    """Of keys and values together."""
    content: bytes
    """Properties, application properties, body and footer, as they were sent."""


class Content(NamedTuple):
    """What an event says, decoded for people and oracles."""

    body: bytes
    application_properties: Mapping[str, Any]
    properties: list[Any]


class Request(NamedTuple):
    """A message on `$cbs` or `$management`."""

    message_id: bytes
    """Encoded, to be sent back with its type unchanged."""
    arguments: Mapping[str, Any]
    body: Any


def sections(message: bytes) -> list[tuple[int, int, int]]:
    """The sections of a message: code, where it begins, where its value begins. Raises `CodecError`."""
    found: list[tuple[int, int, int]] = []
    at = 0
    previous = 0
    while at < len(message):
        begin = at
        if message[at] != 0:
            raise CodecError("a message holds something that is no section")
        code, value_at = decode(message, at + 1)
        if not isinstance(code, int) or not HEADER <= code <= FOOTER:
            raise CodecError("a message holds an unknown section")
        if code < previous or (code == previous and code not in {DATA, SEQUENCE}):
            raise CodecError("the sections of a message are out of order")
        at = skip(message, value_at)
        found.append((code, begin, value_at))
        previous = code
    return found


def incoming(message: bytes) -> Incoming:
    """Take one event apart. Raises `CodecError`."""
    content_at = len(message)
    key: str | None = None
    others: list[bytes] = []
    for code, begin, value_at in sections(message):
        if code == MESSAGE_ANNOTATIONS:
            key, others = _annotations(message, value_at)
        elif code >= PROPERTIES:
            content_at = min(content_at, begin)
            _expect_readable(code, message, value_at)
    return Incoming(key, b"".join(others), 2 * len(others), message[content_at:])


def _expect_readable(code: int, message: bytes, at: int) -> None:
    """Refuse now what receivers could not read later. A body of bytes is taken as it is: it costs nothing."""
    if code == DATA:
        if message[at] not in {0xA0, 0xB0}:
            raise CodecError("the body's data is not binary")
        return
    value, _ = decode(message, at)
    expected = {PROPERTIES: list, APPLICATION_PROPERTIES: dict}.get(code)
    if expected is not None and not isinstance(value, expected):
        raise CodecError("the properties are malformed")


def _annotations(message: bytes, at: int) -> tuple[str | None, list[bytes]]:
    """The partition key among the annotations at `at`, and the others as they were sent."""
    if not isinstance(decode(message, at)[0], dict):
        raise CodecError("the annotations are not a map")
    count, at = (
        (message[at + 2], at + 3) if message[at] == 0xC1 else (_U32.unpack_from(message, at + 5)[0], at + 9)
    )
    key: str | None = None
    others: list[bytes] = []
    for _ in range(count // 2):
        name, value_at = decode(message, at)
        value, end = decode(message, value_at)
        if name == "x-opt-partition-key" and isinstance(value, str):
            key = value
        if name not in _STAMPED:
            others.append(message[at:end])
        at = end
    return key, others


def batched(message: bytes) -> list[Incoming]:
    """Take a batch apart: every data section is an event. Raises `CodecError`."""
    batch_key: str | None = None
    events: list[Incoming] = []
    for code, _, value_at in sections(message):
        if code == MESSAGE_ANNOTATIONS:
            batch_key, _ = _annotations(message, value_at)
        elif code == DATA:
            raw, _ = decode(message, value_at)
            if not isinstance(raw, bytes):
                raise CodecError("a batch holds something that is not data")
            event = incoming(raw)
            events.append(event if batch_key is None else event._replace(partition_key=batch_key))
        elif code > DATA:
            raise CodecError("a batch has a body that is not data")
    return events


def outgoing(event: Incoming, sequence_number: int, offset: str, enqueued_time_ms: int) -> bytes:
    """The bytes of an event as every receiver gets them."""
    raw_offset = offset.encode("ascii")
    pairs = b"".join(
        (
            _SEQUENCE_NUMBER, _LONG.pack(sequence_number),
            _OFFSET, bytes((len(raw_offset),)), raw_offset,
            _ENQUEUED_TIME, _LONG.pack(enqueued_time_ms),
            b"" if event.partition_key is None else _PARTITION_KEY + encode(event.partition_key),
            event.annotations,
        )
    )  # fmt: skip
    count = 6 + 2 * (event.partition_key is not None) + event.annotation_count
    return _MAP32.pack(b"\x00\x53\x72", 0xD1, len(pairs) + 4, count) + pairs + event.content


def compose(body: bytes, properties: Mapping[str, Any] | None, partition_key: str | None) -> Incoming:
    """An event of the hub's own making."""
    return compose_all([body], properties, partition_key)[0]


def compose_all(
    bodies: Iterable[bytes], properties: Mapping[str, Any] | None, partition_key: str | None
) -> list[Incoming]:
    """Events of the hub's own making that differ in nothing but their bodies."""
    before = b"\x00\x53\x74" + encode(dict(properties)) if properties else b""
    before += b"\x00\x53\x75"
    return [Incoming(partition_key, b"", 0, before + encode(body)) for body in bodies]


def read_content(message: bytes) -> Content:
    """Decode what a stored event says. A body of several data sections is joined; any other is b""."""
    body: list[bytes] = []
    application_properties: Mapping[str, Any] = {}
    properties: list[Any] = []
    for code, _, value_at in sections(message):
        if code < PROPERTIES:
            continue
        value, _ = decode(message, value_at)
        if code == DATA and isinstance(value, bytes):
            body.append(value)
        elif code == APPLICATION_PROPERTIES and isinstance(value, dict):
            application_properties = value
        elif code == PROPERTIES and isinstance(value, list):
            properties = value
    return Content(b"".join(body), application_properties, properties)


def delivery_annotations(sequence_number: int, offset: str, enqueued_time_ms: int, now_ms: int) -> bytes:
    """What a receiver with the runtime-metric capability is told of the partition's end."""
    values = {
        Symbol("last_enqueued_sequence_number"): sequence_number,
        Symbol("last_enqueued_offset"): offset,
        Symbol("last_enqueued_time_utc"): Timestamp(enqueued_time_ms),
        Symbol("runtime_info_retrieval_time_utc"): Timestamp(now_ms),
    }
    return b"\x00\x53\x71" + encode(values)


def request(message: bytes) -> Request:
    """Take a request apart. Raises `CodecError`."""
    message_id = b"\x40"
    arguments: Mapping[str, Any] = {}
    body: Any = None
    for code, _, value_at in sections(message):
        value, _ = decode(message, value_at)
        if code == PROPERTIES:
            message_id = _first_field(message, value_at) if value else b"\x40"
        elif code == APPLICATION_PROPERTIES and isinstance(value, dict):
            arguments = value
        elif code >= DATA:
            body = value
    return Request(message_id, arguments, body)


def _first_field(message: bytes, at: int) -> bytes:
    """The first element of the list at `at`, still encoded: its type matters to who gets it back."""
    code = message[at]
    if code not in {0xC0, 0xD0}:
        return b"\x40"
    begin = at + (3 if code == 0xC0 else 9)
    end = skip(message, begin)
    return message[begin:end]


def response(message_id: bytes, status: Mapping[str, Any], body: object) -> bytes:
    """An answer to a request; `status` becomes the application properties."""
    properties = b"\x40" * 5 + message_id + b"\x40" * 7
    encoded = b"\xd0" + struct.pack(">II", len(properties) + 4, 13) + properties
    return (
        b"\x00\x53\x73"
        + encoded
        + encode(Described(ULong(APPLICATION_PROPERTIES), dict(status)))
        + encode(Described(ULong(VALUE), body))
    )
