"""An online endpoint of Azure ML through Resource Manager: read, made, deployed to, and given its traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from processors.azure_rest import Answer, Ending, Patience, Refused, ResourceManager
from processors.azure_settings import segment
from processors.deploy_model_rules import Rule, Wanted
from processors.deploy_model_steps import BEGUN_TAG, KEY_TAG, Deploy, Deployment, read_deployment

API = "2024-04-01"
_READ_ONLY = ("provisioningState", "scoringUri", "swaggerUri", "keys")
_MARK = "inturn-traffic"
"""The endpoint's tag that says which effect moved its traffic last."""


class OnlineEndpoint:
    """The endpoint that is wanted, for one effect and one attempt."""

    def __init__(self, manager: ResourceManager, wanted: Wanted, key: str, patience: Patience) -> None:
        self._manager = manager
        self._wanted = wanted
        self._key = key
        self._patience = patience
        self._path = wanted.endpoint_path

    async def read(self) -> dict[str, Any] | None:
        """The endpoint; None if there is none."""
        found: dict[str, Any] | None = await self._manager.get(self._path, API, self._key)
        return found

    async def deployments(self) -> list[Deployment]:
        """What is deployed to it."""
        found = await self._manager.list(f"{self._path}/deployments", API, self._key)
        return [read_deployment(resource) for resource in found]

    async def create(self) -> Ending:
        """Make it as the rule says. Raises `Refused` if no rule does."""
        new = self._wanted.rule.create_endpoint
        if new is None:
            raise Refused(404, "NoEndpoint", f"There is no endpoint {self._wanted.endpoint}.")
        body = {
            "location": new.location,
            "identity": {"type": "SystemAssigned"},
            "tags": {KEY_TAG: self._key},
            "properties": {"authMode": new.auth_mode, "publicNetworkAccess": new.public_network_access},
        }
        return await self._followed(await self._manager.put(self._path, API, body, self._key), "The endpoint")

    async def deploy(self, step: Deploy, location: str) -> Ending:
        """Make or update the deployment, and follow that to its end."""
        body = deployment_body(self._wanted, step, location, self._key)
        path = f"{self._path}/deployments/{segment(self._wanted.deployment)}"
        return await self._followed(await self._manager.put(path, API, body, self._key), "The deployment")

    async def ending_of(self, deployment: Deployment) -> Ending:
        """Why a deployment failed, as far as Azure still tells."""
        if deployment.is_moving:
            return Ending(is_success=False, code="TakesTooLong", message=f"It is still {deployment.state}.")
        ending = None
        if deployment.operation_url is not None:
            ending = await self._manager.ended(deployment.operation_url, self._key)
        return ending or Ending(is_success=False, code=deployment.state.capitalize())

    async def wait(self, why: str, seconds: float | None = None) -> None:
        """Wait, by default until it is worth to look again. Raises `NotYet` where that would be too long."""
        await self._patience.wait(self._manager.poll_s if seconds is None else seconds, why)

    async def take_traffic(self, endpoint: Mapping[str, Any]) -> Ending:
        """Send every request to the deployment, unless this effect has done so before.

        Somebody may have moved the traffic away since; an event that comes twice does not move it back.
        """
        tags = endpoint.get("tags") or {}
        if tags.get(_MARK) == self._key:
            return Ending(is_success=True)
        body = {
            name: endpoint[name] for name in ("location", "kind", "sku", "identity") if endpoint.get(name)
        }
        properties = {
            name: value
            for name, value in endpoint["properties"].items()
            if name not in _READ_ONLY and value is not None
        }
        body["tags"] = {**tags, _MARK: self._key}
        body["properties"] = {**properties, "traffic": {self._wanted.deployment: 100}}
        return await self._followed(await self._manager.put(self._path, API, body, self._key), "The traffic")

    async def _followed(self, answer: Answer, what: str) -> Ending:
        ending = await self._manager.follow(answer, self._key, self._patience, what)
        return ending or Ending(is_success=True)


def deployment_body(wanted: Wanted, step: Deploy, location: str, key: str) -> dict[str, Any]:
    """The resource to put: what is there already, with what the rule says put over it."""
    existing: Mapping[str, Any] = step.existing.resource if step.existing else {}
    rule = wanted.rule
    properties = {
        name: value
        for name, value in (existing.get("properties") or {}).items()
        if name not in _READ_ONLY and value is not None
    }
    properties |= {"endpointComputeType": "Managed", "model": wanted.model_id}
    properties.setdefault("scaleSettings", {"scaleType": "Default"})
    properties |= _said_by(rule)
    inner = {name: value for name, value in (properties.get("properties") or {}).items() if name != _URI}
    if inner or "properties" in properties:
        properties["properties"] = inner
    sku = {"name": "Default", "capacity": 1, **(existing.get("sku") or {})}
    if rule.instance_count is not None:
        sku["capacity"] = rule.instance_count
    begun = " ".join(map(str, step.begun_s))
    body: dict[str, Any] = {
        "location": existing.get("location") or location,
        "sku": sku,
        "tags": {**(existing.get("tags") or {}), KEY_TAG: key, BEGUN_TAG: begun},
        "properties": properties,
    } | _identity_of(existing)
    if existing.get("kind"):
        body["kind"] = existing["kind"]
    return body


def _identity_of(resource: Mapping[str, Any]) -> dict[str, Any]:
    """A resource's identity as it is put: without the ids that Azure gave to it."""
    identity = resource.get("identity")
    if not identity:
        return {}
    kept: dict[str, Any] = {"type": identity.get("type")}
    if identity.get("userAssignedIdentities"):
        kept["userAssignedIdentities"] = {name: {} for name in identity["userAssignedIdentities"]}
    return {"identity": kept}


_URI = "AzureAsyncOperationUri"


def _said_by(rule: Rule) -> dict[str, Any]:
    code = {"codeId": rule.code_id, "scoringScript": rule.scoring_script} if rule.code_id else None
    asked = {
        "instanceType": rule.instance_type,
        "environmentId": rule.environment_id,
        "codeConfiguration": code,
        "environmentVariables": rule.environment_variables,
    }
    return {name: value for name, value in asked.items() if value is not None}
