"""The wheel with the locked dependencies, each checked by its hash, is all that inturn needs."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
INSTALL_TIMEOUT_S = 300
NO_NETWORK = ("NewConnectionError", "ConnectTimeoutError", "Name or service not known", "ProxyError")

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S + 120)


def call(
    command: Sequence[str | Path], folder: Path, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command that must not see this checkout: not its folder, not its environment."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("INTURN_", "PYTHON", "EVENTHUB_", "VIRTUAL_ENV"))
    }
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    built = call([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], ROOT)
    assert built.returncode == 0, built.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that holds the locked dependencies and the wheel."""
    place = tmp_path_factory.mktemp("installed")
    assert call([sys.executable, "-m", "venv", place / "venv"], place).returncode == 0
    commands = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip = [commands / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    locked = call(
        [
            *pip,
            "--retries",
            "1",
            "--only-binary",
            ":all:",
            "--require-hashes",
            "-r",
            ROOT / "requirements.lock",
        ],
        place,
        INSTALL_TIMEOUT_S,
    )
    is_offline = any(sign in locked.stderr for sign in NO_NETWORK)
    if locked.returncode and is_offline and os.environ.get("CI") != "true":
        pytest.skip("the package registry cannot be reached")
    assert locked.returncode == 0, locked.stderr
    added = call([*pip, "--no-deps", "--no-index", wheel], place)
    assert added.returncode == 0, added.stderr
    return commands


def test_the_command_and_the_processors_are_found_by_their_entry_points(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (points,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        entry_points = configparser.ConfigParser()
        entry_points.read_string(archive.read(points).decode())

    assert entry_points["console_scripts"]["inturn"] == "consumer.__main__:main"
    processors = dict(entry_points["inturn.processors"])
    assert processors
    for target in processors.values():
        assert target.partition(":")[0].replace(".", "/") + ".py" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_with_the_locked_dependencies_alone_a_file_of_events_is_read_to_its_end(installed, tmp_path):
    checked = call([installed / "python", "-m", "pip", "check"], tmp_path)
    assert checked.returncode == 0, checked.stdout
    found = call([installed / "python", "-c", "import consumer; print(consumer.__file__)"], tmp_path)
    assert Path(found.stdout.strip()).is_relative_to(installed.parent)
    events = [
        {
            "id": f"first-try-{version}",
            "topic": TOPIC,
            "subject": f"models/fraud:{version}",
            "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
            "eventTime": "2026-01-01T00:00:00Z",
            "data": {"modelName": "fraud", "modelVersion": str(version)},
            "dataVersion": "2",
        }
        for version in (1, 2)
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, events)) + "\n")
    settings = {
        "source": {"type": "file", "paths": ["events.jsonl"]},
        "admission": {"topics": [TOPIC]},
        "processors": [{"name": "show", "type": "console"}],
        "admin": {"port": 0},
    }
    (tmp_path / "inturn.yaml").write_text(json.dumps(settings))

    ran = call([installed / "inturn", "run"], tmp_path)

    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    printed = ran.stdout.splitlines()
    assert len(printed) == 2
    for version, line in enumerate(printed, start=1):
        assert f"fraud:{version}" in line
