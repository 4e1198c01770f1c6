"""inturn says whether its rules are compiled, and `make test-compiled` tests no other form than that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import consumer.core.pipeline
from consumer import core

ROOT = Path(__file__).parents[2]
IS_COMPILED = not str(consumer.core.pipeline.__file__).endswith(".py")


@pytest.mark.skipif("INTURN_REQUIRE_COMPILED" not in os.environ, reason="the interpreted form is tested")
def test_what_is_tested_is_compiled() -> None:
    assert IS_COMPILED
    assert not Path(consumer.core.pipeline.__file__).is_relative_to(ROOT / "consumer")


def test_the_version_says_which_form_it_is(tmp_path: Path) -> None:
    form = "compiled" if IS_COMPILED else "interpreted"
    assert core.form() == form

    env = os.environ if IS_COMPILED else {**os.environ, "PYTHONPATH": str(ROOT)}
    asked = [sys.executable, "-m", "consumer", "--version"]
    said = subprocess.run(asked, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert said.stdout.rstrip().endswith(f"({form})")


def test_no_extension_lies_beside_the_sources() -> None:
    assert [path for package in ("consumer", "processors") for path in (ROOT / package).rglob("*.so")] == []


def test_to_compile_without_a_compiler_is_refused_with_what_to_install(tmp_path: Path) -> None:
    env = {**os.environ, "INTURN_COMPILE": "1", "CC": "no-such-compiler"}
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    refused = subprocess.run(build, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    assert refused.returncode != 0
    assert "There is no C compiler (no-such-compiler): install one" in refused.stderr
    assert list(tmp_path.iterdir()) == []
