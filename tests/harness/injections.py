"""Gives hostile events to processors with real targets, and tells what became of the hostile part of each.

A place is where a text of an event ends up: in a URL, in a header, in a line of an archive. It tells what its
receiver has of the text, or ``refused: …`` with the reason; ``leaked: …`` is what must never be.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import structlog
from rich.console import Console as Terminal

from consumer.cli.dlq_report import print_letters
from consumer.core.catalogue import Catalogue
from consumer.core.decode import Rejection, decode
from consumer.errors import BadData
from consumer.events import DeadLetter, Event, PartitionId, Reason
from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.processor import BatchProcessor, Reject, Resource
from consumer.telemetry.logs import LogFormat, configure_logging
from consumer.testing import make_context
from consumer.testing.events import batch_of
from harness.endpoints import Endpoint
from harness.mail_server import MailServer
from harness.resource_manager import ResourceManagerServer
from harness.resource_manager_factory import FACTORY, Factory
from harness.resource_manager_ml import WORKSPACE, Workspace
from processors.archive import Archive
from processors.console import Console
from processors.deploy_model import DeployModel
from processors.email import Email
from processors.forward import Forward
from processors.function import Function
from processors.retrain import Retrain
from processors.webhook import Webhook

ML = "Microsoft.MachineLearningServices"
TOPIC = f"/subscriptions/s/resourceGroups/g/providers/{ML}/workspaces/w"
RECIPIENT = "ops@contoso.com"
_ATTRIBUTES = {"specversion", "id", "type", "source", "subject", "time", "datacontenttype", "data"}
_HEADERS = {f"ce-{name}" for name in _ATTRIBUTES - {"data", "datacontenttype"}} | {
    *("host", "user-agent", "accept", "accept-encoding", "content-type", "content-length"),
    *("webhook-id", "webhook-timestamp"),
}
_MAIL_HEADERS = {
    *(
        "from",
        "to",
        "subject",
        "date",
        "message-id",
        "references",
        "auto-submitted",
        "x-auto-response-suppress",
    ),
    *("x-inturn-key", "content-type", "content-transfer-encoding", "mime-version"),
}

Tell = Callable[[Event], Awaitable[str]]


class Case(NamedTuple):
    """One attempt, and what has to become of it."""

    place: str
    hostile: str
    """What the event says, in the field that leads to the place."""
    outcome: str
    """What the place has to tell."""


def hostile_event(place: str, text: str) -> Event:
    """An event with a text in the field that leads to a place, as it is read from a hub.

    Raises `ValueError` if it is no event at all.
    """
    drift = place.startswith("retrain")
    version = text if place == "deploy version" else "3"
    name = "fraud" if place in _BY_SUBJECT or "version" in place or "topic" in place else text
    data = {"DataDriftName": name, "RunId": "run-1", "DriftCoefficient": 0.9}
    if not drift:
        data = {"modelName": name, "modelVersion": version, "modelTags": {}, "modelProperties": {}}
    envelope = {
        "id": f"id-{zlib.crc32(ascii((place, text)).encode())}",
        "eventType": f"{ML}.DatasetDriftDetected" if drift else f"{ML}.ModelRegistered",
        "topic": text if "topic" in place else TOPIC,
        "subject": text if place in _BY_SUBJECT else "models/fraud:3",
        "eventTime": "2026-01-01T00:00:00Z",
        "data": data,
    }
    # Not by orjson, which would not write everything that somebody else may.
    (decoded,) = decode(batch_of([json.dumps([envelope]).encode()]), 0, Catalogue())
    if isinstance(decoded, Rejection):
        raise ValueError(f"no event ({decoded.reason})")  # noqa: TRY004 - of the right type, and refused
    return decoded


_BY_SUBJECT = {
    "query",
    "header",
    "body",
    "original",
    "function",
    "archive",
    "console",
    "console json",
    "dlq list",
    "forward",
    "log",
    "log json",
}


@asynccontextmanager
async def open_places(
    endpoint: Endpoint, azure: ResourceManagerServer, folder: Path
) -> AsyncIterator[dict[str, Tell]]:
    """Every place, with its processor opened. `endpoint` listens without TLS."""
    async with AsyncExitStack() as stack:
        mail = await stack.enter_async_context(MailServer())
        workspace, factory = Workspace(azure), Factory(azure, "refit")
        workspace.add_endpoint("shop")

        async def opened(build: Any, settings: dict[str, Any]) -> Callable[[Event], Awaitable[None]]:
            processor = build(build.Settings.model_validate(settings))
            if isinstance(processor, Resource):
                await processor.open()
                stack.push_async_callback(processor.close)

            async def give(event: Event) -> None:
                context = make_context(event)
                if isinstance(processor, BatchProcessor):
                    await processor.process_batch([event], context)
                else:
                    await processor(event, context)

            return give

        def hook(url: str = "hook", **given: Any) -> dict[str, Any]:
            return {"url": endpoint.url + url, "allow_http_loopback": True, **given}

        letter = {
            "host": "127.0.0.1",
            "port": mail.port,
            "tls": "none",
            "from": "inturn@contoso.com",
            "to": [RECIPIENT],
        }
        text = "{data.modelName}"
        azure_settings = {"azure": {"endpoint": azure.url, "poll_s": 0.01}, "workspaces": [WORKSPACE]}
        rule = {"models": ["*"], "endpoint": "shop", "deployment": "{model}"}
        fit = {"factory": FACTORY, "pipeline": "refit", "parameters": {"why": "{monitor}"}}
        drift = {"model": "fraud", "drifts": ["*"], "start_at": 0.1, "data_factory": fit}
        deploy = await opened(
            DeployModel, {**azure_settings, "rules": [rule], "deployments_per_hour_max": 20}
        )
        retrain = await opened(
            Retrain,
            {**azure_settings, "rules": [drift], "runs_per_day_max": 100, "cooldown_h": 0, "rearm_h": 0},
        )
        hub = await stack.enter_async_context(
            LocalHub(LocalHubSettings(hubs=(HubSettings(name="forwarded", partitions=1),)))
        )
        forward = {
            "hub": "forwarded",
            "connection_string": hub.connection_string(),
            "partition_key": "subject",
        }
        yield {
            "forward": _forward(await opened(Forward, forward), hub),
            "path": _path(await opened(Webhook, hook("models/{data.modelName}")), endpoint),
            "query": _path(await opened(Webhook, hook("models?of={subject}")), endpoint),
            "header": _header(await opened(Webhook, hook(body="cloudevents_binary")), endpoint),
            "body": _body(await opened(Webhook, hook()), endpoint),
            "original": _original(await opened(Webhook, hook(body="original")), endpoint),
            "function": _body(await opened(Function, hook(key="k")), endpoint),
            "archive": _archive(await opened(Archive, {"path": folder / "archive"}), folder / "archive"),
            "console": _console(await opened(Console, {})),
            "console json": _console(await opened(Console, {"format": "json"}), is_json=True),
            "dlq list": _letters(),
            "log": _log(LogFormat.CONSOLE),
            "log json": _log(LogFormat.JSON),
            "mail subject": _mail(await opened(Email, {**letter, "subject": text}), mail, "subject"),
            "mail text": _mail(await opened(Email, {**letter, "body": text}), mail, "plain"),
            "mail html": _mail(
                await opened(Email, {**letter, "html": f'<a title="{text}">x</a>'}), mail, "html"
            ),
            "deploy name": _azure(deploy, azure, workspace),
            "deploy version": _azure(deploy, azure, workspace),
            "deploy topic": _azure(deploy, azure, workspace),
            "retrain name": _azure(retrain, azure, factory),
            "retrain topic": _azure(retrain, azure, factory),
        }


async def outcome_of(case: Case, places: dict[str, Tell]) -> str:
    """What becomes of a case."""
    try:
        event = hostile_event(case.place, case.hostile)
    except ValueError as error:
        return f"refused: {error}"
    try:
        return await places[case.place](event)
    except (Reject, BadData) as refusal:
        return f"refused: {refusal}"


def _path(give: Callable[[Event], Awaitable[None]], endpoint: Endpoint) -> Tell:
    async def tell(event: Event) -> str:
        await give(event)
        return endpoint.requests[-1].path

    return tell


def _header(give: Callable[[Event], Awaitable[None]], endpoint: Endpoint) -> Tell:
    async def tell(event: Event) -> str:
        await give(event)
        headers = endpoint.requests[-1].headers
        more = {name.lower() for name in headers} - _HEADERS
        return f"leaked: {more}" if more else headers["ce-subject"]

    return tell


def _body(give: Callable[[Event], Awaitable[None]], endpoint: Endpoint) -> Tell:
    async def tell(event: Event) -> str:
        await give(event)
        request = endpoint.requests[-1]
        said = orjson.loads(request.body)
        more = {name.lower() for name in request.headers} - _HEADERS - {"x-functions-key"}
        more |= said.keys() - _ATTRIBUTES
        return f"leaked: {more}" if more or b"\n" in request.body else str(said["subject"])

    return tell


def _original(give: Callable[[Event], Awaitable[None]], endpoint: Endpoint) -> Tell:
    async def tell(event: Event) -> str:
        await give(event)
        body = endpoint.requests[-1].body
        return str(orjson.loads(body)[0]["subject"]) if body == b"[" + event.original + b"]" else "leaked"

    return tell


def _forward(give: Callable[[Event], Awaitable[None]], hub: LocalHub) -> Tell:
    async def tell(event: Event) -> str:
        try:
            await give(event)
        except Reject as refusal:
            raise Reject(str(refusal).replace(f" at 127.0.0.1:{hub.port}", "")) from None
        kept = hub.log("forwarded", "0")[-1]
        more = kept.application_properties.keys() - {"type", "subject", "topic"}
        return f"leaked: {more}" if more else str(orjson.loads(kept.body)["subject"])

    return tell


def _archive(give: Callable[[Event], Awaitable[None]], folder: Path) -> Tell:
    async def tell(event: Event) -> str:
        before = len(_lines_in(folder))
        await give(event)
        outside = [path.name for path in folder.parent.rglob("*") if path.is_file() and path.parent != folder]
        (line,) = _lines_in(folder)[before:]
        return f"leaked: {outside}" if outside else str(orjson.loads(line)["subject"])

    return tell


def _lines_in(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


def _console(give: Callable[[Event], Awaitable[None]], *, is_json: bool = False) -> Tell:
    async def tell(event: Event) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            await give(event)
        if is_json:
            (line,) = out.getvalue().rstrip("\n").split("\n")
            return str(json.loads(line)["subject"])
        (line,) = out.getvalue().splitlines()  # by everything that Unicode takes for the end of a line
        return line.split("  ")[-1]

    return tell


def _letters() -> Tell:
    async def tell(event: Event) -> str:
        stream = io.StringIO()
        partition = PartitionId("n", "h", "g", event.partition)
        letter = DeadLetter(
            *("a-key", partition, event.position, Reason.REJECTED, "an error", event.original, 0, 0),
            subject=event.subject,
        )
        print_letters(Terminal(file=stream, width=10_000, color_system=None), [letter], 1)
        (row,) = [line for line in stream.getvalue().split("\n") if "a-key" in line]
        return row.partition(" –  ")[2].rpartition("an error")[0].strip()

    return tell


def _log(form: LogFormat) -> Tell:
    async def tell(event: Event) -> str:
        stream = io.StringIO()
        with _quiet_logging():
            log = configure_logging(log_format=form, stream=stream, terminal=False)
            logging.getLogger("inturn.processors.it").warning("An event. subject=%s", event.subject)
            log.close()
        lines = stream.getvalue().splitlines()
        if len(lines) != 1:
            return f"leaked: {len(lines)} lines"
        said = str(json.loads(lines[0])["event"]) if form is LogFormat.JSON else lines[0]
        found = re.search(r"subject=(.*?)(?: +\[inturn\.processors\.it\])?$", said)
        return found[1].strip() if found else f"leaked: {said}"

    return tell


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """Logging with nobody else in it, and as it was afterwards."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in (None, *logging.Logger.manager.loggerDict)}
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        structlog.reset_defaults()


def _mail(give: Callable[[Event], Awaitable[None]], server: MailServer, part: str) -> Tell:
    async def tell(event: Event) -> str:
        await give(event)
        mail = server.mails[-1]
        more = {name.lower() for name in mail.message} - _MAIL_HEADERS
        if more or mail.recipients != [RECIPIENT] or len(mail.message.get_all("To", [])) != 1:
            return f"leaked: {more} {mail.recipients}"
        if part == "subject":
            return str(mail.message["Subject"])
        found = mail.message.get_body((part,))
        assert found is not None
        content = str(found.get_content()).strip()
        inner = re.search(r"<body>\s*(.*?)\s*</body>", content, re.DOTALL) if part == "html" else None
        return inner[1] if inner else content

    return tell


def _azure(
    give: Callable[[Event], Awaitable[None]], azure: ResourceManagerServer, target: Workspace | Factory
) -> Tell:
    async def tell(event: Event) -> str:
        before = len(azure.ledger)
        if isinstance(target, Workspace):
            target.deployments.clear()
        await give(event)
        if isinstance(target, Factory):
            for run in target.runs:
                run["status"] = "Succeeded"
        done = [
            f"{deed.name} {deed.detail.get('model') or deed.detail.get('why')}"
            for deed in azure.ledger[before:]
        ]
        return f"done: {', '.join(done)}" if done else "left alone"

    return tell
