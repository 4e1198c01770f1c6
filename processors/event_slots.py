"""The slots that templates can have, and what fills them for an event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from consumer.events import Event
from processors.portal import STUDIO, Resource, endpoint_of, link_of, model_of, resource_of, run_of, text_of
from processors.templates import Slots, Value, written
from processors.wording import details_of, drift_of, title_of

_OF_AN_EVENT: dict[str, Callable[[Event], Value]] = {
    "id": lambda event: event.id,
    "type": lambda event: event.type,
    "type_name": lambda event: event.type.rpartition(".")[2],
    "topic": lambda event: event.topic,
    "subject": lambda event: event.subject,
    "object": lambda event: event.object_path,
    "time": lambda event: "" if event.event_time is None else _time(event.event_time),
    "enqueued_time": lambda event: _time(datetime.fromtimestamp(event.enqueued_time_ms / 1000, UTC)),
    "resource": lambda event: resource_of(event.topic).name,
    "workspace": lambda event: _workspace(resource_of(event.topic)),
    "resource_group": lambda event: resource_of(event.topic).group,
    "subscription": lambda event: resource_of(event.topic).subscription,
    "experiment": lambda event: text_of(event, ("experimentName",)),
    "run_id": run_of,
    "status": lambda event: text_of(event, ("runStatus",), ("status",)),
    "model": lambda event: model_of(event)[0],
    "model_version": lambda event: model_of(event)[1],
    "endpoint": endpoint_of,
    "drift": lambda event: drift_of(event) or written(event.field("driftCoefficient")),
    "stale": lambda event: "late" if event.stale else "",
    "title": title_of,
    "details": details_of,
}

SLOTS = frozenset({*_OF_AN_EVENT, "key", "link", "processor"})
"""What every event can fill: what it is, where it comes from, what it is about, its page, its key."""


def slots_of(
    event: Event, *, key: str, processor: str, studio: str = STUDIO, tenant: str | None = None
) -> Slots:
    """What fills the slots for an event; worked out only when asked for."""

    def value(name: str) -> Value:
        match name:
            case "key":
                return key
            case "processor":
                return processor
            case "link":
                return link_of(event, studio, tenant)
            case _:
                return _OF_AN_EVENT[name](event)

    return value


def _workspace(resource: Resource) -> str:
    return resource.name if resource.is_workspace else ""


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
