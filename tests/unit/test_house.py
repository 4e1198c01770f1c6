"""The house rules that no linter checks. CONTRIBUTING.md says why they are there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import consumer

ROOT = Path(__file__).parents[2]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
LONG_FUNCTIONS: dict[str, str] = {}
"""``path:name`` of a function that may be longer, and why. Best left empty."""
VAGUE_NAMES = {"base", "common", "helpers", "manager", "misc", "utils"}
MACHINE_PATHS = re.compile(rf"(?<![\w.}}])/(?:root|work)/\w|{re.escape(str(ROOT))}\b")
REGISTRY_HOSTS = re.compile(r"pypi[.](?:org|io)|python[h]osted|registry[.]npm")


def tracked() -> list[Path]:
    """The files of the project: what git knows, or what was unpacked from the source archive."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        found = [ROOT / name for name in listed.decode().split("\0") if name]
    else:
        here = [
            path
            for path in ROOT.rglob("*")
            if path.relative_to(ROOT).parts[0] not in {".bench", ".venv", ".venv-compiled", "dist"}
        ]
        found = [path for path in here if "__pycache__" not in path.parts and path.name != "PKG-INFO"]
    return sorted(path for path in found if path.is_file())


FILES = tracked()
SOURCES = [path for path in FILES if path.suffix == ".py"]
PRODUCT = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in {"consumer", "processors"}]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_bytes(), named(path)))


def test_the_project_has_four_folders_and_they_are_the_ones_on_the_map() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in FILES if path.parent != ROOT}

    assert sorted(name for name in folders if name[0] != ".") == ["consumer", "deploy", "processors", "tests"]


def test_a_file_can_be_read_in_one_sitting() -> None:
    lengths = {named(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}

    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_a_function_can_be_seen_at_once() -> None:
    functions = {
        f"{named(path)}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in PRODUCT
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    too_long = {name for name, lines in functions.items() if lines > FUNCTION_LINES_MAX}

    assert too_long == LONG_FUNCTIONS.keys()


def test_a_file_is_named_for_what_it_does() -> None:
    assert [named(path) for path in SOURCES if path.stem in VAGUE_NAMES] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [named(path) for path in PRODUCT if not ast.get_docstring(ast.parse(path.read_bytes()))]

    assert silent == []


def test_every_public_class_and_function_is_documented() -> None:
    silent = [
        f"{named(path)}:{node.name}"
        for path in PRODUCT
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if not node.name.startswith("_") and not ast.get_docstring(node)
    ]

    assert silent == []


def test_the_package_exports_ten_names_at_most_and_all_of_them_exist() -> None:
    assert len(consumer.__all__) <= 10
    assert [name for name in consumer.__all__ if not hasattr(consumer, name)] == []


def test_only_the_command_line_prints() -> None:
    printing = {
        named(path)
        for path in PRODUCT
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }

    assert {name for name in printing if not name.startswith("consumer/cli/")} == set()


def test_the_core_never_asks_what_time_it_is() -> None:
    clocks = {"now", "utcnow", "today", "time", "monotonic", "perf_counter"}
    asked = [
        f"{named(path)}:{node.lineno}"
        for path in (ROOT / "consumer" / "core").glob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in clocks
    ]

    assert asked == []


def test_the_core_never_waits() -> None:
    waiting = [
        f"{named(path)}:{node.lineno}"
        for path in (ROOT / "consumer" / "core").glob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]

    assert waiting == []


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, REGISTRY_HOSTS], ids=["machine", "registry"])
def test_no_file_names_a_machine_or_a_registry(pattern: re.Pattern[str]) -> None:
    found = [
        f"{named(path)}:{number}: {line.strip()[:100]}"
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1)
        if pattern.search(line)
    ]

    assert found == []


def test_asking_for_help_does_not_wait_for_an_sdk() -> None:
    heavy = ("aiohttp", "azure", "faust", "prometheus_client", "pydantic")
    asked = f"import sys, consumer.cli; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, check=True, text=True
    )

    assert answer.stdout.strip() == "[]"


def test_every_file_that_the_documents_point_to_exists() -> None:
    links = [
        (document, target.partition("#")[0])
        for document in FILES
        if document.suffix == ".md"
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8"))
        if not target.startswith(("#", "http:", "https:", "mailto:"))
    ]

    assert links
    assert [f"{named(at)}: {target}" for at, target in links if not (at.parent / target).exists()] == []
