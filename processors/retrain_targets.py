"""Where retraining runs: a pipeline of Data Factory, or a pipeline job of Azure ML.

Both are asked what was run, by marks that a run of ours carries: Data Factory by two of its parameters, Azure
ML by tags. An Azure ML job is named for the effect's key, so it cannot be there twice. Data Factory has
nothing like that: a run is looked for before one is started, and shows a little after it was started.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from consumer.processor import NotYet
from processors.azure_rest import PAGES_MAX, Refused, ResourceManager
from processors.azure_settings import segment
from processors.retrain_governor import Run, RunState
from processors.retrain_rules import DataFactoryRun, PipelineJob, Rule, Sign

FACTORY_API = "2018-06-01"
ML_API = "2024-04-01"
_KEY_TAG = "inturn-key"
_MODEL_TAG = "inturn-model"
_AHEAD = timedelta(hours=1)
"""A run may be younger than our clock says that it is now."""
_STATES = {
    "succeeded": RunState.SUCCEEDED,
    "completed": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    "cancelled": RunState.FAILED,
    "canceled": RunState.FAILED,
    "notresponding": RunState.FAILED,
}


class Target(Protocol):
    """Something that runs retrainings and remembers them."""

    async def runs(self, since_s: float, now_s: float, key: str) -> list[Run]:
        """The runs of ours that were started since then, or go on."""

    async def start(self, sign: Sign, key: str, now_s: float) -> str:
        """Start one; gives its id. Raises `Refused` if that can never be."""

    def as_json(self) -> dict[str, Any]:
        """Names it in previews and emitted events; equal for equal targets."""


def target_of(rule: Rule, manager: ResourceManager) -> Target:
    """What retrains the rule's model."""
    if rule.job is not None:
        return JobTarget(rule.job, manager)
    assert rule.data_factory is not None
    return FactoryTarget(rule.data_factory, manager)


class FactoryTarget:
    """A pipeline of a Data Factory."""

    shows_after_s = 30.0
    """How long a run may be there without being shown."""

    def __init__(self, settings: DataFactoryRun, manager: ResourceManager) -> None:
        self._settings = settings
        self._manager = manager
        self._asked_s: dict[str, float] = {}
        """When a start was asked for whose answer we do not know, by key."""

    def as_json(self) -> dict[str, Any]:
        """The factory and the pipeline."""
        return {"factory": self._settings.factory, "pipeline": self._settings.pipeline}

    async def runs(self, since_s: float, now_s: float, key: str) -> list[Run]:
        """The runs of the pipeline that carry our parameters."""
        now = datetime.fromtimestamp(now_s, UTC)
        query: dict[str, Any] = {
            "lastUpdatedAfter": datetime.fromtimestamp(since_s, UTC).isoformat(),
            "lastUpdatedBefore": (now + _AHEAD).isoformat(),
            "filters": [
                {"operand": "PipelineName", "operator": "Equals", "values": [self._settings.pipeline]}
            ],
        }
        found: list[Run] = []
        for _ in range(PAGES_MAX):
            path = f"{self._settings.factory}/queryPipelineRuns"
            page = await self._manager.post(path, FACTORY_API, query, key) or {}
            found += [run for item in page.get("value", ()) if (run := self._read(item, now_s)) is not None]
            if not page.get("continuationToken"):
                return found
            query["continuationToken"] = page["continuationToken"]
        raise RuntimeError(f"The pipeline has more than {PAGES_MAX} pages of runs.")

    def _read(self, item: Mapping[str, Any], now_s: float) -> Run | None:
        parameters = item.get("parameters") or {}
        key, model = (
            parameters.get(name) for name in (self._settings.key_parameter, self._settings.model_parameter)
        )
        if not key or not model:
            return None
        # A run that is queued has not started yet.
        started_s = _seconds(item.get("runStart"), otherwise=now_s)
        return Run(str(item.get("runId") or ""), str(key), str(model), started_s, _state(item.get("status")))

    async def start(self, sign: Sign, key: str, now_s: float) -> str:
        """Run the pipeline, unless that was asked lately and the run may only not be shown yet."""
        settings = self._settings
        self._asked_s = {known: at for known, at in self._asked_s.items() if now_s - at < self.shows_after_s}
        if key in self._asked_s:
            wait_s = self._asked_s[key] + self.shows_after_s - now_s
            raise NotYet("Whether the run was started will show in a while.", after_s=wait_s)
        self._asked_s[key] = now_s
        marks = {settings.key_parameter: key, settings.model_parameter: sign.rule.model}
        path = f"{settings.factory}/pipelines/{segment(settings.pipeline)}/createRun"
        try:
            body = {**sign.fill(settings.parameters), **marks}
            answer = await self._manager.post(path, FACTORY_API, body, key)
        except Refused:
            del self._asked_s[key]
            raise
        del self._asked_s[key]
        return str((answer or {}).get("runId") or "")


class JobTarget:
    """A pipeline job of Azure ML."""

    def __init__(self, settings: PipelineJob, manager: ResourceManager) -> None:
        self._settings = settings
        self._manager = manager

    def as_json(self) -> dict[str, Any]:
        """The workspace and the component."""
        return {"workspace": self._settings.workspace, "component": self._settings.component_id}

    async def runs(self, since_s: float, now_s: float, key: str) -> list[Run]:
        """The job of this key, and those that carry the tags of these days."""
        found: dict[str, Run] = {}
        job = await self._manager.get(f"{self._settings.workspace}/jobs/{job_name(key)}", ML_API, key)
        jobs = [job] if job else []
        # A list can be asked for a tag's name, not for its value or for a time; so the name holds the day.
        for day in _days(since_s, now_s):
            path = f"{self._settings.workspace}/jobs"
            jobs += await self._manager.list(path, ML_API, key, {"tag": _day_tag(day), "jobType": "Pipeline"})
        for item in jobs:
            run = _read_job(item, now_s)
            if run is not None:
                found[run.id] = run
        return list(found.values())

    async def start(self, sign: Sign, key: str, now_s: float) -> str:
        """Submit the job under a name made of the key."""
        settings, name = self._settings, job_name(key)
        today = _day_tag(datetime.fromtimestamp(now_s, UTC))
        inputs = {
            name: {"jobInputType": "literal", "value": str(value)}
            for name, value in sign.fill(settings.inputs).items()
        }
        properties: dict[str, Any] = {
            "jobType": "Pipeline",
            "componentId": settings.component_id,
            "displayName": f"Retrain {sign.rule.model}",
            "experimentName": settings.experiment,
            "inputs": inputs,
            "settings": settings.settings,
            "tags": {_KEY_TAG: key, _MODEL_TAG: sign.rule.model, today: "1"},
        }
        if settings.compute_id is not None:
            properties["computeId"] = settings.compute_id
        path = f"{settings.workspace}/jobs/{name}"
        await self._manager.put(path, ML_API, {"properties": properties}, key)
        return name


def job_name(key: str) -> str:
    """The name of the job of a key; a key may begin with what a name may not."""
    return f"inturn-{key}"


def _read_job(item: Mapping[str, Any], now_s: float) -> Run | None:
    properties = item.get("properties") or {}
    tags = properties.get("tags") or {}
    key, model = tags.get(_KEY_TAG), tags.get(_MODEL_TAG)
    if not key or not model:
        return None
    started_s = _seconds((item.get("systemData") or {}).get("createdAt"), otherwise=now_s)
    return Run(str(item.get("name") or ""), str(key), str(model), started_s, _state(properties.get("status")))


def _state(status: Any) -> RunState:
    # What we do not know goes on, for all that we know: better late than twice.
    return _STATES.get(str(status or "").casefold(), RunState.RUNNING)


def _seconds(text: Any, *, otherwise: float) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return otherwise


def _days(since_s: float, now_s: float) -> list[datetime]:
    since, now = (datetime.fromtimestamp(at, UTC).date() for at in (since_s, now_s))
    # Another process may be beyond midnight already.
    count = (now - since).days + 2
    first = datetime(since.year, since.month, since.day, tzinfo=UTC)
    return [first + timedelta(days=number) for number in range(count)]


def _day_tag(day: datetime) -> str:
    return f"inturn-{day:%Y-%m-%d}"
