"""The lives of objects as events in their true order, from the sample events of the product."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from consumer.samples import ml_events, storage_events
from consumer.samples.events import (
    Element,
    Stamp,
    body_of,
    draw_id,
    draw_style,
    element_bytes,
    partition_key_of,
    storage_account,
    workspace,
)
from consumer.samples.storage_events import Blob, Change

WORKSPACES = (workspace("churn-prod"), workspace("forecast"), workspace("fraud-nightly"))
ACCOUNTS = {"churnlake": storage_account("churnlake"), "forecastdata": storage_account("forecastdata")}
TOPICS = (*WORKSPACES, *ACCOUNTS.values())
TYPES = (*ml_events.TYPES, "Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobDeleted")
_KINDS = ("blob", "run", "model", "endpoint", "drift")
_WEIGHTS = (45, 30, 10, 8, 7)
_STATUSES = ("Preparing", "Queued", "Running", "Running", "Finalizing")
_STRANGER = storage_account("somebodyelse")


class Told(NamedTuple):
    """One event of a story."""

    at_ms: float
    """When it happened, since the beginning of the log."""
    id: str
    key: str
    body: bytes
    again: bytes
    """The same once more: the very message, or the same change under a new id."""


def times(rng: random.Random, count: int, span_ms: float) -> list[float]:
    """Draw when the events of an object happen: in bursts of up to four within a second or two."""
    drawn: list[float] = []
    while len(drawn) < count:
        at_ms = rng.random() * max(span_ms - 5_000, 1_000)
        for _ in range(min(rng.randint(1, 4), count - len(drawn))):
            drawn.append(at_ms)
            at_ms += rng.uniform(50, 600)
    return sorted(drawn)


def tell(rng: random.Random, number: int, at_ms: Sequence[float], start_ms: int) -> list[Told]:
    """Tell the story of an object whose events happen at these times."""
    kind = rng.choices(_KINDS, _WEIGHTS)[0]
    tell_one = {"blob": _blob, "run": _run, "model": _model, "endpoint": _endpoint, "drift": _drift}[kind](
        rng, number, len(at_ms)
    )
    told = []
    for step, at in enumerate(at_ms):
        # A tick of its own for every event: two at one tick would have no order.
        ticks = (start_ms + int(at)) * 10_000 + step * 10
        stamp = Stamp("", draw_id(rng), ticks, draw_style(rng))
        element = tell_one(stamp, step)
        body = body_of([element_bytes(element)])
        again = body
        if kind == "blob" and rng.random() < 0.9:
            again = body_of([element_bytes({**element, "id": draw_id(rng)})])
        told.append(Told(at, stamp.id, partition_key_of(element), body, again))
    return told


def foreign(rng: random.Random, number: int, start_ms: int) -> tuple[str, bytes]:
    """An event that is not for us: a stranger's topic, or a type that nobody asked for."""
    blob = Blob("churnlake", "scratch", f"tmp/{number:06d}.bin")
    stamp = Stamp(_STRANGER, draw_id(rng), start_ms * 10_000 + number, draw_style(rng))
    if rng.random() < 0.5:
        element = storage_events.blob_created(stamp, blob, _change(rng, number))
    else:
        topic = ACCOUNTS["churnlake"]
        element = storage_events.directory_created(replace(stamp, topic=topic), blob, _change(rng, number))
    return partition_key_of(element), body_of([element_bytes(element)])


def _change(rng: random.Random, count: int) -> Change:
    return Change(
        storage_events.sequencer(count),
        draw_id(rng),
        draw_id(rng),
        draw_id(rng),
        storage_events.draw_etag(rng),
        rng.randrange(10_000_000),
    )


def _blob(rng: random.Random, number: int, _count: int):
    account = rng.choice(list(ACCOUNTS))
    name = f"features/2026/11/21/customer-activity/part-{number:05d}-{draw_id(rng)}.snappy.parquet"
    blob = Blob(account, "churn-training-data", name)
    first = rng.randrange(1_000_000)

    def one(stamp: Stamp, step: int) -> Element:
        stamp = replace(stamp, topic=ACCOUNTS[account])
        change = _change(rng, first + step * 16 + rng.randrange(16))
        if step % 4 == 3:
            return storage_events.blob_deleted(stamp, blob, change)
        return storage_events.blob_created(stamp, blob, change)

    return one


def _run(rng: random.Random, _number: int, count: int):
    topic, run = rng.choice(WORKSPACES), ml_events.draw_run(rng)
    ends_well = rng.random() < 0.8

    def one(stamp: Stamp, step: int) -> Element:
        stamp = replace(stamp, topic=topic)
        if step < count - 1:
            return ml_events.run_status_changed(stamp, run, _STATUSES[min(step, len(_STATUSES) - 1)])
        if ends_well:
            return ml_events.run_completed(stamp, run)
        return ml_events.run_status_changed(stamp, run, "Failed")

    return one


def _model(rng: random.Random, number: int, _count: int):
    topic, name = rng.choice(WORKSPACES), f"churn-classifier-{number:05d}"
    tags, properties = _tags(rng, number), _properties(rng)

    def one(stamp: Stamp, step: int) -> Element:
        stamp = replace(stamp, topic=topic)
        return ml_events.model_registered(stamp, name, step + 1, tags=tags, properties=properties)

    return one


def _endpoint(rng: random.Random, number: int, _count: int):
    topic, service = rng.choice(WORKSPACES), f"churn-scoring-{number:05d}"
    tags = _tags(rng, number) | _properties(rng)

    def one(stamp: Stamp, step: int) -> Element:
        models = [f"churn-classifier-{number + other:05d}:{step + 1}" for other in range(3)]
        return ml_events.model_deployed(replace(stamp, topic=topic), service, models, tags=tags)

    return one


def _drift(rng: random.Random, number: int, _count: int):
    topic, drift_id, datasets = rng.choice(WORKSPACES), draw_id(rng), (draw_id(rng), draw_id(rng))
    first = 17_952_000_000_000_000

    def one(stamp: Stamp, step: int) -> Element:
        day = 864_000_000_000
        window = ml_events.DriftWindow(
            draw_id(rng), rng.random(), first + step * day, first + (step + 7) * day
        )
        stamp = replace(stamp, topic=topic)
        name = f"customer-activity-monitor-{number:05d}"
        return ml_events.dataset_drift_detected(stamp, drift_id, name, window, datasets)

    return one


def _tags(rng: random.Random, number: int) -> dict[str, str]:
    return {
        "stage": rng.choice(("dev", "staging", "prod")),
        "Owner": rng.choice(("lena", "omar", "mei")),
        "costCentre": str(1_000 + number % 9_000),
        "gitCommit": f"{rng.getrandbits(160):040x}",
        "trainedOn": f"azureml://datastores/churnlake/paths/features/2026/11/{1 + number % 28:02d}",
    }


def _properties(rng: random.Random) -> dict[str, str]:
    return {
        "auc": f"{rng.random():.6f}",
        "framework": rng.choice(("LightGBM", "ScikitLearn", "XGBoost")),
        "runId": f"churn-train_{rng.randrange(10**10)}_{draw_id(rng)}",
        "azureml.parentRunId": draw_id(rng),
        "hyperparameters": '{"num_leaves":63,"learning_rate":0.05,"feature_fraction":0.8,"max_depth":-1}',
    }
