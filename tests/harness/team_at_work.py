"""A worker with every processor there is, at a `harness.team`; and what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import orjson
from azure.core.exceptions import ResourceModifiedError

from consumer.events import Event
from consumer.samples.trace import TOPICS
from harness.processes import ROOT
from harness.resource_manager import SECRET_HEADER
from harness.resource_manager_factory import FACTORY
from harness.side_by_side import Progress
from harness.team import HUB, PIPELINE, SECOND_HUB, WINDOW_S, WORKSPACE, Judged, Team, judge, keys_due

ML = "Microsoft.MachineLearningServices."
STORAGE = "Microsoft.Storage."
SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DEPLOYED_MODELS = "*-00[0-4]*"
"""Of the names of models in a trace: some, for a deployment takes many requests."""
DRIFT_START = 0.5
PATIENCE_S = 900.0
_LOOK_EVERY_S = 0.1
_LOG_TAIL_CHARS = 5_000
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

(WORKSPACE_ID,) = (topic for topic in TOPICS if topic.endswith(f"/{WORKSPACE}"))


def is_failed_run(event: Event) -> bool:
    return event.type == f"{ML}RunStatusChanged" and str(event.field("runStatus")).lower() == "failed"


def is_deployed(event: Event) -> bool:
    """Whether the model is one of those that are to be deployed."""
    return (
        event.type == f"{ML}ModelRegistered"
        and event.object_topic == WORKSPACE_ID.casefold()
        and fnmatchcase(event.field("modelName"), DEPLOYED_MODELS)
        and str(event.field("modelVersion")).isdigit()
    )


def is_drift(event: Event) -> bool:
    """Whether a dataset has drifted so far that a model is to be retrained."""
    return (
        event.type == f"{ML}DatasetDriftDetected"
        and event.object_topic == WORKSPACE_ID.casefold()
        and event.field("driftCoefficient") >= DRIFT_START
    )


WANTS: dict[str, Callable[[Event], bool]] = {
    "alert": is_failed_run,
    "models": lambda event: event.type.startswith(f"{ML}Model"),
    "function": lambda event: event.type.startswith(f"{ML}Run"),
    "forward": lambda event: event.type.startswith(STORAGE),
    "archive": lambda _: True,
    "deploy": is_deployed,
    "retrain": is_drift,
}
"""By processor, which events lead to something."""


def configuration(team: Team, archive: Mapping[str, Any]) -> dict[str, Any]:
    """Every processor there is, with targets that are the team's."""
    return {
        "source": {"type": "eventhub", "hub": HUB, "connection_string": team.connection_string()},
        "state": {"type": "sqlite", "path": "state.sqlite"},
        "admission": {"topics": list(TOPICS)},
        "sequence": {"window_s": WINDOW_S},
        "limits": {"in_flight_max": 50_000},
        "admin": {"enabled": False},
        "processors": [*_telling(team), *_acting(team), *_keeping(team, archive)],
    }


def _telling(team: Team) -> list[dict[str, Any]]:
    ca_file = str(team.authority.ca_file)
    failed = {"advanced_filters": [{"key": "data.runStatus", "string_in": ["failed"]}]}
    trusted = {"ca_file": ca_file, "allow_private_hosts": ["localhost"], "ports": [team.https.port]}
    https = f"https://localhost:{team.https.port}"
    mail = {
        "host": "localhost",
        "port": team.mail.port,
        "ca_file": ca_file,
        "username": "inturn",
        "password": team.mail.password,
        "from": "inturn <inturn@contoso.com>",
        "to": ["oncall@contoso.com"],
    }
    return [
        {
            "name": "alert",
            "type": "email",
            "types": [f"{ML}RunStatusChanged"],
            "filter": failed,
            "queue_max": 20_000,
            "deadline_s": 600,  # everything comes at once: the last mail of a lane waits for all others
            "breaker": {"open_s": 0.5, "open_max_s": 2},
            "with": mail,
        },
        {
            "name": "models",
            "type": "webhook",
            "types": [f"{ML}Model*"],
            "with": {"url": f"{https}/models", "signing_secret": SIGNING_SECRET, **trusted},
        },
        {
            "name": "function",
            "type": "function",
            "types": [f"{ML}Run*"],
            "with": {"url": f"{https}/api/runs", "key": "a-key-of-the-function", **trusted},
        },
        {
            "name": "told",
            "type": "webhook",
            "types": ["Inturn.*"],
            "with": {"url": f"{https}/told", **trusted},
        },
    ]


def _acting(team: Team) -> list[dict[str, Any]]:
    azure = {"endpoint": team.azure.url, "poll_s": 0.05}
    rule = {
        "models": [DEPLOYED_MODELS],
        "endpoint": "{model}",
        "create_endpoint": {"location": "westeurope"},
        "traffic": "all",
    }
    refit = {"factory": FACTORY, "pipeline": PIPELINE, "parameters": {"model": "{model}"}}
    drift = {"model": "churn", "drifts": ["monitor-*"], "start_at": DRIFT_START, "data_factory": refit}
    return [
        {
            "name": "deploy",
            "type": "deploy_model",
            "types": [f"{ML}ModelRegistered"],
            "with": {
                "azure": azure,
                "workspaces": [WORKSPACE_ID],
                "rules": [rule],
                "deployments_per_hour_max": 20,
            },
        },
        {
            "name": "retrain",
            "type": "retrain",
            "types": [f"{ML}DatasetDriftDetected", f"{ML}RunStatusChanged"],
            "queue_max": 20_000,
            "with": {
                "azure": azure,
                "workspaces": [WORKSPACE_ID],
                "rules": [drift],
                "runs_per_day_max": 2,
            },
        },
    ]


def _keeping(team: Team, archive: Mapping[str, Any]) -> list[dict[str, Any]]:
    target = {
        "connection_string": team.connection_string(),
        "hub": SECOND_HUB,
        "allow_plaintext_hosts": ["127.0.0.1"],
    }
    return [
        {"name": "archive", "type": "archive", "with": dict(archive)},
        {"name": "forward", "type": "forward", "types": [f"{STORAGE}*"], "deadline_s": 600, "with": target},
    ]


@dataclass(slots=True)
class Run:
    """What came of one run."""

    due: dict[str, int]
    """By processor, how many effects had to come."""
    judged: dict[str, Judged] = field(default_factory=dict)
    deployed: dict[str, list[int]] = field(default_factory=dict)
    """By endpoint, the versions that were deployed, in order."""
    told: Counter[str] = field(default_factory=Counter)
    """Internal events, by type."""
    told_twice: int = 0
    neighbours: Progress = field(default_factory=Progress)
    """Of those that do not send mails; each of them counts alike."""
    cpu_s: float = 0.0
    """Of the worker."""
    log: str = ""


async def live(
    team: Team,
    archive: Mapping[str, Any],
    archived: Callable[[], Awaitable[list[str]]],
    *,
    mail_is_down: bool = False,
    together: asyncio.Barrier | None = None,
) -> Run:
    """Let a worker do all that is in the hub.

    `mail_is_down`: until the others have half of it. `together`: where those wait for each other that are to
    begin at once.
    """
    due = keys_due(team, team.truth(), WANTS)
    run = Run({name: len(each.all) for name, each in due.items()})
    if mail_is_down:
        await team.mail.stop()
    if together is not None:
        await together.wait()
    async with working(team, configuration(team, archive), run):
        await _until_all_came(team, run, mail_is_down=mail_is_down)
        await _until_all_is_kept(run.due["archive"], archived)
    came = {
        "alert": team.mailed(),
        "models": team.posted("/models"),
        "function": team.posted("/api/runs"),
        "forward": await team.forwarded(),
        "archive": await archived(),
    }
    run.judged = {name: judge(due[name], keys) for name, keys in came.items()}
    run.deployed = _deployed(team)
    run.told = Counter(orjson.loads(post.body)["type"] for post in team.https.posts if post.path == "/told")
    run.told_twice = len(team.posted("/told")) - len(set(team.posted("/told")))
    return run


async def _until_all_came(team: Team, run: Run, *, mail_is_down: bool) -> None:
    # Whatever is done at Azure, or held back, is told.
    wanted = {**run.due, "told": run.due["deploy"] + run.due["retrain"]}
    # Neither can be seen from outside at a glance: the archive is waited for at the end.
    del wanted["archive"], wanted["retrain"]
    others = wanted.keys() - {"alert"}
    give_up_s = time.monotonic() + PATIENCE_S
    came: Mapping[str, int] = {}
    while any(came.get(name, 0) < count for name, count in wanted.items()):
        await asyncio.sleep(_LOOK_EVERY_S)
        came = _came(team)
        now_s = time.monotonic()
        assert now_s < give_up_s, f"wanted {wanted}, and there came {came}"
        shares = [min(1.0, came[name] / wanted[name]) if wanted[name] else 1.0 for name in others]
        run.neighbours.note(now_s, statistics.fmean(shares))
        if mail_is_down and 2 * sum(came[name] for name in others) >= sum(wanted[name] for name in others):
            await team.mail.start()
            mail_is_down = False


async def _until_all_is_kept(due: int, archived: Callable[[], Awaitable[list[str]]]) -> None:
    """Wait for the archive, whose target is the slowest: what waits at a stop is left to the next owner."""
    give_up_s, kept = time.monotonic() + PATIENCE_S, 0
    while True:
        with suppress(ResourceModifiedError):  # it is written while it is read
            kept = len(set(await archived()))
        if kept >= due:
            return
        assert time.monotonic() < give_up_s, f"{kept} of {due} are in the archive"
        await asyncio.sleep(1)


def _came(team: Team) -> dict[str, int]:
    """By processor, how many effects there are: what can be counted at once."""
    posts = Counter(request.path for request in team.https.requests)
    return {
        "alert": len(team.mailed()),
        "models": posts["/models"],
        "function": posts["/api/runs"],
        "forward": team.forwarded_count(),
        "deploy": len(team.azure.deeds("deployment")),
        "told": posts["/told"],
    }


def _deployed(team: Team) -> dict[str, list[int]]:
    """By endpoint, the versions that were deployed, in order."""
    versions: dict[str, list[int]] = defaultdict(list)
    for deed in team.azure.ledger:
        if deed.kind == "deployment":
            versions[deed.name].append(int(deed.detail["model"].rpartition(":")[2]))
    return dict(versions)


@asynccontextmanager
async def working(team: Team, config: Mapping[str, Any], run: Run) -> AsyncIterator[None]:
    """A worker, which is asked to stop at the end of the block and has to stop well."""
    (team.folder / "inturn.json").write_text(json.dumps(config))
    log_file = team.folder / "worker.log"
    with log_file.open("wb") as log:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "consumer", "run", "-c", "inturn.json"),
            cwd=team.folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "IDENTITY_ENDPOINT": f"{team.azure.url}/identity/token",
                "IDENTITY_HEADER": SECRET_HEADER,
            },
            stdout=log,
            stderr=log,
        )
    try:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(_watch(worker, log_file))
            yield
            watching.cancel()
        run.cpu_s = _cpu_s(worker.pid)
        worker.send_signal(signal.SIGTERM)
        code = await worker.wait()
        run.log = log_file.read_text()
        assert code == 0, run.log[-_LOG_TAIL_CHARS:]
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()


async def _watch(worker: asyncio.subprocess.Process, log_file: Path) -> None:
    """Fail as soon as the worker ends by itself."""
    code = await worker.wait()
    said = log_file.read_text()  # noqa: ASYNC240 - it is over
    raise AssertionError(f"The worker ended with {code}.\n{said[-_LOG_TAIL_CHARS:]}")


def _cpu_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _CLOCK_TICKS
