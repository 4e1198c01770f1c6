"""Containers in the real Azurite, closed with the test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore

from consumer.stores.blob import BlobStore
from consumer.stores.blob_container import BlobContainer


@pytest.fixture
def container_name() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
async def open_blob_store(azurite: Any, container_name: str) -> AsyncIterator[Callable[..., BlobStore]]:
    """Opens a store on the test's container, which is made when missing; options go to the container."""
    opened = []

    def open_one(name: str = container_name, **options: Any) -> BlobStore:
        ways = {"connection_string": azurite.connection_string, "create_container": True, **options}
        opened.append(BlobStore(BlobContainer(name, **ways)))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def sdk_store(azurite: Any, container_name: str) -> AsyncIterator[BlobCheckpointStore]:
    """The SDK's own store on the same container."""
    store = BlobCheckpointStore.from_connection_string(azurite.connection_string, container_name)
    yield store
    await store.close()
