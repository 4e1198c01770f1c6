"""Events as CloudEvents 1.0, in the three forms that HTTP has for them; data goes over byte for byte.

An event that came as a CloudEvent goes out as it came. One of Event Grid's own schema becomes

    id                  id
    type                eventType
    source              topic, what a URI cannot hold %-encoded
    subject             subject
    time                eventTime, as it was written
    datacontenttype     application/json
    dataversion         dataVersion, unless it is empty
    metadataversion     metadataVersion, unless it is empty
    data                data, the very bytes

as Event Grid itself converts it; the two versions, which it drops, are kept as extensions.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import orjson

from consumer.events import Event, Schema
from consumer.processor import Reject

STRUCTURED = "application/cloudevents+json; charset=utf-8"
BATCH = "application/cloudevents-batch+json; charset=utf-8"
JSON = "application/json; charset=utf-8"
ATTRIBUTES_MAX_BYTES = 16_384
"""Of the attributes as headers; servers take little more."""

_URI = "/?#[]@!$&'()*+,;=:%~"
"""What stays as it is in a URI reference, besides letters, digits and ``_.-``."""
_VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}")
_MEDIA_TYPE = re.compile(
    r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(\s*;\s*[\w!#$&^.+-]+=(\w[\w.+-]*|\"[\w.+ -]*\"))*", re.ASCII
)
_JSON_TYPE = re.compile(r"[^/]+/([^;]*\+)?json\s*(;.*)?", re.IGNORECASE)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_RENAMED = {
    "id": "id",
    "eventType": "type",
    "topic": "source",
    "subject": "subject",
    "eventTime": "time",
    "dataVersion": "dataversion",
    "metadataVersion": "metadataversion",
}


class Content(NamedTuple):
    """What a request carries."""

    headers: Mapping[str, str]
    body: bytes


def structured(event: Event) -> Content:
    """The event as one JSON object."""
    return Content({"Content-Type": STRUCTURED}, _json(event))


def batch(events: Iterable[Event]) -> Content:
    """Events as one JSON array, in order."""
    return Content({"Content-Type": BATCH}, b"[" + b",".join(map(_json, events)) + b"]")


def binary(event: Event) -> Content:
    """The data as the body, and the attributes as headers.

    Raises `Reject` for what no header can hold, which the other forms can.
    """
    members = _members_of(event)
    attributes = dict(_attributes(event, members))
    media_type = attributes.pop("datacontenttype", JSON)
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise Reject("the datacontenttype of the event is no media type")
    headers = {"Content-Type": media_type}
    for name, value in attributes.items():
        if not _ATTRIBUTE.fullmatch(name):
            raise Reject("an attribute of the event has a name that no header can have")
        headers[f"ce-{name}"] = quote(value, safe=_VISIBLE)
    if sum(map(len, (*headers, *headers.values()))) > ATTRIBUTES_MAX_BYTES:
        raise Reject(f"the attributes of the event take more than {ATTRIBUTES_MAX_BYTES} bytes as headers")
    return Content(headers, _data(members, media_type))


def original(events: Sequence[Event]) -> Content:
    """Events as Event Grid itself would have sent them: its own schema in an array, a CloudEvent alone.

    Several CloudEvents are a batch. Raises `Reject` for events of both schemas together.
    """
    bodies = [event.original for event in events]
    schemas = {event.schema for event in events}
    if schemas == {Schema.CLOUD_EVENTS}:
        return Content({"Content-Type": STRUCTURED}, bodies[0]) if len(bodies) == 1 else batch(events)
    if schemas != {Schema.EVENT_GRID}:
        raise Reject("the events have different schemas")
    headers = {"Content-Type": JSON, "aeg-event-type": "Notification"}
    return Content(headers, b"[" + b",".join(bodies) + b"]")


def _json(event: Event) -> bytes:
    if event.schema is Schema.CLOUD_EVENTS:
        return event.original
    members = _members_of(event)
    attributes: dict[str, Any] = dict(_attributes(event, members))
    if "data" in members:
        attributes["data"] = orjson.Fragment(bytes(members["data"]))
    return orjson.dumps(attributes)


def _members_of(event: Event) -> dict[str, msgspec.Raw]:
    try:
        return _members(event.original)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Reject("the event is no JSON object any more") from None


def _attributes(event: Event, members: Mapping[str, msgspec.Raw]) -> Iterable[tuple[str, str]]:
    """Each attribute with its text; those that are null are not there."""
    if event.schema is Schema.CLOUD_EVENTS:
        for name, raw in members.items():
            if name not in ("data", "data_base64") and (text := _text(raw)) is not None:
                yield name, text
        return
    yield "specversion", "1.0"
    for name, attribute in _RENAMED.items():
        text = _text(members[name]) if name in members else None
        if text:
            yield attribute, quote(text, safe=_URI) if attribute == "source" else text
    yield "datacontenttype", "application/json"


def _text(raw: msgspec.Raw) -> str | None:
    """An attribute's value in its canonical form; None for null."""
    value = orjson.loads(bytes(raw))
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            raise Reject("an attribute of the event is neither text, nor an integer, nor a truth value")


def _data(members: Mapping[str, msgspec.Raw], media_type: str) -> bytes:
    """The data as its media type has it: JSON as it came, other text without its quotes, bytes decoded."""
    if "data_base64" in members:
        try:
            return base64.b64decode(_text(members["data_base64"]) or "", validate=True)
        except binascii.Error:
            raise Reject("the data_base64 of the event is no Base64") from None
    raw = bytes(members.get("data", b""))
    if raw.startswith(b'"') and not _JSON_TYPE.fullmatch(media_type):
        return str(orjson.loads(raw)).encode()
    return raw
