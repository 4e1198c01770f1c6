"""The life of one object as the events it raises, in order: what a trace is made of."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from consumer.samples import ml_events, storage_events
from consumer.samples.events import (
    TICKS_PER_S,
    Element,
    Stamp,
    draw_id,
    draw_style,
    storage_account,
    workspace,
)

WORKSPACES = (workspace("churn-prod"), workspace("forecast"))
ACCOUNTS = (storage_account("churnlake"), storage_account("forecastdata"))
START = datetime(2026, 3, 2, 8, tzinfo=UTC)
TICKS_PER_PLACE = TICKS_PER_S // 100
"""How much the producers' clocks advance from one place of the plan to the next."""


class Scene(NamedTuple):
    """One event of a story."""

    place: float
    """Where in the plan it belongs if nothing goes wrong; rises within a story by 2 at least."""
    element: Element


class Story(NamedTuple):
    """The events of one object, in their true order."""

    scenes: Sequence[Scene]
    is_steady: bool = True
    """All its order tokens can be compared and all its identities differ."""
    conflicts: frozenset[int] = frozenset()
    """Scenes that have the identity of the one before them, but other data."""


class Teller:
    """Draws stories. The same random numbers tell the same stories."""

    def __init__(self, rng: random.Random, start_ticks: int) -> None:
        self._rng = rng
        self._start_ticks = start_ticks
        self._mark = f"{rng.getrandbits(20):05x}"
        """Keeps the names of one seed's objects apart from those of another."""
        self._told = 0
        self._count = 0x17F2A31
        """What the storage service counts; it has gaps."""

    def tell(self, place: float) -> Story:
        """Draw a story that begins at a place."""
        self._told += 1
        draw = self._rng.random()
        if draw < 0.34:
            return self._run(place)
        if draw < 0.50:
            return self._model(place)
        if draw < 0.60:
            return self._endpoint(place)
        if draw < 0.66:
            return self._drift(place)
        return self._blob(place)

    def _places(self, place: float, count: int) -> list[float]:
        """Near each other, so that one that is overtaken is still well within the reorder window."""
        places = [place]
        while len(places) < count:
            places.append(places[-1] + self._rng.uniform(2, 40))
        return places

    def stamp(self, topic: str, place: float, *, id_: str | None = None) -> Stamp:
        """Draw when and how the event at a place was raised."""
        rng = self._rng
        # Resource ids keep no case: some services shout them.
        written = topic.upper() if rng.random() < 0.03 else topic
        ticks = self._start_ticks + int(place * TICKS_PER_PLACE) + rng.randrange(TICKS_PER_PLACE)
        return Stamp(written, id_ or draw_id(rng), ticks, draw_style(rng))

    def _run(self, place: float) -> Story:
        rng = self._rng
        run, topic = ml_events.draw_run(rng), rng.choice(WORKSPACES)
        middle = ["Queued", "Preparing", "Starting", "Running", "Finalizing"]
        statuses = middle[rng.randrange(4) :]
        is_failed = rng.random() < 0.2
        statuses.append(rng.choice(("Failed", "failed", "Canceled")) if is_failed else "Completed")
        if is_failed and rng.random() < 0.4:
            run = replace(
                run, tags={**run.tags, ml_events.BREACH_TAG: f"churn-monitor {ml_events.BREACH_TEXT}"}
            )
        places = self._places(place, len(statuses) + (not is_failed))
        is_doubled = rng.random() < 0.01
        ids = [draw_id(rng) for _ in places]
        conflicts: frozenset[int] = frozenset()
        if is_doubled:
            # A producer that is faster than its id generator: two events, one id.
            ids[1], conflicts = ids[0], frozenset({1})
        stamps = [self.stamp(topic, where, id_=id_) for where, id_ in zip(places, ids, strict=True)]
        elements = [
            ml_events.run_status_changed(stamp, run, status)
            for stamp, status in zip(stamps, statuses, strict=False)
        ]
        if not is_failed:
            elements.append(ml_events.run_completed(stamps[-1], run))
        if rng.random() < 0.02:
            elements = [element | {"data": json.dumps(element["data"])} for element in elements]
        return Story(_scenes(places, elements), not is_doubled, conflicts)

    def _model(self, place: float) -> Story:
        rng = self._rng
        name = f"{rng.choice(('churn', 'demand', 'fraud', 'uplift'))}-{self._mark}-{self._told:04d}"
        topic = rng.choice(WORKSPACES)
        places = self._places(place, rng.randint(3, 12))
        tags = {"area": rng.choice(("sales", "risk")), "stage": "production", "framework": "sklearn"}
        properties = {
            "azureml.trainingRun": draw_id(rng),
            "auc": repr(rng.random()),
            "azureml.modelFormat": "CUSTOM",
        }
        is_dated = rng.random() < 0.03
        version = rng.randint(1, 40)
        elements = []
        for where in places:
            version += 1 if rng.random() < 0.9 else 2
            # Not every registry counts: a version that is a text has no order, and the event time decides.
            written: int | str = f"2026-03-02.{version}" if is_dated else version
            stamp = self.stamp(topic, where)
            elements.append(
                ml_events.model_registered(stamp, name, written, tags=tags, properties=properties)
            )
        return Story(_scenes(places, elements))

    def _endpoint(self, place: float) -> Story:
        rng = self._rng
        topic, service = rng.choice(WORKSPACES), f"scoring-{self._mark}-{self._told:04d}"
        places = self._places(place, rng.randint(2, 9))
        tags = {"team": rng.choice(("blue", "green")), "sla": "gold"}
        compute = rng.choice(("AKS", "ACI", "AMLCompute"))
        elements = [
            ml_events.model_deployed(
                self.stamp(topic, where),
                service,
                (f"churn:{number}", f"uplift:{number + 2}"),
                tags=tags,
                compute=compute,
            )
            for number, where in enumerate(places, rng.randint(1, 30))
        ]
        return Story(_scenes(places, elements))

    def _drift(self, place: float) -> Story:
        rng = self._rng
        topic, drift_id = rng.choice(WORKSPACES), draw_id(rng)
        datasets = (draw_id(rng), draw_id(rng))
        day_ticks = 86_400 * TICKS_PER_S
        first = self._start_ticks - rng.randint(20, 90) * day_ticks
        places = self._places(place, rng.randint(2, 8))
        elements = []
        for day, where in enumerate(places):
            start = first + day * day_ticks
            run_id = f"{drift_id}_{1_772_000_000_000 + rng.randrange(10**9)}"
            window = ml_events.DriftWindow(run_id, rng.random(), start, start + day_ticks)
            stamp = self.stamp(topic, where)
            elements.append(
                ml_events.dataset_drift_detected(stamp, drift_id, f"monitor-{self._told}", window, datasets)
            )
        return Story(_scenes(places, elements))

    def change(self, *, etag: str = "") -> storage_events.Change:
        """Draw what the storage service notes about its next operation."""
        rng = self._rng
        self._count += 2 if rng.random() < 0.8 else rng.randint(3, 400)
        request = draw_id(rng)[:-6] + "000000"
        return storage_events.Change(
            storage_events.sequencer(self._count),
            request,
            draw_id(rng),
            draw_id(rng),
            etag,
            rng.randint(1, 10**8),
        )

    def _blob(self, place: float) -> Story:
        rng = self._rng
        index = rng.randrange(len(ACCOUNTS))
        account = ACCOUNTS[index].rsplit("/", 1)[1]
        name = f"{rng.choice(('raw', 'daten/größe', 'scored files'))}/{self._mark}-{self._told:05d}.parquet"
        blob = storage_events.Blob(account, "training", name)
        places = self._places(place, rng.randint(3, 12))
        is_doubled, is_moved = rng.random() < 0.01, rng.random() < 0.01
        elements: list[Element] = []
        for number, where in enumerate(places):
            change = self.change(etag=storage_events.draw_etag(rng))
            # The first account is a data lake: lower case throughout.
            written = change.sequencer.lower() if index == 0 else change.sequencer
            if is_moved and number < len(places) // 2:
                written = written[16:]  # from before the service made sequencers wider
            if is_doubled and number == 1:
                before = elements[0]["data"]
                change = replace(change, etag=str(before["eTag"]).strip('"'))
            stamp = self.stamp(
                ACCOUNTS[index], where, id_=f"{change.request_id[:-6]}{rng.getrandbits(24):06x}"
            )
            elements.append(
                self._operation(stamp, blob, replace(change, sequencer=written), is_write=number < 2)
            )
        conflicts = frozenset({1}) if is_doubled else frozenset[int]()
        return Story(_scenes(places, elements), not (is_doubled or is_moved), conflicts)

    def _operation(
        self, stamp: Stamp, blob: storage_events.Blob, change: storage_events.Change, *, is_write: bool
    ) -> Element:
        """Draw what happens to a blob."""
        draw = self._rng.random()
        if is_write or draw < 0.45:
            return storage_events.blob_created(stamp, blob, change)
        if draw < 0.65:
            return storage_events.blob_tier_changed(stamp, blob, change)
        if draw < 0.8:
            return storage_events.blob_renamed(
                stamp, blob, change, old_name=f"incoming/{change.batch_id}.tmp"
            )
        return storage_events.blob_deleted(stamp, blob, change)


def _scenes(places: Sequence[float], elements: Sequence[Element]) -> list[Scene]:
    return [Scene(where, element) for where, element in zip(places, elements, strict=True)]
