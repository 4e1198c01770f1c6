"""How hard the property tests search: what a build can afford, or HYPOTHESIS_PROFILE=deep for long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_SLOW_TO_DRAW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

settings.register_profile(
    "build", max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=_SLOW_TO_DRAW
)
settings.register_profile(
    "deep", max_examples=4_000, stateful_step_count=80, deadline=None, suppress_health_check=_SLOW_TO_DRAW
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "build"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A long search takes the time that it takes."""
    if os.environ.get("HYPOTHESIS_PROFILE") == "deep":
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.timeout(0))
