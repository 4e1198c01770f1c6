"""What processors talk to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from harness.endpoints import Authority, Endpoint
from harness.mail_server import MailServer

from consumer.events import Event
from consumer.processor import Context

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


@pytest.fixture
async def mail_server(authority: Authority) -> AsyncIterator[MailServer]:
    """An SMTP server with STARTTLS and login, and no mails yet."""
    async with MailServer(authority.server("localhost"), password="let me in") as server:
        yield server


@pytest.fixture
def handle() -> Callable[..., Awaitable[None]]:
    """Makes one attempt of a batch processor; keys are made of the events' ids."""

    async def attempt(processor: Any, events: Sequence[Event], attempt: int = 1) -> None:
        context = Context("it", attempt, events, lambda event: f"key-{event.id}")
        await processor.process_batch(events, context)

    return attempt


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits until something is so, for ten seconds at most."""

    async def wait(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():  # noqa: ASYNC110 - it may be about what another program does
                await asyncio.sleep(0.01)

    return wait
