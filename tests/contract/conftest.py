"""The kinds of store, each as a function that opens one more of them on the same storage."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from harness.letter_hub import LetterHub

from consumer.stores.blob import BlobStore
from consumer.stores.blob_container import BlobContainer
from consumer.stores.blob_dead_letters import BlobDeadLetters
from consumer.stores.memory import MemoryDeadLetters, MemoryStore
from consumer.stores.sqlite import SqliteStore
from consumer.stores.sqlite_dead_letters import SqliteDeadLetters

Open: TypeAlias = Callable[[], Any]


def _container(request: pytest.FixtureRequest) -> Callable[[], BlobContainer]:
    azurite = request.getfixturevalue("azurite")
    name = f"contract-{uuid.uuid4().hex}"
    return lambda: BlobContainer(name, connection_string=azurite.connection_string, create_container=True)


async def _opener(make: Callable[[], Any]) -> AsyncIterator[Open]:
    opened = []

    def open_one() -> Any:
        opened.append(make())
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture(params=["memory", "sqlite", "blob"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens one more checkpoint store on the same storage, as another process would."""
    if request.param == "memory":
        shared = MemoryStore()
        make: Callable[[], Any] = lambda: shared  # noqa: E731 - one of three makers
    elif request.param == "sqlite":
        make = lambda: SqliteStore(path=tmp_path / "state" / "inturn.db")  # noqa: E731
    else:
        container = _container(request)
        make = lambda: BlobStore(container())  # noqa: E731
    async for opener in _opener(make):
        yield opener


@pytest.fixture(params=["memory", "sqlite", "blob", "eventhub"])
async def open_dead_letters(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens one more dead-letter store on the same storage; a hub is in memory here, and real elsewhere."""
    if request.param == "memory":
        shared = MemoryDeadLetters()
        make: Callable[[], Any] = lambda: shared  # noqa: E731 - one of four makers
    elif request.param == "sqlite":
        make = lambda: SqliteDeadLetters(path=tmp_path / "state" / "inturn.db")  # noqa: E731
    elif request.param == "eventhub":
        make = LetterHub().open
    else:
        container = _container(request)
        make = lambda: BlobDeadLetters(container())  # noqa: E731
    async for opener in _opener(make):
        yield opener
