"""Single events on demand: one of a kind, of now, about an object of its own."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from consumer.samples import ml_events, storage_events
from consumer.samples.events import (
    TICKS_PER_S,
    Element,
    Stamp,
    body_of,
    draw_id,
    draw_style,
    element_bytes,
    partition_key_of,
    properties_of,
    to_ticks,
)
from consumer.samples.messages import Intent, Message
from consumer.samples.stories import ACCOUNTS, WORKSPACES

_Build: TypeAlias = Callable[[random.Random, Stamp], Element]


def _model_registered(rng: random.Random, stamp: Stamp) -> Element:
    tags = {"area": "sales", "stage": "production"}
    properties = {"auc": repr(rng.random()), "azureml.modelFormat": "CUSTOM"}
    name = f"churn-{rng.getrandbits(20):05x}"
    return ml_events.model_registered(stamp, name, rng.randint(1, 40), tags=tags, properties=properties)


def _model_deployed(rng: random.Random, stamp: Stamp) -> Element:
    service = f"scoring-{rng.getrandbits(20):05x}"
    return ml_events.model_deployed(stamp, service, (f"churn:{rng.randint(1, 40)}",), tags={"team": "blue"})


def _run_failed(rng: random.Random, stamp: Stamp) -> Element:
    return ml_events.run_status_changed(stamp, ml_events.draw_run(rng), rng.choice(("Failed", "failed")))


def _run_status_changed(rng: random.Random, stamp: Stamp) -> Element:
    return ml_events.run_status_changed(stamp, ml_events.draw_run(rng), rng.choice(("Queued", "Running")))


def _drift_detected(rng: random.Random, stamp: Stamp) -> Element:
    drift_id = draw_id(rng)
    end = stamp.ticks - stamp.ticks % (86_400 * TICKS_PER_S)
    run_id = f"{drift_id}_{stamp.ticks // 10_000}"
    window = ml_events.DriftWindow(run_id, rng.random(), end - 86_400 * TICKS_PER_S, end)
    return ml_events.dataset_drift_detected(
        stamp, drift_id, "churn-drift", window, (draw_id(rng), draw_id(rng))
    )


def _blob(rng: random.Random, stamp: Stamp) -> tuple[storage_events.Blob, storage_events.Change]:
    account = stamp.topic.rsplit("/", 1)[1]
    request = draw_id(rng)[:-6] + "000000"
    change = storage_events.Change(
        storage_events.sequencer(rng.getrandbits(32)),
        request,
        draw_id(rng),
        draw_id(rng),
        storage_events.draw_etag(rng),
        rng.randint(1, 10**8),
    )
    return storage_events.Blob(account, "training", f"raw/part-{rng.getrandbits(20):05x}.parquet"), change


def _blob_renamed(rng: random.Random, stamp: Stamp) -> Element:
    return storage_events.blob_renamed(stamp, *_blob(rng, stamp), old_name="raw/upload.tmp")


_WORKSPACE, _ACCOUNT = WORKSPACES[0], ACCOUNTS[0]
_KINDS: dict[str, tuple[str, _Build]] = {
    "model-registered": (_WORKSPACE, _model_registered),
    "model-deployed": (_WORKSPACE, _model_deployed),
    "run-completed": (_WORKSPACE, lambda rng, stamp: ml_events.run_completed(stamp, ml_events.draw_run(rng))),
    "run-failed": (_WORKSPACE, _run_failed),
    "run-status-changed": (_WORKSPACE, _run_status_changed),
    "drift-detected": (_WORKSPACE, _drift_detected),
    "blob-created": (_ACCOUNT, lambda rng, stamp: storage_events.blob_created(stamp, *_blob(rng, stamp))),
    "blob-deleted": (_ACCOUNT, lambda rng, stamp: storage_events.blob_deleted(stamp, *_blob(rng, stamp))),
    "blob-renamed": (_ACCOUNT, _blob_renamed),
    "blob-tier-changed": (
        _ACCOUNT,
        lambda rng, stamp: storage_events.blob_tier_changed(stamp, *_blob(rng, stamp)),
    ),
}
KINDS = tuple(_KINDS)
"""What can be asked for."""


def draw(kind: str, rng: random.Random, now: datetime, *, topic: str | None = None) -> Element:
    """Draw an event of a kind from `KINDS`, raised at `now`, by the resource `topic` if one is given."""
    usual_topic, build = _KINDS[kind]
    stamp = Stamp(topic or usual_topic, draw_id(rng), to_ticks(now), draw_style(rng))
    return build(rng, stamp)


def message_of(element: Element, *, is_keyed: bool = True) -> Message:
    """An event ready to be sent, as Event Grid would send it."""
    return Message(
        body_of([element_bytes(element)]),
        properties_of(element),
        partition_key_of(element) if is_keyed else None,
        Intent.FRESH,
    )
