"""What processors talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from harness.endpoints import Authority, Endpoint

NAME = "hooks.example.com"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who issued the certificates of endpoints."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def endpoint(authority: Authority) -> AsyncIterator[Endpoint]:
    """An HTTPS endpoint on this machine, at `endpoint.url`."""
    made = Endpoint(authority.server("127.0.0.1", "localhost", NAME))
    async with made.listening():
        yield made


@pytest.fixture
def chosen(authority: Authority, endpoint: Endpoint) -> dict[str, Any]:
    """The settings with which the endpoint may be called."""
    return {
        "ca_file": authority.ca_file,
        "ports": (endpoint.port,),
        "allow_private_hosts": ("127.0.0.1",),
    }
