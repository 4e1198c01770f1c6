"""What every proof has."""

from __future__ import annotations

import shlex
import uuid
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _how_to_repeat(request: pytest.FixtureRequest) -> None:
    options = request.config.option
    command = shlex.join(["python", "-m", "pytest", request.node.nodeid])
    line = f"{command} --effort {options.effort} --seed {options.seed}"
    request.node.add_report_section("setup", "to repeat it", line)


@pytest.fixture
def blob_state(azurite: Any) -> dict[str, Any]:
    """The section `state` of a configuration: a container of our own in Azurite."""
    return {
        "type": "blob",
        "connection_string": azurite.connection_string,
        "container": f"proof-{uuid.uuid4().hex}",
        "create_container": True,
        "checkpoint_interval_s": 0.5,
    }
