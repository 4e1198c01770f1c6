"""A Data Factory within the fake Resource Manager: runs of pipelines, started and looked for."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from harness.resource_manager import ResourceManagerServer, Said, error

PROVIDER = "microsoft.datafactory"
FACTORY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DataFactory/factories/refit"


class Factory:
    """One factory with pipelines of these names."""

    def __init__(self, server: ResourceManagerServer, *pipelines: str) -> None:
        self._server = server
        self._pipelines = pipelines
        self.runs: list[dict[str, Any]] = []
        self.page_size = 100
        self.hidden_queries = 0
        """How many more queries do not show the newest run yet."""
        server.providers[PROVIDER] = self._serve

    def add_run(self, pipeline: str, parameters: dict[str, str], status: str, started: datetime) -> None:
        """A run that is there already."""
        at = started.isoformat().replace("+00:00", "Z")
        self.runs.append(
            {
                "runId": str(uuid.uuid4()),
                "pipelineName": pipeline,
                "parameters": parameters,
                "invokedBy": {"id": "80a0", "name": "Manual"},
                "runStart": at,
                "lastUpdated": at,
                "runEnd": None if status in {"Queued", "InProgress"} else at,
                "status": status,
                "annotations": [],
            }
        )

    async def _serve(self, request: web.Request, parts: list[str], body: dict[str, Any]) -> Said:
        match request.method, parts:
            case "POST", ["factories", "refit", "pipelines", pipeline, "createRun"]:
                return self._create_run(request, pipeline, body)
            case "POST", ["factories", "refit", "queryPipelineRuns"]:
                return self._query(body)
        return error(404, "ResourceNotFound", "The resource was not found.")

    def _create_run(self, request: web.Request, pipeline: str, parameters: dict[str, Any]) -> Said:
        if pipeline not in self._pipelines:
            return error(404, "PipelineNotFound", f"The pipeline {pipeline} was not found.")
        written = {name: str(value) for name, value in parameters.items()}
        self.add_run(pipeline, written, "InProgress", datetime.now(UTC))
        self._server.note(request, "run", pipeline, **written)
        return Said(200, {"runId": self.runs[-1]["runId"]})

    def _query(self, body: dict[str, Any]) -> Said:
        after, before = (datetime.fromisoformat(body[f"lastUpdated{end}"]) for end in ("After", "Before"))
        names = {value for part in body.get("filters", ()) for value in part["values"]}
        shown = self.runs[: -1 if self.hidden_queries > 0 else None]
        self.hidden_queries -= 1
        found = [
            run
            for run in shown
            if run["pipelineName"] in names
            and after <= datetime.fromisoformat(run["lastUpdated"]) <= before + timedelta(0)
        ]
        skip = int(body.get("continuationToken") or 0)
        answer: dict[str, Any] = {"value": found[skip : skip + self.page_size]}
        if skip + self.page_size < len(found):
            answer["continuationToken"] = str(skip + self.page_size)
        return Said(200, answer)
