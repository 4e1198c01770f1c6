"""Settings that are fine by themselves and cannot work together are found, with their place."""

from __future__ import annotations

import pytest

from consumer.config_file import load_settings
from consumer.errors import ConfigurationError

KEY = "SharedAccessKeyName=k;SharedAccessKey=a2V5"
AZURE = f"Endpoint=sb://contoso.servicebus.windows.net/;{KEY}"
MAIL = "host: mail, from: a@contoso.com, to: [b@contoso.com]"


def load(tmp_path, source, processor):
    path = tmp_path / "inturn.yaml"
    path.write_text(
        "source:\n"
        + "".join(f"  {line}\n" for line in source)
        + "state: {type: memory}\nadmission: {topics: any}\nprocessors:\n  - name: it\n"
        + "".join(f"    {line}\n" for line in processor)
    )
    return load_settings(path, {})


HUB = ["type: eventhub", "hub: events", f"connection_string: '{AZURE}'"]
NAMESPACE = ["type: eventhub", "hub: Events", "namespace: Contoso.servicebus.windows.net"]
LOCAL = ["type: eventhub", "hub: events", f"connection_string: '{AZURE}'"]
KAFKA = [
    "type: kafka",
    "bootstrap: 'a:9092,b:9092'",
    "topic: events",
    "placement: spread",
    "rekey_topic: again",
]
OVER_KAFKA = [
    "type: kafka",
    "bootstrap: 'contoso.servicebus.windows.net:9093'",
    "topic: events",
    "placement: keyed",
]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (HUB, f"{{hub: events, connection_string: '{AZURE}'}}"),
        (HUB, f"{{hub: EVENTS, connection_string: '{AZURE.replace('contoso', 'CONTOSO')}'}}"),
        (HUB, "{hub: events, namespace: 'contoso.servicebus.windows.net:5671'}"),
        (HUB, "{hub: events, connection_string_file: key}"),
        (NAMESPACE, "{hub: events, namespace: contoso.servicebus.windows.net}"),
        (OVER_KAFKA, "{hub: events, namespace: contoso.servicebus.windows.net}"),
        (KAFKA, "{kafka: {bootstrap: 'c:9092,B:9092', topic: events}}"),
        (KAFKA, "{kafka: {bootstrap: 'a:9092', topic: again}}"),
    ],
)
def test_nothing_is_forwarded_to_where_it_comes_from(tmp_path, source, target):
    (tmp_path / "key").write_text(AZURE)
    with pytest.raises(ConfigurationError, match="without end") as raised:
        load(tmp_path, source, ["type: forward", f"with: {target}"])
    assert "processors[0].with." in str(raised.value)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (HUB, f"{{hub: others, connection_string: '{AZURE}'}}"),
        (HUB, "{hub: events, namespace: fabrikam.servicebus.windows.net}"),
        (KAFKA, "{kafka: {bootstrap: 'a:9092', topic: others}}"),
        (["type: file", "paths: [events.jsonl]"], f"{{hub: events, connection_string: '{AZURE}'}}"),
    ],
)
def test_it_is_forwarded_anywhere_else(tmp_path, source, target):
    assert load(tmp_path, source, ["type: forward", f"with: {target}"])


def test_two_local_hubs_are_told_apart_by_their_ports(tmp_path):
    def at(port):
        return f"Endpoint=sb://127.0.0.1:{port};{KEY};UseDevelopmentEmulator=true"

    source = ["type: eventhub", "hub: events", f"connection_string: '{at(5672)}'"]
    target = "type: forward", f"with: {{hub: events, connection_string: '{at(5673)}'}}"
    assert load(tmp_path, source, target)
    with pytest.raises(ConfigurationError, match="without end"):
        load(tmp_path, source, [line.replace("5673", "5672") for line in target])


def test_mails_that_wait_longer_than_their_deadline_are_refused(tmp_path):
    expected = (
        r"with\.group_s: and timeout_s together have to be below the processor's deadline_s, which is 60"
    )
    with pytest.raises(ConfigurationError, match=expected):
        load(tmp_path, HUB, ["type: email", "deadline_s: 60", f"with: {{{MAIL}, group_s: 50}}"])


def test_grouping_within_the_deadline_is_fine(tmp_path):
    assert load(tmp_path, HUB, ["type: email", "deadline_s: 90", f"with: {{{MAIL}, group_s: 60}}"])


WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
DEPLOYMENT = (
    f"workspaces: ['{WORKSPACE}'], rules: [{{models: ['*'], endpoint: shop}}], deployments_per_hour_max: 1"
)


@pytest.mark.parametrize("follow_s", [30, 600])
def test_an_attempt_ends_to_be_put_off_before_it_is_cut_off_as_failed(tmp_path, follow_s):
    lines = ["type: deploy_model", f"with: {{{DEPLOYMENT}, follow_s: {follow_s}}}"]
    with pytest.raises(ConfigurationError, match=r"follow_s.*has to be below .* deadline_s, which is 30"):
        load(tmp_path, LOCAL, lines)
    load(tmp_path, LOCAL, [*lines, "deadline_s: 900"])
