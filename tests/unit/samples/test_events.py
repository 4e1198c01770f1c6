"""Sample events are written as Azure writes them, in all its moods."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest

from consumer.events import Schema
from consumer.samples import storage_events
from consumer.samples.events import (
    Stamp,
    Style,
    body_of,
    draw_style,
    element_bytes,
    in_other_schema,
    partition_key_of,
    properties_of,
    to_ticks,
    write_time,
)
from consumer.samples.ml_events import (
    DriftWindow,
    Run,
    dataset_drift_detected,
    model_registered,
    run_completed,
)
from consumer.samples.reading import Read, read_body, read_time, value_of
from consumer.samples.singles import KINDS, draw, message_of

NOW = datetime(2026, 5, 4, 3, 2, 1, 987_654, tzinfo=UTC)
TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_an_event_in_whatever_style_is_drawn(kind: str, seed: int) -> None:
    element = draw(kind, random.Random(seed), NOW)

    (read,) = read_body(message_of(element).body)

    assert isinstance(read, Read)
    assert read.ticks is not None
    assert abs(read.ticks - to_ticks(NOW)) < 10


def test_both_schemas_and_both_cases_of_keys_are_drawn() -> None:
    styles = [draw_style(random.Random(seed)) for seed in range(60)]

    assert {style.schema for style in styles} == set(Schema)
    assert {style.is_pascal for style in styles} == {True, False}
    assert {style.offset for style in styles} == {"Z", "+00:00"}
    assert {style.fraction_digits for style in styles} == {6, 7}
    assert {style.data_version for style in styles} == {"", "2"}


@pytest.mark.parametrize(
    ("style", "written"),
    [
        (Style(), "2026-05-04T03:02:01.9876541Z"),
        (Style(offset="+00:00"), "2026-05-04T03:02:01.9876541+00:00"),
        (Style(fraction_digits=6), "2026-05-04T03:02:01.987654Z"),
    ],
)
def test_a_time_has_the_fraction_and_the_offset_of_its_style(style: Style, written: str) -> None:
    assert write_time(to_ticks(NOW) + 1, style) == written


def test_a_time_is_read_to_the_tick_that_was_written() -> None:
    ticks = to_ticks(NOW) + 3

    assert read_time(write_time(ticks)) == ticks


def test_a_model_version_is_written_as_a_number_or_as_text() -> None:
    def version(style: Style) -> object:
        element = model_registered(Stamp(TOPIC, "1", 0, style), "churn", 7, tags={}, properties={})
        return value_of(element["data"], "modelVersion")

    assert version(Style(is_version_text=True)) == "7"
    assert version(Style(is_version_text=False, is_pascal=True)) == 7


def test_a_run_without_a_type_says_null_and_its_properties_are_texts() -> None:
    run = Run("run-1", "experiment-1", "churn", None, {}, {"pipeline_spec": '{"objects": []}'})

    data = run_completed(Stamp(TOPIC, "1", 0), run)["data"]

    assert data["runType"] is None
    assert json.loads(data["runProperties"]["pipeline_spec"]) == {"objects": []}


def test_sequencers_have_48_digits_of_mixed_case_and_rise_when_case_is_folded() -> None:
    texts = [storage_events.sequencer(count) for count in (0x9DC5, 0x9DC6, 0xA0000)]

    assert {len(text) for text in texts} == {48}
    assert texts[0] != texts[0].upper()
    assert texts[0] != texts[0].lower()
    assert sorted(texts, key=str.casefold) == texts


def test_only_a_written_blob_has_an_etag_and_it_may_have_quotes_inside() -> None:
    blob = storage_events.Blob("lake", "training", "a b.parquet")
    change = storage_events.Change(storage_events.sequencer(5), "r", "c", "b", "0x8DE1")

    created = storage_events.blob_created(Stamp(TOPIC, "1", 0, Style(is_etag_quoted=True)), blob, change)
    deleted = storage_events.blob_deleted(Stamp(TOPIC, "2", 0), blob, change)

    assert created["data"]["eTag"] == '"0x8DE1"'
    assert "eTag" not in deleted["data"]


@pytest.mark.parametrize("is_pascal", [True, False])
def test_what_belongs_to_one_object_has_one_partition_key_even_where_subjects_differ(is_pascal: bool) -> None:
    stamp = Stamp(TOPIC, "1", 0, Style(is_pascal=is_pascal))
    versions = [model_registered(stamp, "churn", number, tags={}, properties={}) for number in (1, 2)]
    drifts = [
        dataset_drift_detected(stamp, "monitor", "m", DriftWindow(run, 0.5, 0, 1), ("a", "b"))
        for run in ("run-1", "run-2")
    ]

    for elements in (versions, drifts):
        assert len({element["subject"] for element in elements}) == 2
        assert len({partition_key_of(element) for element in elements}) == 1


@pytest.mark.parametrize("schema", list(Schema))
def test_application_properties_are_those_of_event_grid(schema: Schema) -> None:
    element = run_completed(Stamp(TOPIC, "id-1", 0, Style(schema=schema)), Run("r", "e", "n"))

    properties = properties_of(element, delivery_count=3)

    assert properties["aeg-event-type"] == "Notification"
    assert properties["aeg-delivery-count"] == "3"
    assert properties["aeg-output-event-id"] == "id-1"
    assert properties["aeg-metadata-version"] == ("1.0" if schema is Schema.CLOUD_EVENTS else "1")
    assert ("aeg-data-version" in properties) is (schema is Schema.EVENT_GRID)


@pytest.mark.parametrize("schema", list(Schema))
def test_the_other_schema_says_the_same(schema: Schema) -> None:
    element = run_completed(Stamp(TOPIC, "id-1", 12_345, Style(schema=schema)), Run("r", "e", "n"))

    (one,) = read_body(body_of([element_bytes(element)]))
    (other,) = read_body(body_of([element_bytes(in_other_schema(element), is_pretty=True)]))

    assert one == other
    assert ("specversion" in element) is not ("specversion" in in_other_schema(element))
