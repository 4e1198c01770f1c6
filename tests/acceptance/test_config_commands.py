import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.cli import COMMANDS, load_command

ROOT = Path(__file__).parents[2]
KEY = "Zm9vYmFyc2VjcmV0"


@pytest.fixture
def inturn(tmp_path):
    def inturn(*arguments, python_options=(), **env):
        return subprocess.run(
            [sys.executable, *python_options, "-m", "consumer", *arguments],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "NO_COLOR": "1",
                "COLUMNS": "200",
                **env,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return inturn


def test_the_starter_is_a_configuration_that_works(inturn, tmp_path):
    starter = inturn("config", "init")
    (tmp_path / "inturn.yaml").write_text(starter.stdout)
    shown = inturn("config", "show")
    assert (starter.returncode, shown.returncode, shown.stderr) == (0, 0, "")
    assert "namespace: contoso.servicebus.windows.net  # ${EVENTHUB_NAMESPACE}" in shown.stdout


def test_show_hides_secrets(inturn, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "source: {type: eventhub, hub: h, connection_string: '${CS}'}\n"
        "admission: {topics: any}\nprocessors: [{name: a, type: console}]\n"
    )
    shown = inturn("config", "show", "-c", "c.yaml", CS=f"Endpoint=sb://x/;SharedAccessKey={KEY}")
    assert shown.returncode == 0
    assert "connection_string: '***'  # ${CS}" in shown.stdout
    assert KEY not in shown.stdout + shown.stderr


def test_a_wrong_configuration_is_explained_without_a_traceback_and_ends_with_78(inturn, tmp_path):
    (tmp_path / "inturn.yaml").write_text("source: {type: fil, paths: [a]}\nadmission: {topics: any}\n")
    shown = inturn("config", "show")
    assert shown.returncode == 78
    assert shown.stdout == ""
    assert shown.stderr.splitlines() == [
        "inturn.yaml:1:1: processors: is missing",
        "inturn.yaml:1:16: source.type: should be one of 'eventhub', 'kafka', 'file'; did you mean file?",
    ]


def test_a_file_that_is_not_there_ends_with_78(inturn):
    shown = inturn("config", "show", "-c", "gone.yaml")
    assert (shown.returncode, shown.stderr.count("\n")) == (78, 1)


def test_the_schema_describes_the_settings_and_those_of_the_processors(inturn):
    printed = inturn("config", "schema")
    schema = json.loads(printed.stdout)
    assert printed.returncode == 0
    assert schema["$defs"]["SequenceSettings"]["properties"]["window_s"]["description"].startswith("Seconds")
    assert "path" in schema["$defs"]["with_archive"]["properties"]
    assert schema["$defs"]["AdminSettings"]["properties"]["port"]["type"] == ["integer", "string"]


def test_help_does_not_wait_for_azure_or_faust(inturn):
    helped = inturn("--help", python_options=("-X", "importtime"))
    imported = [line.rpartition("|")[2].strip().partition(".")[0] for line in helped.stderr.splitlines()]
    assert helped.returncode == 0
    assert "typer" in imported
    assert not {"azure", "faust", "aiohttp"} & set(imported)
    assert all(name in helped.stdout for name in COMMANDS)


def test_the_version_is_printed(inturn):
    assert inturn("--version").stdout.startswith("inturn 0.")


def test_a_command_that_does_not_exist_is_a_usage_error_with_a_guess(inturn):
    wrong = inturn("confg")
    assert wrong.returncode == 2
    assert "config" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_the_help_is_there(name):
    assert load_command(name).name == name
