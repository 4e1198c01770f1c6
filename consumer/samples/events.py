"""What every sample event shares: the envelope in both schemas, the body, the application properties.

Azure is not of one mind about how to write an event. What differs from event to event in captured ones is
drawn here too: the case of the data keys, seven or six fraction digits, ``Z`` or ``+00:00``, ``dataVersion``,
version numbers as numbers or text, etags with or without quotes inside.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from consumer.events import Schema

Element = dict[str, Any]
"""One event as it stands in a body."""

TICKS_PER_S = 10_000_000
"""Event times are counted in ticks of 100 ns since 1970, the finest that Azure writes."""
SUBSCRIPTION = "7c1d5a1e-4b0f-4e0c-9d55-2f6a3b9c8e10"
EVENT_SUBSCRIPTION = "inturn-to-eventhub"
"""The Event Grid subscription that the samples claim to have come through."""


@dataclass(frozen=True, slots=True)
class Style:
    """How one event is written."""

    schema: Schema = Schema.EVENT_GRID
    is_pascal: bool = False
    """Data keys in PascalCase; Azure ML does that for models, endpoints and drift."""
    offset: str = "Z"
    """``Z`` or ``+00:00``."""
    fraction_digits: int = 7
    """7 or 6."""
    data_version: str = "2"
    is_version_text: bool = True
    """``"modelVersion": "3"`` rather than ``3``."""
    is_etag_quoted: bool = False
    """``"eTag": "\\"0x8D…\\""`` rather than ``"0x8D…"``."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where, when and how an event was raised."""

    topic: str
    id: str
    ticks: int
    """Event time, 100 ns since 1970."""
    style: Style = Style()


def workspace(name: str, resource_group: str = "ml-prod") -> str:
    """The resource id of an Azure ML workspace."""
    return _resource(resource_group, f"Microsoft.MachineLearningServices/workspaces/{name}")


def storage_account(name: str, resource_group: str = "ml-prod") -> str:
    """The resource id of a storage account."""
    return _resource(resource_group, f"Microsoft.Storage/storageAccounts/{name}")


def _resource(resource_group: str, path: str) -> str:
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{resource_group}/providers/{path}"


def draw_style(rng: random.Random) -> Style:
    """Draw how an event is written, about as often as each form is seen."""
    return Style(
        schema=Schema.CLOUD_EVENTS if rng.random() < 0.4 else Schema.EVENT_GRID,
        is_pascal=rng.random() < 0.25,
        offset="Z" if rng.random() < 0.6 else "+00:00",
        fraction_digits=6 if rng.random() < 0.1 else 7,
        data_version=rng.choice(("", "2", "2")),
        is_version_text=rng.random() < 0.6,
        is_etag_quoted=rng.random() < 0.4,
    )


def draw_id(rng: random.Random) -> str:
    """Draw an event id."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def to_ticks(time: datetime) -> int:
    """The ticks of a time, which must have a zone."""
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * TICKS_PER_S + since.microseconds * 10


def write_time(ticks: int, style: Style = Style()) -> str:
    """Write an event time; six digits drop the last one."""
    seconds, fraction = divmod(ticks, TICKS_PER_S)
    written = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{written}.{f'{fraction:07d}'[: style.fraction_digits]}{style.offset}"


def envelope(stamp: Stamp, event_type: str, subject: str, data: Mapping[str, Any]) -> Element:
    """Put data into the envelope of the style's schema."""
    time = write_time(stamp.ticks, stamp.style)
    if stamp.style.schema is Schema.CLOUD_EVENTS:
        return {
            "id": stamp.id,
            "source": stamp.topic,
            "specversion": "1.0",
            "type": event_type,
            "subject": subject,
            "time": time,
            "data": dict(data),
        }
    return {
        "topic": stamp.topic,
        "subject": subject,
        "eventType": event_type,
        "id": stamp.id,
        "eventTime": time,
        "data": dict(data),
        "dataVersion": stamp.style.data_version,
        "metadataVersion": "1",
    }


def in_other_schema(element: Element) -> Element:
    """The same event as a second subscription, with the other schema, would deliver it."""
    if "specversion" in element:
        return {
            "topic": element["source"],
            "subject": element["subject"],
            "eventType": element["type"],
            "id": element["id"],
            "eventTime": element["time"],
            "data": element["data"],
            "dataVersion": "",
            "metadataVersion": "1",
        }
    return {
        "id": element["id"],
        "source": element["topic"],
        "specversion": "1.0",
        "type": element["eventType"],
        "subject": element["subject"],
        "time": element["eventTime"],
        "data": element["data"],
    }


def subscription_validation(rng: random.Random, topic: str) -> Element:
    """The handshake of a new subscription, which can turn up in a hub."""
    return {
        "id": draw_id(rng),
        "topic": topic,
        "subject": "inturn",
        "data": {"validationCode": draw_id(rng).upper()},
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": "2026-03-02T07:59:58.1180423Z",
        "metadataVersion": "1",
        "dataVersion": "2",
    }


def element_bytes(element: Element, *, is_pretty: bool = False) -> bytes:
    """Write one element, compactly or as a person's tool would."""
    if is_pretty:
        return json.dumps(element, indent=2).encode()
    return json.dumps(element, separators=(",", ":"), ensure_ascii=False).encode()


def body_of(elements: Sequence[bytes]) -> bytes:
    """The body of a message: a JSON array, of one event almost always."""
    return b"[" + b",".join(elements) + b"]"


def partition_key_of(element: Element) -> str:
    """What the deployment tells Event Grid to set as partition key.

    The subject, except where the events of one object have different ones: a model's versions go by the
    model's name, and the runs of a dataset monitor by the monitor's id.
    """
    data = element.get("data")
    if isinstance(data, Mapping):
        for name in ("modelName", "ModelName", "dataDriftId", "DataDriftId"):
            if isinstance(data.get(name), str):
                return str(data[name])
    return str(element["subject"])


def properties_of(
    element: Element, *, delivery_count: int = 0, event_kind: str = "Notification"
) -> dict[str, str]:
    """The application properties that Event Grid puts on a message in an event hub."""
    properties = {
        "aeg-subscription-name": EVENT_SUBSCRIPTION.upper(),
        "aeg-delivery-count": str(delivery_count),
        "aeg-event-type": event_kind,
        "aeg-output-event-id": str(element.get("id", "")),
    }
    if "specversion" in element:
        properties["aeg-metadata-version"] = str(element["specversion"])
    else:
        properties["aeg-data-version"] = str(element.get("dataVersion", ""))
        properties["aeg-metadata-version"] = str(element.get("metadataVersion", ""))
    return properties


def keys_as(style: Style, data: Mapping[str, Any]) -> dict[str, Any]:
    """Write the data's keys (given in camelCase) in the style's case; keys inside keep theirs."""
    if not style.is_pascal:
        return dict(data)
    return {key[0].upper() + key[1:]: value for key, value in data.items()}
