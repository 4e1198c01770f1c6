"""Events as a hub would bring them, and the context that goes with them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import orjson

from consumer.core.catalogue import Catalogue
from consumer.core.decode import Rejection, decode
from consumer.core.idempotency import idempotency_key
from consumer.events import Event, RawBatch
from consumer.processor import Context

TOPIC = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/tests"
    "/providers/Microsoft.MachineLearningServices/workspaces/tests"
)
"""The resource that events come from unless they say otherwise: a workspace of Azure Machine Learning."""
TIME = datetime(2026, 1, 1, tzinfo=UTC)


def make_message(
    type_: str,
    subject: str,
    data: Any = None,
    *,
    topic: str = TOPIC,
    id_: str | None = None,
    time: datetime = TIME,
    schema: Literal["eventgrid", "cloudevents"] = "eventgrid",
) -> bytes:
    """The body of a message with one event, as Event Grid writes it. `id_` defaults to type and subject."""
    element: dict[str, Any] = {"id": id_ or f"{type_} {subject}", "subject": subject, "data": data or {}}
    written = time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if schema == "cloudevents":
        element |= {"specversion": "1.0", "source": topic, "type": type_, "time": written}
    else:
        element |= {"topic": topic, "eventType": type_, "eventTime": written, "dataVersion": ""}
    return orjson.dumps([element])


def make_event(
    type_: str,
    subject: str,
    data: Any = None,
    *,
    stale: bool = False,
    is_latest: bool = True,
    sequence_number: int = 0,
    **envelope: Any,
) -> Event:
    """One event, as the decoder gives it; `envelope` is what `make_message` takes.

    `sequence_number` is its place in partition ``0``. Raises `ValueError` if the decoder refuses it.
    """
    body = make_message(type_, subject, data, **envelope)
    (decoded,) = decode(batch_of([body], sequence_number), 0, Catalogue())
    if isinstance(decoded, Rejection):
        message = f"This is no event: {decoded.reason}: {decoded.error}."
        raise ValueError(message)  # noqa: TRY004 - of the right type, and refused for what is in it
    return msgspec.structs.replace(decoded, stale=stale, is_latest=is_latest)


def make_context(
    *events: Event, processor: str = "tested", attempt: int = 1, replay_id: str = "", epoch: int = 1
) -> Context:
    """What a processor is told beside events; the keys are those that it would get in production."""
    return Context(processor, attempt, events, _keys(processor, replay_id), replay_id, epoch)


def batch_of(bodies: list[bytes], first: int = 0, headers: Mapping[str, object] | None = None) -> RawBatch:
    """Messages of partition ``0`` that arrived a second of log time apart."""
    numbers = list(range(first, first + len(bodies)))
    begin_ms = round(TIME.timestamp() * 1_000)
    return RawBatch(
        partition="0",
        bodies=bodies,
        sequence_numbers=numbers,
        offsets=[str(number) for number in numbers],
        enqueued_times_ms=[begin_ms + number * 1_000 for number in numbers],
        partition_keys=["tests"] * len(bodies),
        properties_at=lambda _: headers or {},
        newest_sequence_number=numbers[-1] if numbers else None,
    )


def _keys(processor: str, replay_id: str) -> Any:
    return lambda event: idempotency_key("$Default", processor, event, replay_id)
