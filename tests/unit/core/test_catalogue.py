"""The catalogue: which object an event is about, what orders it, and what makes two events the same."""

from __future__ import annotations

from typing import Any

import pytest
from harness.places import place_of

from consumer.core.catalogue import (
    Catalogue,
    Family,
    Reading,
    field,
    identity_of,
    named,
)
from consumer.core.object_table import Last, ObjectTable
from consumer.core.order_rules import by_event_time, by_version
from consumer.events import ObjectId, OrderedBy, OrderToken

ML = "microsoft.machinelearningservices."
TICKS = 17_952_624_000_000_000


def read(type_: str, data: Any = None, *, ticks: int | None = TICKS, subject: str = "sub") -> Reading:
    return Reading(type_.casefold(), "/topic", subject, "id", data, ticks, (7, 0))


def classified(type_: str, data: Any = None, **more: Any) -> tuple[str, str, Any]:
    object_id, token = Catalogue().classify(read(type_, data, **more))
    assert object_id.topic == "/topic"
    return object_id.path, token.by.value, token.value


SEQUENCER = "00000000000000000000000000000F4A0000000000363FBF"


@pytest.mark.parametrize(
    ("type_", "data", "path", "by", "value"),
    [
        ("Microsoft.Storage.BlobCreated", {"sequencer": SEQUENCER}, "sub", "sequencer", SEQUENCER.casefold()),
        ("Microsoft.Storage.BlobCreated", {"Sequencer": "0a"}, "sub", "sequencer", "0a"),
        ("Microsoft.Storage.BlobCreated", {"sequencer": "0" * 48}, "sub", "event_time", TICKS),
        ("Microsoft.Storage.BlobCreated", {"sequencer": ""}, "sub", "event_time", TICKS),
        ("Microsoft.Storage.BlobCreated", {"sequencer": 7}, "sub", "event_time", TICKS),
        ("Microsoft.Storage.BlobCreated", None, "sub", "event_time", TICKS),
        ("Microsoft.Storage.BlobCreated", "text", "sub", "event_time", TICKS),
        (f"{ML}ModelRegistered", {"modelName": "m", "modelVersion": 3}, "models/m", "version", 3),
        (f"{ML}ModelRegistered", {"ModelName": "m", "ModelVersion": "3"}, "models/m", "version", 3),
        (f"{ML}ModelRegistered", {"modelName": "m", "modelVersion": "007"}, "models/m", "version", 7),
        (f"{ML}ModelRegistered", {"modelName": "m", "modelVersion": "3.1"}, "models/m", "event_time", TICKS),
        (f"{ML}ModelRegistered", {"modelName": "m", "modelVersion": True}, "models/m", "event_time", TICKS),
        (f"{ML}ModelRegistered", {"modelName": "m", "modelVersion": "٣"}, "models/m", "event_time", TICKS),
        (
            f"{ML}ModelRegistered",
            {"modelName": "m", "modelVersion": "9" * 18},
            "models/m",
            "version",
            10**18 - 1,
        ),
        (
            f"{ML}ModelRegistered",
            {"modelName": "m", "modelVersion": "9" * 19},
            "models/m",
            "event_time",
            TICKS,
        ),
        (f"{ML}ModelRegistered", {"modelName": "", "modelVersion": 3}, "sub", "version", 3),
        (f"{ML}ModelRegistered", {}, "sub", "event_time", TICKS),
        (f"{ML}RunCompleted", {"runId": "r"}, "runs/r", "status", (1, TICKS)),
        (f"{ML}RunCompleted", {"RunId": "r"}, "runs/r", "status", (1, TICKS)),
        (f"{ML}RunStatusChanged", {"runId": "r", "runStatus": "Running"}, "runs/r", "status", (0, TICKS)),
        (f"{ML}RunStatusChanged", {"RunId": "r", "RunStatus": "Failed"}, "runs/r", "status", (1, TICKS)),
        (f"{ML}RunStatusChanged", {"runId": "r", "runStatus": "failed"}, "runs/r", "status", (1, TICKS)),
        (f"{ML}RunStatusChanged", {"runId": "r", "runStatus": "CANCELED"}, "runs/r", "status", (1, TICKS)),
        (f"{ML}RunStatusChanged", {"runId": "r", "runStatus": "Cancelled"}, "runs/r", "status", (1, TICKS)),
        (f"{ML}RunStatusChanged", {"runId": "r", "runStatus": None}, "runs/r", "status", (0, TICKS)),
        (f"{ML}ModelDeployed", {"serviceName": "s"}, "sub", "event_time", TICKS),
        (
            f"{ML}DatasetDriftDetected",
            {"dataDriftId": "d", "endTime": "1970-01-01T00:00:01Z"},
            "drift/d",
            "window_end",
            (10_000_000, TICKS),
        ),
        (
            f"{ML}DatasetDriftDetected",
            {"DataDriftId": "d", "EndTime": "1970-01-01T00:00:00.0000001+00:00"},
            "drift/d",
            "window_end",
            (1, TICKS),
        ),
        (
            f"{ML}DatasetDriftDetected",
            {"dataDriftId": "d", "endTime": "soon"},
            "drift/d",
            "event_time",
            TICKS,
        ),
        (
            "Microsoft.AppConfiguration.KeyValueModified",
            {"syncToken": "a=b==;sn=28"},
            "sub",
            "sync_token",
            28,
        ),
        ("Microsoft.AppConfiguration.KeyValueDeleted", {"SyncToken": "a=b;sn=x"}, "sub", "event_time", TICKS),
        ("Microsoft.AppConfiguration.KeyValueDeleted", {"syncToken": "28"}, "sub", "event_time", TICKS),
        (
            "Microsoft.Devices.DeviceConnected",
            {"deviceConnectionStateEventInfo": {"sequenceNumber": "00000000000000000AF" * 3}},
            "sub",
            "sequence_number",
            "00000000000000000af" * 3,
        ),
        ("Microsoft.HealthcareApis.FhirResourceUpdated", {"resourceVersionId": 4}, "sub", "version", 4),
        ("Contoso.Items.Changed", {"anything": 1}, "sub", "event_time", TICKS),
    ],
)
def test_an_event_has_the_object_and_the_token_of_its_family(type_, data, path, by, value) -> None:
    assert classified(type_, data) == (path, by, value)


@pytest.mark.parametrize("name", ["ModelRegistered", "ModelDeployed", "RunCompleted", "DatasetDriftDetected"])
def test_without_a_time_arrival_decides(name: str) -> None:
    path, by, value = classified(ML + name, {"endTime": "1970-01-01T00:00:01Z"}, ticks=None)

    assert (path, by, value) == ("sub", "arrival", (7, 0))


def test_whatever_carries_a_sequencer_is_ordered_by_it() -> None:
    assert classified(f"{ML}RunCompleted", {"runId": "r", "sequencer": "0A"}) == ("sub", "sequencer", "0a")


def test_an_override_comes_before_the_table_and_before_the_sequencer() -> None:
    mine = Family("mine", ("contoso.*",), named("sku", prefix="sku/"), (by_version("rev"), by_event_time))
    catalogue = Catalogue([mine])

    object_id, token = catalogue.classify(
        read("Contoso.Changed", {"SKU": "7", "rev": "12", "sequencer": "0a"})
    )

    assert (object_id.path, token) == ("sku/7", OrderToken(OrderedBy.VERSION, 12))
    assert catalogue.classify(read("Other.Changed", {"sequencer": "0a"}))[1].by is OrderedBy.SEQUENCER


def test_any_number_that_orders_can_be_stored() -> None:
    for digits in range(1, 40):
        _, by, value = classified(f"{ML}ModelRegistered", {"modelName": "m", "modelVersion": "9" * digits})
        token, table = OrderToken(OrderedBy(by), value), ObjectTable()
        table.put(place_of(b"k" * 16, token, "t"), 1)
        assert table.last(b"k" * 16) == Last(token, "t", 1)


@pytest.mark.parametrize(
    ("data", "path", "found"),
    [
        ({"modelName": 1}, ("modelName",), 1),
        ({"MODELNAME": 1}, ("modelName",), 1),
        ({"ModelName": 2, "modelName": 1}, ("modelName",), 1),
        ({"A": {"b": 3}}, ("a", "B"), 3),
        ({"a": [1]}, ("a", "b"), None),
        ({}, ("a",), None),
        ([1], ("a",), None),
        (None, ("a",), None),
    ],
)
def test_keys_are_found_in_any_case_and_the_exact_one_first(
    data: Any, path: tuple[str, ...], found: Any
) -> None:
    assert field(data, *path) == found


OBJECT = ObjectId("/topic", "path")


@pytest.mark.parametrize(
    ("data", "identity"),
    [
        ({"eTag": "0x8D", "sequencer": "0A"}, ("etag", "/topic", "path", "t", "0x8D")),
        ({"etag": '"0x8D"'}, ("etag", "/topic", "path", "t", "0x8D")),
        ({"Etag": 'W/"0x8D"'}, ("etag", "/topic", "path", "t", "0x8D")),
        ({"etag": '""', "sequencer": "0A"}, ("sequencer", "/topic", "path", "t", "0a")),
        ({"etag": None, "sequencer": "000"}, ("id", "/topic", "id", "t", "sub")),
        ({}, ("id", "/topic", "id", "t", "sub")),
        (None, ("id", "/topic", "id", "t", "sub")),
    ],
)
def test_the_identity_is_the_etag_then_the_sequencer_then_the_id(
    data: Any, identity: tuple[str, ...]
) -> None:
    assert identity_of(read("T", data), OBJECT) == identity


def test_a_deletion_that_carries_the_etag_of_what_it_deleted_is_another_event() -> None:
    modified, deleted = (read(f"Microsoft.AppConfiguration.{name}", {"etag": "e"}) for name in ("A", "B"))

    assert identity_of(modified, OBJECT) != identity_of(deleted, OBJECT)
