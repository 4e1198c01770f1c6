"""The harness for processes, as fixtures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import processes
from harness.processes import TOPIC, Archive, Hub, Inturn, Story


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Waits until a condition gives something true, and gives that."""
    return processes.eventually


@pytest.fixture
def inturn(tmp_path: Path) -> Iterator[Inturn]:
    """The command, run in `tmp_path`."""
    running = Inturn(tmp_path)
    yield running
    running.close()


@pytest.fixture
def start_hub(inturn: Inturn) -> Callable[..., Hub]:
    """Starts a local Event Hubs, if wanted with a key."""
    return lambda key=None, groups=(): Hub(inturn, key, groups)


@pytest.fixture
def groups() -> Sequence[str]:
    """The hub's consumer groups besides `$Default`. A test that needs any has them as a parameter."""
    return ()


@pytest.fixture
def hub(start_hub: Callable[..., Hub], groups: Sequence[str]) -> Hub:
    """A local Event Hubs in a process of its own."""
    return start_hub(groups=groups)


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., str]:
    """Writes a configuration and gives its name; sections that are given replace those that are usual."""

    def configure(hub: Hub | None = None, **sections: Any) -> str:
        usual: dict[str, Any] = {
            # Stored when drained, and not meanwhile: what a test finds stored the drain has stored.
            "state": {"type": "sqlite", "path": "state.sqlite", "checkpoint_interval_s": 60},
            "admission": {"topics": [TOPIC]},
            "sequence": {"window_s": 1, "idle_margin_s": 1},
            "processors": [{"name": "keep", "type": "archive", "with": {"path": "archive"}}],
            "admin": {"port": 0},
        }
        if hub is not None:
            usual["source"] = hub.source()
        (tmp_path / "inturn.yaml").write_text(json.dumps({**usual, **sections}))
        return "inturn.yaml"

    return configure


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


@pytest.fixture
def tell() -> Callable[..., Story]:
    """Makes the story of some objects; a later chapter goes on where the one before ended."""

    return processes.tell


@pytest.fixture
def write_processors(tmp_path: Path) -> Callable[[str], None]:
    """Writes the module `mine`, which a configuration can name as ``mine:attribute``."""

    def write(source: str) -> None:
        (tmp_path / "mine.py").write_text(source)

    return write
