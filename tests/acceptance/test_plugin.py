"""A package with a processor is built, installed beside inturn, configured by its name, and run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from consumer.testing import make_message

PLUGIN = Path(__file__).parent / "plugin"
REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
CONFIG = {
    "source": {"type": "file", "paths": ["events.jsonl"]},
    "admission": {"topics": "any"},
    "admin": {"enabled": False},
    "processors": [{"name": "tell", "type": "announce", "with": {"path": "models.txt"}}],
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it, as pip leaves it."""
    folder = tmp_path_factory.mktemp("plugin")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, cwd=PLUGIN, check=True, capture_output=True)
    (wheel,) = (folder / "dist").iterdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(wheel)], check=True, capture_output=True)
    return folder / "site"


def inturn(folder: Path, installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "consumer", *arguments]
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_processor_that_a_package_brings_is_configured_by_name_and_run(installed, tmp_path):
    (tmp_path / "inturn.yaml").write_text(yaml.safe_dump(CONFIG))
    models = [("churn", 1), ("churn", 2), (None, 1)]
    lines = [
        make_message(REGISTERED, f"models/{name}:{version}", {"modelName": name, "modelVersion": version})
        for name, version in models
    ]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines))

    ended = inturn(tmp_path, installed, "run")

    assert ended.returncode == 0, ended.stderr
    written = [line.rpartition(" ")[0] for line in (tmp_path / "models.txt").read_text().splitlines()]
    assert written == ["New model: churn 1", "New model: churn 2"]
    assert "the model has no name" in inturn(tmp_path, installed, "dlq", "list", "--json").stdout


def test_its_settings_are_checked_and_described_like_those_of_the_built_in_ones(installed, tmp_path):
    wrong = {**CONFIG, "processors": [{"name": "tell", "type": "announce", "with": {"pth": "x"}}]}
    (tmp_path / "inturn.yaml").write_text(yaml.safe_dump(wrong))

    checked = inturn(tmp_path, installed, "check")
    schema = inturn(tmp_path, installed, "config", "schema")

    assert checked.returncode == 78
    assert "processors[0].with.pth: there is no such setting; did you mean path?" in checked.stderr
    assert "How each line begins." in schema.stdout
    assert "there are announce" in inturn_with_a_typo(tmp_path, installed)


def inturn_with_a_typo(folder: Path, installed: Path) -> str:
    typo = {**CONFIG, "processors": [{"name": "tell", "type": "anounce"}]}
    (folder / "inturn.yaml").write_text(yaml.safe_dump(typo))
    return inturn(folder, installed, "check").stderr.replace("did you mean announce? There", "there")


def test_it_can_be_tried_with_cases_before_it_is_let_loose(installed, tmp_path):
    (tmp_path / "inturn.yaml").write_text(yaml.safe_dump(CONFIG))
    event = {
        "type": REGISTERED,
        "subject": "models/churn:1",
        "data": {"modelName": "churn", "modelVersion": 1},
    }
    case = {
        "name": "it says so",
        "events": [event],
        "expect": {"tell": [{"effect": {"line": "New model: churn 1"}}]},
    }
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump({"cases": [case]}))

    ended = inturn(tmp_path, installed, "test", "cases.yaml")

    assert ended.returncode == 0, ended.stdout
    assert not (tmp_path / "models.txt").exists()
