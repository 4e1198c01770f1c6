"""Forwards events to another event hub, or to a topic of Kafka: to teams that read there, or to re-key them.

With ``partition_key: object`` all events of an object are on one partition of the target, in their order,
wherever the source had them: the way to order for a hub that Event Grid fills without a partition key.

Every event carries its idempotency key as its message id. When an attempt fails, or its answer is lost,
events are sent again under the same id and in the same order; what was taken already is not sent again,
unless the process ended in between. A busy or throttled target is waited for; only an event that is too large
for the target becomes a dead letter, by itself.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from consumer.events import Event, Schema
from consumer.processor import Context, Reject
from processors.cloud_events import structured
from processors.forward_settings import ForwardSettings
from processors.half_done import HalfDone

JSON = "application/json; charset=utf-8"
_KEY_MAX = 128
"""Characters of a partition key; Event Hubs takes no more."""
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_STATE_MAX = 512


class Parcel(NamedTuple):
    """An event as it is sent."""

    event: Event
    message_id: str
    """The idempotency key."""
    partition_key: str | None
    body: bytes
    content_type: str
    properties: Mapping[str, str]


class Target(Protocol):
    """Where parcels go."""

    name: str

    async def open(self) -> None:
        """Get ready, without connecting. Raises `ProcessorSettingsError`."""

    async def send(self, parcels: Sequence[Parcel], taken: Callable[[Parcel], None]) -> list[Parcel]:
        """Send parcels, those of one partition key in order; gives those that are too large for it.

        Of a partition key with one that is too large, what comes behind it is not sent. Calls `taken` for
        each that the target has acknowledged. Raises `Retry`.
        """

    async def close(self) -> None:
        """Let go of all connections."""


class Forward:
    """Sends every event on, in batches."""

    Settings = ForwardSettings

    def __init__(self, settings: ForwardSettings) -> None:
        """Raises `ProcessorSettingsError` if what it takes to speak to the target is not installed."""
        self._settings = settings
        self._target = _target_of(settings)
        self._sent = HalfDone()

    async def open(self) -> None:
        """Get ready; a target that is away now is waited for later. Raises `ProcessorSettingsError`."""
        await self._target.open()

    async def process_batch(self, events: Sequence[Event], context: Context) -> None:
        """Forward events; on return the target has acknowledged them.

        Raises `Retry` if it does not for now, `Reject` if one of them is too large.
        """
        keys = [context.key_of(event) for event in events]
        parcels = [self._parcel(event, key) for event, key in self._sent.left(events, keys)]
        too_large = await self._target.send(
            parcels, lambda parcel: self._sent.note(parcel.event, parcel.message_id)
        )
        if too_large:
            raise Reject(f"too large for {self._target.name}: {len(too_large[0].body)} bytes")
        self._sent.forget(events, keys)

    def preview(self, event: Event, context: Context) -> Mapping[str, Any]:
        """The message that an event would be."""
        parcel = self._parcel(event, context.key_of(event))
        try:
            body = {"body": orjson.loads(parcel.body)}
        except orjson.JSONDecodeError:
            body = {"body_base64": base64.b64encode(parcel.body).decode()}
        return {
            "target": self._target.name,
            "message_id": parcel.message_id,
            "partition_key": parcel.partition_key,
            "content_type": parcel.content_type,
            "properties": dict(parcel.properties),
            **body,
        }

    async def close(self) -> None:
        """Let go of all connections."""
        await self._target.close()

    def _parcel(self, event: Event, key: str) -> Parcel:
        properties = {"type": event.type, "subject": event.subject, "topic": event.topic, **_trace_of(event)}
        partition_key = partition_key_of(event, self._settings.partition_key)
        if self._settings.content == "cloudevents":
            content = structured(event)
            return Parcel(
                event, key, partition_key, content.body, content.headers["Content-Type"], properties
            )
        body = event.body if event.is_wrapped else event.original
        return Parcel(event, key, partition_key, body, JSON, properties)


def partition_key_of(event: Event, rule: str) -> str | None:
    """What keeps an event together with others; None: nothing does."""
    match rule:
        case "none":
            return None
        case "keep":
            return event.partition_key
        case "object":
            return _object_key(event)
        case "subject":
            text = event.subject
        case _:
            found = event.field(*rule.split(".")[1:])
            text = str(found) if isinstance(found, str | int) else ""
    if not text:
        return _object_key(event)
    return text if len(text) <= _KEY_MAX else _digest(text)


def _object_key(event: Event) -> str:
    # Not the event's own digest of it: a partition with older state may have another kind.
    return _digest(f"{event.object_topic}\0{event.object_path}")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _trace_of(event: Event) -> dict[str, str]:
    """The trace that a CloudEvent belongs to, under W3C's names and the one that Azure's clients look at."""
    if event.schema is not Schema.CLOUD_EVENTS or b'"traceparent"' not in event.original:
        return {}
    try:
        members = orjson.loads(event.original)
    except orjson.JSONDecodeError:
        return {}
    parent, state = members.get("traceparent"), members.get("tracestate")
    if not isinstance(parent, str) or not _TRACE_PARENT.fullmatch(parent):
        return {}
    trace = {"traceparent": parent, "Diagnostic-Id": parent}
    if isinstance(state, str) and state.isascii() and state.isprintable() and len(state) <= _TRACE_STATE_MAX:
        trace["tracestate"] = state
    return trace


def _target_of(settings: ForwardSettings) -> Target:
    # Imported where they are chosen: one loads a large client, the other may not be installed.
    if settings.kafka is not None:
        from processors.forward_kafka import KafkaTopic  # noqa: PLC0415

        return KafkaTopic(settings.kafka, settings.timeout_s)
    from processors.forward_hub import Hub  # noqa: PLC0415

    return Hub(settings)
