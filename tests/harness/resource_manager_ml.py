"""An Azure ML workspace within the fake Resource Manager: online endpoints, deployments, jobs."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from harness.resource_manager import ResourceManagerServer, Said, error

PROVIDER = "microsoft.machinelearningservices"
WORKSPACE = f"/subscriptions/s/resourceGroups/g/providers/{PROVIDER}/workspaces/w"
"""Written as Resource Manager may write it: not as the events do."""
_MOVING = {"Creating", "Updating", "Deleting", "Scaling"}
_FIXED_IN_JOBS = ("jobType", "componentId", "experimentName", "inputs", "settings", "jobs")


class Workspace:
    """One workspace, by the names of its endpoints and jobs."""

    def __init__(self, server: ResourceManagerServer, name: str = "w") -> None:
        self._server = server
        self._name = name
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.deployments: dict[tuple[str, str], dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.unknown_models: set[str] = set()
        """Ends of model ids that are not registered."""
        self.page_size = 100
        self.clock_ahead = timedelta(0)
        """How far the workspace's clock is ahead of ours."""
        server.providers[PROVIDER] = self._serve

    def model_of(self, endpoint: str, deployment: str) -> str:
        """``name:version`` of what a deployment has."""
        model: str = self.deployments[endpoint, deployment]["properties"]["model"]
        return ":".join(model.split("/")[-3::2])

    def add_endpoint(self, name: str, **properties: Any) -> None:
        """An endpoint that is there already."""
        self.endpoints[name] = {
            "id": f"{WORKSPACE}/onlineEndpoints/{name}",
            "name": name,
            "location": "westeurope",
            "tags": {},
            "identity": {"type": "SystemAssigned", "principalId": "p", "tenantId": "t"},
            "systemData": self._stamp(),
            "properties": {
                "authMode": "Key",
                "traffic": {},
                "provisioningState": "Succeeded",
                "scoringUri": f"https://{name}.example.net/score",
                "properties": {},
                **properties,
            },
        }

    def add_deployment(self, endpoint: str, name: str, model: str, **properties: Any) -> None:
        """A deployment that is there already; `model` is ``name:version``."""
        model_name, _, version = model.partition(":")
        self.deployments[endpoint, name] = {
            "name": name,
            "location": "westeurope",
            "tags": {},
            "sku": {"name": "Default", "capacity": 3},
            "systemData": self._stamp(),
            "properties": {
                "endpointComputeType": "Managed",
                "model": f"{WORKSPACE}/models/{model_name}/versions/{version}",
                "instanceType": "Standard_DS3_v2",
                "provisioningState": "Succeeded",
                "properties": {},
                **properties,
            },
        }

    def _stamp(self) -> dict[str, str]:
        now = (datetime.now(UTC) + self.clock_ahead).isoformat().replace("+00:00", "Z")
        return {"createdAt": now, "lastModifiedAt": now}

    async def _serve(self, request: web.Request, parts: list[str], body: dict[str, Any]) -> Said:
        if [part.casefold() for part in parts[:2]] != ["workspaces", self._name]:
            return error(404, "ResourceNotFound", "The workspace was not found.")
        kind, *names = parts[2:]
        match request.method, kind, names:
            case "GET", "onlineEndpoints", [endpoint]:
                return self._read(self.endpoints.get(endpoint))
            case "PUT", "onlineEndpoints", [endpoint]:
                return self._put_endpoint(request, endpoint, body)
            case "GET", "onlineEndpoints", [endpoint, "deployments"]:
                return self._list_deployments(request, endpoint)
            case "PUT", "onlineEndpoints", [endpoint, "deployments", name]:
                return self._put_deployment(request, endpoint, name, body)
            case "GET", "jobs", [name]:
                return self._read(self.jobs.get(name))
            case "GET", "jobs", []:
                return self._list_jobs(request)
            case "PUT", "jobs", [name]:
                return self._put_job(request, name, body)
        return error(405, "MethodNotAllowed", "That cannot be done here.")

    def _read(self, resource: dict[str, Any] | None) -> Said:
        if resource is None:
            return error(404, "UserError", "The resource was not found.")
        self._look(resource)
        return Said(200, copy.deepcopy(resource))

    def _look(self, resource: dict[str, Any]) -> None:
        inner = resource["properties"].get("properties", {})
        if resource["properties"].get("provisioningState") in _MOVING and "AzureAsyncOperationUri" in inner:
            self._server.operation(inner["AzureAsyncOperationUri"]).look()

    def _begin(self, resource: dict[str, Any], name: str, state: str) -> Said:
        """Begin an operation on a resource; 201 is for what is created and what is changed."""
        properties = resource["properties"]

        def end(failure: tuple[str, str] | None) -> None:
            properties["provisioningState"] = "Failed" if failure else "Succeeded"

        address = self._server.begin(name, end)
        properties["provisioningState"] = state
        properties["properties"] = {**properties.get("properties", {}), "AzureAsyncOperationUri": address}
        resource["systemData"] = self._stamp()
        headers = {"Azure-AsyncOperation": address, "x-ms-async-operation-timeout": "PT1H"}
        return Said(201, copy.deepcopy(resource), headers)

    def _put_endpoint(self, request: web.Request, name: str, body: dict[str, Any]) -> Said:
        known = self.endpoints.get(name)
        if known is not None and self._is_moving(name):
            return error(
                409, "Conflict", f"Endpoint {name} is in {known['properties']['provisioningState']} state."
            )
        if not body.get("location") or "authMode" not in body.get("properties", {}):
            return error(400, "UserError", "location and authMode are required.")
        traffic = body["properties"].get("traffic") or {}
        if any((name, deployment) not in self.deployments for deployment in traffic):
            return error(400, "UserError", "The traffic names a deployment that does not exist.")
        if known is None:
            self.add_endpoint(name)
            known = self.endpoints[name]
            self._server.note(request, "endpoint", name)
        elif traffic != known["properties"]["traffic"]:
            self._server.note(request, "traffic", name, traffic=traffic)
        known["properties"] |= {"authMode": body["properties"]["authMode"], "traffic": traffic}
        known["tags"] = body.get("tags", {})
        return self._begin(known, name, "Updating" if known["properties"]["traffic"] else "Creating")

    def _is_moving(self, endpoint: str) -> bool:
        resources = [self.endpoints[endpoint]]
        resources += [known for (at, _), known in self.deployments.items() if at == endpoint]
        return any(resource["properties"]["provisioningState"] in _MOVING for resource in resources)

    def _list_deployments(self, request: web.Request, endpoint: str) -> Said:
        if endpoint not in self.endpoints:
            return error(404, "UserError", "The endpoint was not found.")
        found = [known for (at, _), known in self.deployments.items() if at == endpoint]
        for resource in found:
            self._look(resource)
        return self._page(request, found)

    def _page(self, request: web.Request, found: list[dict[str, Any]]) -> Said:
        skip = int(request.query.get("$skip", "0"))
        page = {"value": copy.deepcopy(found[skip : skip + self.page_size])}
        if skip + self.page_size < len(found):
            query = {**request.query, "$skip": str(skip + self.page_size)}
            page["nextLink"] = str(request.url.with_query(query))  # type: ignore[assignment]
        return Said(200, page)

    def _put_deployment(self, request: web.Request, endpoint: str, name: str, body: dict[str, Any]) -> Said:
        if endpoint not in self.endpoints:
            return error(404, "UserError", "The endpoint was not found.")
        if self._is_moving(endpoint):
            return error(409, "Conflict", f"Another operation on endpoint {endpoint} is in progress.")
        properties = body.get("properties", {})
        if not body.get("location") or properties.get("endpointComputeType") != "Managed":
            return error(400, "UserError", "location and endpointComputeType are required.")
        model = str(properties.get("model", ""))
        if any(model.endswith(unknown) for unknown in self.unknown_models):
            return error(400, "ResourceNotFound", f"The model {model} was not found.")
        known = (endpoint, name) in self.deployments
        resource = copy.deepcopy(body) | {"name": name}
        self.deployments[endpoint, name] = resource
        self._server.note(request, "deployment", f"{endpoint}/{name}", model=self.model_of(endpoint, name))
        return self._begin(resource, name, "Updating" if known else "Creating")

    def _list_jobs(self, request: web.Request) -> Said:
        tag = request.query.get("tag")
        return self._page(
            request, [job for job in self.jobs.values() if not tag or tag in job["properties"]["tags"]]
        )

    def _put_job(self, request: web.Request, name: str, body: dict[str, Any]) -> Said:
        properties = body.get("properties", {})
        if "jobType" not in properties:
            return error(400, "UserError", "jobType is required.")
        known = self.jobs.get(name)
        if known is not None:
            if any(known["properties"].get(part) != properties.get(part) for part in _FIXED_IN_JOBS):
                return error(400, "UserError", "A job with this name already exists.")
            return Said(200, copy.deepcopy(known))
        job = {"name": name, "systemData": self._stamp(), "properties": {**properties, "status": "Running"}}
        job["properties"].setdefault("tags", {})  # type: ignore[union-attr]
        self.jobs[name] = job
        self._server.note(request, "job", name, **properties)
        return Said(201, copy.deepcopy(job))
