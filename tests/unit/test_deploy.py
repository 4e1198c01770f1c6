"""What is in deploy/ fits together: the configurations, the image, the emulators."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.config_file import load_settings
from consumer.processor_settings import ProcessorSettings
from consumer.settings import BlobState, EventHubSource

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
INTURN: dict[str, Any] = COMPOSE["services"]["inturn"]
CONFIGURATIONS = sorted(DEPLOY.glob("inturn*.yaml"))
PRODUCTION = {
    "AZURE_CLIENT_ID": "00000000-0000-0000-0000-000000000000",
    "EVENTHUB_NAMESPACE": "contoso.servicebus.windows.net",
    "STORAGE_ACCOUNT_URL": "https://contoso.blob.core.windows.net",
    "WORKSPACE_ID": "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/"
    "workspaces/w",
}
ENVIRONMENTS = {"inturn.yaml": PRODUCTION, "inturn-emulator.yaml": INTURN["environment"]}


def without_comments(dockerfile: str) -> list[str]:
    return [line for line in dockerfile.replace("\\\n", " ").splitlines() if line and line[0] != "#"]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_every_configuration_is_valid_with_the_variables_that_it_is_given(path: Path) -> None:
    settings = load_settings(path, ENVIRONMENTS[path.name])

    assert isinstance(settings.source, EventHubSource)
    assert isinstance(settings.state, BlobState)
    assert settings.source.consumer_group != "$Default"


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_no_configuration_leaves_a_variable_to_chance(path: Path) -> None:
    wanted = set(re.findall(r"\$\{(\w+)\}", path.read_text("utf-8")))

    assert wanted <= ENVIRONMENTS[path.name].keys()


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_archives_are_kept_on_the_volume_and_nowhere_in_the_image(path: Path) -> None:
    (volume,) = re.findall(r"^VOLUME (\S+)$", DOCKERFILE, re.MULTILINE)
    processors: tuple[ProcessorSettings, ...] = load_settings(path, ENVIRONMENTS[path.name]).processors
    folders = [str(each.options["path"]) for each in processors if each.type == "archive"]

    assert folders
    assert [folder for folder in folders if not folder.startswith(f"{volume}/")] == []


def test_probes_and_ports_are_those_that_the_configurations_listen_on() -> None:
    ports = {load_settings(path, ENVIRONMENTS[path.name]).admin.port for path in CONFIGURATIONS}

    assert ports == {8080}
    assert "EXPOSE 8080" in DOCKERFILE
    assert "'127.0.0.1', 8080" in DOCKERFILE


def test_the_emulator_has_the_hub_and_the_group_that_are_read() -> None:
    source = load_settings(DEPLOY / "inturn-emulator.yaml", INTURN["environment"]).source
    assert isinstance(source, EventHubSource)
    config = json.loads((DEPLOY / "emulator-config.json").read_text("utf-8"))["UserConfig"]
    (namespace,) = config["NamespaceConfig"]
    hubs = {hub["Name"]: hub for hub in namespace["Entities"]}

    assert source.consumer_group in {group["Name"] for group in hubs[source.hub]["ConsumerGroups"]}
    assert 1 <= int(hubs[source.hub]["PartitionCount"]) <= 32
    (host,) = re.findall(r"Endpoint=sb://([^;]+);", INTURN["environment"]["EVENTHUB_CONNECTION_STRING"])
    assert host in COMPOSE["services"]
    assert source.allow_plaintext_hosts == (host,)


def test_what_the_services_mount_and_wait_for_exists() -> None:
    for name, service in COMPOSE["services"].items():
        for mount in service.get("volumes", []):
            origin = mount.split(":")[0]
            assert origin in COMPOSE["volumes"] or (DEPLOY / origin).is_file(), (name, mount)
        for other, condition in service.get("depends_on", {}).items():
            probed = "healthcheck" in COMPOSE["services"][other]
            assert condition["condition"] == ("service_healthy" if probed else "service_started")


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]

    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_the_container_may_take_longer_to_end_than_the_drain() -> None:
    drain = load_settings(DEPLOY / "inturn-emulator.yaml", INTURN["environment"]).drain.timeout_s

    assert int(INTURN["stop_grace_period"].removesuffix("s")) >= drain + 10


def test_the_image_is_made_from_files_that_exist_and_are_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    kept = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {
        name
        for line in without_comments(DOCKERFILE)
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    }

    assert "*" in ignore
    assert copied == kept
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_is_not_root_and_installs_nothing_that_has_no_hash() -> None:
    lines = without_comments(DOCKERFILE)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    installs = re.findall(r"pip install (.*?)(?: &&|$)", "\n".join(lines), re.MULTILINE)

    assert users == ["10001:10001"]
    assert installs
    assert [each for each in installs if "--require-hashes" not in each and "--no-deps" not in each] == []


def test_the_image_has_a_python_that_inturn_is_made_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bases = set(re.findall(r"^FROM python:(\d+\.\d+)-slim-\w+", DOCKERFILE, re.MULTILINE))

    assert len(bases) == 1
    assert f"Programming Language :: Python :: {bases.pop()}" in project["classifiers"]
