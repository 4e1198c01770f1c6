"""`inturn dlq`, as who looks after the dead letters calls it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
source: {type: file, paths: [events.jsonl]}
admission: {topics: any}
processors: [{name: show, type: console}]
admin: {enabled: false}
"""
BAD = [b"not JSON", b"\xff\xfe", b'{"eventType": "Mine.Made"}']


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which three bad events have been read."""
    (tmp_path / "inturn.yaml").write_text(CONFIG)
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(BAD))
    assert inturn(tmp_path, "run").returncode == 0
    return tmp_path


def inturn(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "consumer", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_dead_letters_are_listed_with_their_reasons(folder):
    listed = inturn(folder, "dlq", "list")

    assert listed.returncode == 0
    assert "3 dead letters, 3 shown" in listed.stdout
    for reason in ("invalid_json", "not_utf8", "missing_field"):
        assert reason in listed.stdout


def test_a_list_is_as_long_as_asked_and_says_how_many_there_are(folder):
    assert "3 dead letters, 1 shown" in inturn(folder, "dlq", "list", "--limit", "1").stdout


def test_the_bytes_of_every_event_are_kept(folder):
    letters = [json.loads(line) for line in inturn(folder, "dlq", "list", "--json").stdout.splitlines()]

    kept = [
        each["original"].encode() if "original" in each else base64.b64decode(each["original_base64"])
        for each in letters
    ]
    assert kept == BAD


def test_a_letter_is_shown_by_the_beginning_of_its_key(folder):
    first = json.loads(inturn(folder, "dlq", "list", "--json").stdout.splitlines()[0])

    shown = inturn(folder, "dlq", "show", "--", first["key"][:10])

    assert json.loads(shown.stdout) == first


def test_a_letter_that_is_not_there_is_a_finding(folder):
    shown = inturn(folder, "dlq", "show", "nothing-begins-like-this")

    assert shown.returncode == 1
    assert "There is no dead letter" in shown.stderr
