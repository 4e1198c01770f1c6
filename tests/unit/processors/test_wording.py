"""What an event is called, and where it can be looked at."""

from __future__ import annotations

import pytest

from processors.portal import link_of, resource_of
from processors.wording import details_of, title_of

ML = "Microsoft.MachineLearningServices"
WORKSPACE = "/subscriptions/s/resourcegroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
STORAGE = "/subscriptions/s/resourcegroups/g/providers/Microsoft.Storage/storageAccounts/a"
RUN = {"experimentName": "churn", "RunId": "r1"}
BREACH = {
    "azureml_modelmonitor_threshold_breached": "m_drift has failed due to one or more features violating "
    "metric thresholds"
}


@pytest.mark.parametrize(
    ("type_", "data", "title"),
    [
        ("RunStatusChanged", RUN | {"runStatus": "Failed"}, "Run failed: r1 of churn"),
        ("RunStatusChanged", {"runId": "r1", "runStatus": "Running"}, "Run running: r1"),
        ("RunStatusChanged", RUN, "Run changed: r1 of churn"),
        (
            "RunStatusChanged",
            RUN | {"runStatus": "failed", "RunTags": BREACH},
            "Model monitor found drift: r1 of churn",
        ),
        (
            "RunStatusChanged",
            RUN | {"runStatus": "Completed", "RunTags": BREACH},
            "Run completed: r1 of churn",
        ),
        ("RunCompleted", RUN, "Run completed: r1 of churn"),
        ("ModelRegistered", {"ModelName": "fraud", "ModelVersion": 3}, "Model registered: fraud:3"),
        (
            "ModelDeployed",
            {"serviceName": "aci", "modelIds": "a:1,b:2"},
            "Model deployed: a:1, b:2 to aci",
        ),
        (
            "DatasetDriftDetected",
            {"dataDriftName": "m", "driftCoefficient": 0.8350349068479208},
            "Dataset drift detected: m, coefficient 0.835",
        ),
        ("SomethingNew", {"modelName": "fraud"}, "Something new: fraud"),
    ],
)
def test_an_event_of_machine_learning_is_called_what_it_is(event, type_, data, title):
    assert title_of(event(type=f"{ML}.{type_}", data=data)) == title


def test_the_case_of_a_type_does_not_matter(event):
    assert title_of(event(type=f"{ML}.MODELREGISTERED".upper())) == "Model registered: fraud:3"


@pytest.mark.parametrize(
    ("type_", "data", "title"),
    [
        (
            "Inturn.ModelDeploymentFailed",
            {"model": "fraud", "version": "4"},
            "Model deployment failed: fraud:4",
        ),
        ("Inturn.ExpectationMissed", {"rule": "deployed"}, "Expectation missed: deployed, for the subject"),
        ("Inturn.RetrainingHeldBack", {"model": "churn"}, "Retraining held back: churn"),
        ("Microsoft.Storage.BlobCreated", {"url": "x"}, "Blob created: the subject"),
        ("com.example.CPUHot", None, "CPU hot: the subject"),
        ("odd", "text", "Odd: the subject"),
    ],
)
def test_any_other_event_is_called_by_the_words_of_its_type(event, type_, data, title):
    assert title_of(event(type=type_, subject="the subject", data=data)) == title


def test_details_show_the_plain_values_of_the_data_one_a_line(event):
    data = {
        "modelName": "fraud",
        "modelTags": {"area": "cards", "deep": {}},
        "list": [1],
        "ok": True,
        "no": None,
    }
    assert details_of(event(data=data))[-3:] == ("Model name: fraud", "Model tags, area: cards", "Ok: true")


def test_details_of_the_largest_event_are_few(event):
    assert len(details_of(event(data={f"key{n}": n for n in range(10_000)}))) < 30


@pytest.mark.parametrize(
    ("data", "page"),
    [
        ({"runId": "AutoML_1"}, "/runs/AutoML_1"),
        ({"modelName": "fraud", "modelVersion": "3"}, "/model/fraud:3/details"),
        ({"modelName": "fraud"}, "/model/list"),
        ({"serviceName": "aci"}, "/endpoints/realtime/aci/detail"),
        ({"endpoint": "e", "model": "fraud", "version": 4}, "/endpoints/realtime/e/detail"),
        ({}, "/"),
        ({"runId": "a/b?c#d&e=f\r\n"}, "/runs/a%2Fb%3Fc%23d%26e%3Df%0D%0A"),
        ({"runId": ".."}, "/runs/"),
        ({"runId": "\ud800"}, "/runs/%3F"),
    ],
)
def test_the_link_opens_what_the_event_is_about(event, data, page):
    assert link_of(event(data=data)) == f"https://ml.azure.com{page}?wsid={WORKSPACE}"


def test_the_link_names_the_tenant_and_the_cloud_that_are_configured(event):
    link = link_of(event(data={}), "https://ml.azure.us", "t-1")
    assert link == f"https://ml.azure.us/?wsid={WORKSPACE}&tid=t-1"


def test_what_we_did_is_shown_where_it_was_done(event):
    factory = STORAGE.replace("Microsoft.Storage/storageAccounts", "Microsoft.DataFactory/factories")
    started = event(type="Inturn.RetrainingStarted", data={"runId": "r", "factory": factory, "model": "m"})
    assert link_of(started) == f"https://adf.azure.com/en/monitoring/pipelineruns/r?factory={factory}"
    elsewhere = WORKSPACE.removesuffix("w") + "other"
    deployed = event(type="Inturn.ModelDeployed", data={"workspace": elsewhere, "endpointName": "e"})
    assert link_of(deployed) == f"https://ml.azure.com/endpoints/realtime/e/detail?wsid={elsewhere}"


def test_nobody_else_chooses_where_a_link_leads(event):
    other = WORKSPACE.removesuffix("w") + "other"
    said = event(data={"workspace": other, "factory": STORAGE, "runId": "r"})
    assert link_of(said) == f"https://ml.azure.com/runs/r?wsid={WORKSPACE}"


@pytest.mark.parametrize(
    ("topic", "link"),
    [
        (STORAGE, f"https://portal.azure.com/#resource{STORAGE}"),
        (
            "/subscriptions/s/resourceGroups/g#x/providers/A?b=1/c&d/..",
            "https://portal.azure.com/#resource/subscriptions/s/resourcegroups/g%23x/providers/A%3Fb%3D1/c%26d/",
        ),
        ("/subscriptions/s/resourceGroups/g", ""),
        ("https://evil.example/subscriptions/s", ""),
        ("javascript:alert(1)", ""),
        ("", ""),
    ],
)
def test_other_resources_have_a_page_in_the_portal_and_what_is_none_has_no_link(event, topic, link):
    assert link_of(event(topic=topic)) == link


def test_a_resource_id_is_read_whatever_its_case():
    found = resource_of(
        "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.MACHINELEARNINGSERVICES/WORKSPACES/W/"
    )
    assert (found.subscription, found.group, found.name, found.is_workspace) == ("S", "G", "W", True)
