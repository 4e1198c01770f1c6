"""A fake Azure for the processors that act there, reached with the real client and a managed identity."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from harness.resource_manager import SECRET_HEADER, ResourceManagerServer
from harness.resource_manager_factory import Factory
from harness.resource_manager_ml import Workspace


@pytest.fixture
async def azure(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ResourceManagerServer]:
    """Resource Manager, and the identity of the machine that we are on."""
    async with ResourceManagerServer() as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/identity/token")
        monkeypatch.setenv("IDENTITY_HEADER", SECRET_HEADER)
        yield server


@pytest.fixture
def workspace(azure: ResourceManagerServer) -> Workspace:
    """An Azure ML workspace in it."""
    return Workspace(azure)


@pytest.fixture
def factory(azure: ResourceManagerServer) -> Factory:
    """A Data Factory in it, with one pipeline."""
    return Factory(azure, "refit-fraud")
