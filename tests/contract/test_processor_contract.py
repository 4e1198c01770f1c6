"""What every processor promises.

A new one is added to `PROCESSORS`, with settings that work on any machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from harness.endpoints import Endpoint
from harness.mail_server import MailServer
from pydantic import BaseModel, ValidationError

from consumer.hub import LocalHub
from consumer.processor import BatchProcessor, Context, Resource
from processors.archive import Archive
from processors.console import Console
from processors.deploy_model import DeployModel
from processors.email import Email
from processors.forward import Forward
from processors.function import Function
from processors.retrain import Retrain
from processors.webhook import Webhook

ML = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices"
PROCESSORS: dict[str, tuple[Any, Callable[[Path], dict[str, Any]]]] = {
    "archive": (Archive, lambda folder: {"path": folder}),
    "console": (Console, lambda _: {}),
    "deploy_model": (
        DeployModel,
        lambda _: {
            "workspaces": [f"{ML}/workspaces/w"],
            "rules": [{"models": ["nothing-here"], "endpoint": "shop"}],
            "deployments_per_hour_max": 1,
        },
    ),
    "retrain": (
        Retrain,
        lambda _: {
            "workspaces": [f"{ML}/workspaces/w"],
            "rules": [
                {
                    "model": "fraud",
                    "drifts": ["nothing-here"],
                    "job": {"workspace": f"{ML}/workspaces/w", "component_id": "c"},
                }
            ],
            "runs_per_day_max": 1,
        },
    ),
    "forward": (Forward, lambda _: {"hub": "events"}),
    "email": (
        Email,
        lambda _: {"host": "127.0.0.1", "tls": "none", "from": "inturn@localhost", "to": ["ops@localhost"]},
    ),
    "function": (Function, lambda _: {"allow_http_loopback": True}),
    "webhook": (Webhook, lambda _: {"allow_http_loopback": True}),
}


@asynccontextmanager
async def mail_server() -> AsyncIterator[dict[str, Any]]:
    async with MailServer() as server:
        yield {"port": server.port}


@asynccontextmanager
async def endpoint() -> AsyncIterator[dict[str, Any]]:
    receiver = Endpoint()
    async with receiver.listening():
        yield {"url": receiver.url}


@asynccontextmanager
async def hub() -> AsyncIterator[dict[str, Any]]:
    async with LocalHub() as running:
        yield {"connection_string": running.connection_string()}


@asynccontextmanager
async def nobody() -> AsyncIterator[dict[str, Any]]:
    yield {}


RECEIVERS: dict[str, Callable[[], AbstractAsyncContextManager[dict[str, Any]]]] = {
    "email": mail_server,
    "forward": hub,
    "function": endpoint,
    "webhook": endpoint,
}
"""Who has to be there, with what the settings say of them."""


@pytest.fixture(params=sorted(PROCESSORS))
async def made(request, tmp_path) -> AsyncIterator[tuple[Any, dict[str, Any]]]:
    build, settings = PROCESSORS[request.param]
    async with RECEIVERS.get(request.param, nobody)() as there:
        yield build, {**settings(tmp_path), **there}


async def handle(processor, events, attempt=1) -> None:
    context = Context("it", attempt, events, lambda event: f"key-{event.id}")
    if isinstance(processor, BatchProcessor):
        assert await processor.process_batch(events, context) is None
    else:
        for event in events:
            assert await processor(event, context) is None


async def test_it_opens_handles_and_closes(made, event):
    build, settings = made
    processor = build(build.Settings(**settings))
    if isinstance(processor, Resource):
        await processor.open()
    await handle(processor, [event(sequence_number=1), event(sequence_number=2)])
    if isinstance(processor, Resource):
        await processor.close()


async def test_it_may_see_an_event_twice(made, event):
    build, settings = made
    processor = build(build.Settings(**settings))
    if isinstance(processor, Resource):
        await processor.open()
    await handle(processor, [event()])
    await handle(processor, [event()], attempt=2)
    if isinstance(processor, Resource):
        await processor.close()


async def test_it_can_be_closed_without_having_seen_an_event(made):
    build, settings = made
    processor = build(build.Settings(**settings))
    if isinstance(processor, Resource):
        await processor.open()
        await processor.close()


def test_its_settings_refuse_what_they_do_not_know(made):
    build, settings = made
    with pytest.raises(ValidationError, match="surprise"):
        build.Settings(**settings, surprise=1)


def test_its_settings_are_frozen_and_described(made):
    build, settings = made
    assert issubclass(build.Settings, BaseModel)
    assert build.Settings.__doc__
    chosen = build.Settings(**settings)
    for name in build.Settings.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(chosen, name, None)


def test_the_built_in_processors_named_for_plugins_are_all_held_to_this():
    named = {entry.name: entry.value for entry in entry_points(group="inturn.processors")}
    built_in = {name for name, value in named.items() if value.startswith("processors.")}
    if not built_in:
        pytest.skip("inturn is not installed: its entry points are not known")
    assert built_in <= PROCESSORS.keys()
