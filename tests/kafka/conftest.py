"""Proofs on Kafka take minutes: they are collected for `make faust` alone, which tries hard."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.kafka_places import MEMORY, Memory


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.name == "proof" and config.getoption("--effort") == "short":
        return True
    return None


@pytest.fixture
def memory() -> Memory:
    """What the processors of a test are given, in order."""
    MEMORY.events.clear()
    return MEMORY
