"""Admission: whose events are ours, and which types their topics can raise."""

from __future__ import annotations

import pytest

from consumer.core.admission import Admission, TypeFilter
from consumer.events import Outcome, Reason

from .conftest import ML, STORAGE, compact, grid_event, one

REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
PROD = ML.replace("workspaces/w", "workspaces/prod")
GROUP = "/subscriptions/s/resourceGroups/g"
CUSTOM = f"{GROUP}/providers/Microsoft.EventGrid/topics/t"


def ending(admission: Admission, topic: str, type_: str, kind: object = None):
    verdict = admission.check(one(compact(grid_event(topic=topic, eventType=type_))), kind)
    return None if verdict is None else verdict.reason


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        (PROD, None),
        (PROD.upper(), None),
        (PROD + "/", None),
        (PROD + "2", Reason.TOPIC),
        (PROD[:-1], Reason.TOPIC),
        (PROD + "/jobs/1", Reason.TOPIC),
        (f"/x{PROD}", Reason.TOPIC),
        (PROD.rpartition("/")[0], Reason.TOPIC),
        (STORAGE, Reason.TOPIC),
    ],
)
@pytest.mark.parametrize("listed", [PROD, PROD.lower(), PROD + "/"])
def test_a_topic_is_compared_whole_and_without_regard_to_case(listed: str, topic: str, reason) -> None:
    assert ending(Admission([listed], None), topic, REGISTERED) is reason


@pytest.mark.parametrize(
    ("topic", "type_", "reason"),
    [
        (ML, REGISTERED, None),
        (ML.upper(), REGISTERED.upper(), None),
        (STORAGE, "Microsoft.Storage.BlobCreated", None),
        (CUSTOM, "Microsoft.Storage.BlobCreated", Reason.SPOOFED_TYPE),
        (CUSTOM, REGISTERED, Reason.SPOOFED_TYPE),
        (CUSTOM, "Microsoft.Resources.ResourceWriteSuccess", Reason.SPOOFED_TYPE),
        (CUSTOM, "Contoso.Orders.Placed", None),
        (CUSTOM, "Microsoft.EventGrid.MQTTClientSessionConnected", None),
        ("contoso", "Contoso.Orders.Placed", None),
        (STORAGE, REGISTERED, Reason.SPOOFED_TYPE),
        (STORAGE, "Microsoft.StorageSync.Changed", Reason.SPOOFED_TYPE),
        (STORAGE, "Microsoft.Storage", Reason.SPOOFED_TYPE),
        (GROUP, "Microsoft.Resources.ResourceWriteSuccess", None),
        ("/subscriptions/s", "Microsoft.Resources.ResourceDeleteSuccess", None),
        ("/subscriptions/s", "Microsoft.PolicyInsights.PolicyStateChanged", None),
        ("/subscriptions/s", "Microsoft.ResourceNotifications.Resources.CreatedOrUpdated", None),
        ("/subscriptions/s", "Microsoft.Storage.BlobCreated", Reason.SPOOFED_TYPE),
        ("/subscriptions/s/providers", "Microsoft.Storage.BlobCreated", Reason.SPOOFED_TYPE),
        ("x", "Microsoft.Storage.BlobCreated", Reason.SPOOFED_TYPE),
    ],
)
def test_a_type_must_be_one_that_its_topic_can_raise(topic: str, type_: str, reason) -> None:
    assert ending(Admission(None, None), topic, type_) is reason


@pytest.mark.parametrize(
    ("type_", "kind", "reason"),
    [
        ("Microsoft.EventGrid.SubscriptionValidationEvent", None, Reason.CONTROL),
        ("microsoft.eventgrid.subscriptiondeletedevent", "Notification", Reason.CONTROL),
        (REGISTERED, "SubscriptionValidation", Reason.CONTROL),
        (REGISTERED, "SubscriptionDeletion", Reason.CONTROL),
        (REGISTERED, "Notification", None),
        (REGISTERED, "notification", None),
        (REGISTERED, None, None),
    ],
)
def test_control_events_are_ignored_before_anything_else_is_asked(type_: str, kind, reason) -> None:
    topics = [ML] if reason is None else []
    assert ending(Admission(topics, None), ML, type_, kind) is reason


def test_what_is_ignored_is_no_dead_letter_and_what_is_spoofed_is_one() -> None:
    event = one(compact(grid_event(topic=ML)))

    ignored, spoofed = Admission([], None).check(event, None), Admission(None, None).check(event, None)

    assert ignored is not None
    assert spoofed is not None
    assert (ignored.outcome, spoofed.outcome) == (Outcome.IGNORED, Outcome.DEAD_LETTERED)


def test_types_are_listed_whole_or_as_a_prefix() -> None:
    types = TypeFilter([REGISTERED, "Microsoft.Storage.*"])

    assert REGISTERED.casefold() in types
    assert "microsoft.storage.blobcreated" in types
    assert f"{REGISTERED}2".casefold() not in types
    assert "microsoft.storagesync.x" not in types
    assert "anything" in TypeFilter(["*"])
    assert "anything" not in TypeFilter([])
    assert ending(Admission(None, [REGISTERED]), STORAGE, "Microsoft.Storage.BlobCreated") is Reason.TYPE
