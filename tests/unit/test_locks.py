"""The lock files hold what pyproject.toml asks for, by hash, from nowhere in particular."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-build.lock"]
STALE = "run `make lock` and commit what it changes"

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]


class Pin(NamedTuple):
    version: str
    hashes: int
    asked_for_by_us: bool


def pins(lock: str) -> dict[str, Pin]:
    text = (ROOT / lock).read_text("utf-8")
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    return {
        block.partition("==")[0]: Pin(
            version=re.split(r"[\s;\\]", block.partition("==")[2], maxsplit=1)[0],
            hashes=len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block)),
            asked_for_by_us="inturn (pyproject.toml" in block,
        )
        for block in blocks
    }


def wanted(lock: str) -> dict[str, Requirement]:
    """What pyproject.toml asks for of that which is in a lock."""
    match lock:
        case "requirements.lock":
            return parsed(PROJECT["dependencies"], extras("fast"))
        case "requirements-dev.lock":
            return parsed(PROJECT["dependencies"], extras("dev"))
        case _:
            return parsed(PYPROJECT["dependency-groups"]["build"])


def extras(*names: str) -> list[str]:
    """What extras ask for, those within them followed."""
    asked = [text for name in names for text in PROJECT["optional-dependencies"][name]]
    ours = [Requirement(text) for text in asked if Requirement(text).name == PROJECT["name"]]
    return asked + [text for each in ours for text in extras(*sorted(each.extras))]


def parsed(*groups: list[str]) -> dict[str, Requirement]:
    requirements = [Requirement(text) for group in groups for text in group]
    return {canonicalize_name(each.name): each for each in requirements if each.name != PROJECT["name"]}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_the_project_asks_for_and_nothing_it_no_longer_asks_for(lock: str) -> None:
    asked, locked = wanted(lock), pins(lock)

    assert {name for name, pin in locked.items() if pin.asked_for_by_us} == asked.keys(), STALE
    assert [
        f"{requirement}, locked {locked[name].version}"
        for name, requirement in asked.items()
        if not requirement.specifier.contains(locked[name].version)
    ] == [], STALE


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_held_by_its_hash(lock: str) -> None:
    assert pins(lock)
    assert [name for name, pin in pins(lock).items() if not pin.hashes] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")

    assert re.findall(r"://|--(?:extra-)?index-url|--find-links", text) == []


def test_the_image_gets_the_very_versions_that_were_tested() -> None:
    tested = pins("requirements-dev.lock")
    shipped = pins("requirements.lock") | pins("requirements-build.lock")

    assert {name: pin.version for name, pin in shipped.items()} == {
        name: tested[name].version for name in shipped
    }
