"""What is built is whole: installed into an empty environment, away from the checkout, it works."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AWAY = ("dns error", "error sending request", "Connection refused", "timed out", "network was disabled")
"""What the installer says when the package registry cannot be reached."""


def call(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with nothing that leads back to the checkout."""
    led = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    env = {name: value for name, value in os.environ.items() if name not in led}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as `make build` makes it."""
    folder = tmp_path_factory.mktemp("dist")
    built = call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=ROOT)
    assert built.returncode == 0, built.stderr
    (made,) = folder.glob("inturn-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which there are the wheel and what it says it needs."""
    folder = tmp_path_factory.mktemp("installed")
    uv = (sys.executable, "-m", "uv", "--no-progress")
    made = call(*uv, "venv", "--python", sys.executable, "environment", folder=folder)
    assert made.returncode == 0, made.stderr
    programs = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
    python = ("--python", programs / "python")
    added = call(*uv, "pip", "install", *python, "-c", ROOT / "requirements.lock", wheel, folder=folder)
    if added.returncode != 0 and any(word in added.stderr for word in AWAY):
        pytest.skip(f"The package registry cannot be reached: {added.stderr.strip()[-200:]}")
    assert added.returncode == 0, added.stderr
    return programs


def test_everything_that_is_needed_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"consumer/py.typed", "processors/py.typed", "consumer/telemetry/page/status.html"} <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"consumer", "processors", "inturn"}
    packed = {name for name in names if name.startswith(("consumer/", "processors/"))}
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in ("consumer", "processors")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == ours


@pytest.mark.slow
def test_the_installed_commands_work_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    version = call(installed / "inturn", "--version", folder=tmp_path)
    assert (version.returncode, version.stderr) == (0, "")

    begun = call(installed / "inturn", "config", "init", folder=tmp_path)
    assert begun.returncode == 0
    (tmp_path / "inturn.yaml").write_text(begun.stdout, "utf-8")
    checked = call(installed / "python", "-m", "consumer", "check", folder=tmp_path)
    assert checked.returncode == 1  # for the starter takes the events of any topic
    assert "processor keep: archive" in checked.stdout
    assert [line for line in checked.stdout.splitlines() if line.startswith("finding: ")] == [
        "finding: admission.topics is any: events of every resource are taken, whoever sends them to the hub."
    ]

    where = call(installed / "python", "-c", "import consumer; print(consumer.__file__)", folder=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(installed.parent)


@pytest.mark.slow
def test_what_is_installed_can_do_the_whole_work(installed: Path, tmp_path: Path) -> None:
    shown = call(installed / "inturn", "demo", "--events", "300", "--seed", "8", folder=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "Every number is the truth." in shown.stdout
