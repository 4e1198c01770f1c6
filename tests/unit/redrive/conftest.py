"""What all tests of redriving begin with."""

from __future__ import annotations

import pytest
from harness.letters import Bench


@pytest.fixture
def bench() -> Bench:
    """A redrive in memory, of a processor that parks."""
    return Bench()
