"""Deploys a registered model's version to a managed online endpoint of Azure ML, and never goes back.

It is off until it is told which workspaces, which models, and how many deployments an hour. What is
deployed is looked up just before acting, so that neither a late event nor a second one does harm: only a
higher version than the one that is there goes in. All that a restart needs is kept at Azure, in tags.

A deployment takes minutes. An attempt follows it for `follow_s` and then puts the event off, which is no
failure; that attempt, or one after a crash, goes on with the operation that is under way.

Says `Inturn.ModelDeployed` or `Inturn.ModelDeploymentFailed`. A deployment that Azure could not do is told
as such and counts as handled (`on_failed: emit`), for what is emitted in an attempt that fails is never seen.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field

from consumer.events import Event
from consumer.processor import Context, Reject, Surroundings
from processors.azure_credentials import credential_of
from processors.azure_rest import Ending, Patience, Refused, ResourceManager
from processors.azure_settings import AzureSettings, Frozen, WorkspaceId
from processors.deploy_model_endpoint import OnlineEndpoint
from processors.deploy_model_rules import Rule, Wanted, wanted_of
from processors.deploy_model_steps import (
    PER_HOUR_MAX,
    Aim,
    Deploy,
    Deployed,
    Failed,
    Follow,
    Occupied,
    Step,
    Superseded,
    TooMany,
    next_step,
)

DEPLOYED = "Inturn.ModelDeployed"
FAILED = "Inturn.ModelDeploymentFailed"
_STEPS_MAX = 1_000
"""An attempt that has not come to an end after so many looks is a fault."""

_log = logging.getLogger("inturn.processors.deploy_model")


class _Over(NamedTuple):
    """The attempt has come to its end."""

    ending: Ending | None


class DeployModel:
    """Deploys what rules say of ModelRegistered events; leaves every other event alone."""

    class Settings(Frozen):
        """What may be deployed, where, and how often."""

        azure: AzureSettings = AzureSettings()
        """Which Azure, and who we are there."""
        workspaces: tuple[WorkspaceId, ...] = Field(min_length=1)
        """Resource ids of the workspaces whose models are deployed; events of others are left alone."""
        rules: tuple[Rule, ...] = Field(min_length=1)
        """Which models, and what becomes of them; the first that fits counts."""
        deployments_per_hour_max: int = Field(ge=1, le=PER_HOUR_MAX)
        """Deployments begun in an hour at each endpoint; counted at Azure, so replicas agree."""
        follow_s: float = Field(default=20.0, gt=0, le=3_600)
        """An attempt waits so long for Azure, then the event is put off. `deadline_s` has to be longer."""
        operation_max_s: float = Field(default=3_600.0, gt=0, le=86_400)
        """A deployment that takes longer counts as failed."""
        on_failed: Literal["emit", "reject"] = "emit"
        """When Azure cannot do it. emit: say Inturn.ModelDeploymentFailed. reject: a dead letter."""

        def misfits(self, around: Surroundings) -> Iterator[tuple[str, str]]:
            """See `consumer.processor.Surroundings`: what is cut off has failed, what is put off has not."""
            if self.follow_s >= around.deadline_s:
                needed = "has to be below the processor's deadline_s, which is"
                yield "follow_s", f"{needed} {around.deadline_s:g}"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._manager: ResourceManager | None = None

    async def open(self) -> None:
        """Get the credential ready. Raises `ProcessorSettingsError` if what it needs is not there."""
        self._manager = ResourceManager(self._settings.azure, credential_of(self._settings.azure))

    async def close(self) -> None:
        """Let go of the connections; operations at Azure go on."""
        if self._manager is not None:
            await self._manager.close()

    def preview(self, event: Event, _: Context) -> Mapping[str, Any] | None:
        """What would be wanted of Azure; what is deployed there is not looked up."""
        wanted = wanted_of(event, self._settings.workspaces, self._settings.rules)
        if wanted is None:
            return None
        rule = wanted.rule
        said = {"action": "deploy", **wanted.as_json(), "model": wanted.model_id, "traffic": rule.traffic}
        return said | rule.model_dump(include={"instance_type", "instance_count"}, exclude_none=True)

    async def __call__(self, event: Event, context: Context) -> None:
        """Bring the deployment to the event's version, or leave it where it is.

        Raises `NotYet` while Azure is at it, `Reject` for what can never be, `AccessRefused` without a role.
        """
        wanted = wanted_of(event, self._settings.workspaces, self._settings.rules)
        if wanted is None:
            return
        assert self._manager is not None
        settings, key = self._settings, context.idempotency_key
        aim = Aim(
            wanted.model,
            wanted.version,
            wanted.deployment,
            key,
            settings.deployments_per_hour_max,
            settings.operation_max_s,
        )
        endpoint = OnlineEndpoint(self._manager, wanted, key, Patience(settings.follow_s))
        try:
            ending = await self._bring_about(endpoint, aim, wanted)
        except Refused as refusal:
            ending = Ending(is_success=False, code=refusal.code, message=refusal.message)
        if ending is not None:
            self._tell(event, context, wanted, ending)

    def _tell(self, event: Event, context: Context, wanted: Wanted, ending: Ending) -> None:
        if ending.is_success:
            _log.info("A model was deployed. %s", _named(wanted))
            context.emit(DEPLOYED, event.subject, wanted.as_json(), cause=event)
            return
        said = f"{ending.code}: {ending.message}" if ending.message else ending.code
        if self._settings.on_failed == "reject":
            raise Reject(f"Azure could not deploy the model ({said}).")
        _log.error("A model could not be deployed. %s error=%s", _named(wanted), said)
        data = {**wanted.as_json(), "code": ending.code, "message": ending.message}
        context.emit(FAILED, event.subject, data, cause=event)

    async def _bring_about(self, endpoint: OnlineEndpoint, aim: Aim, wanted: Wanted) -> Ending | None:
        """Step after step; the ending is to be told, and None is not: nothing was to be done."""
        for _ in range(_STEPS_MAX):
            resource = await endpoint.read()
            if resource is None:
                ending = await endpoint.create()
                if not ending.is_success:
                    return ending
            elif _is_moving(resource):
                await endpoint.wait("The endpoint is being changed.")
            else:
                step = next_step(aim, await endpoint.deployments(), time.time())
                over = await self._take(step, endpoint, resource, wanted)
                if over is not None:
                    return over.ending
        raise RuntimeError(f"The endpoint did not come to rest within {_STEPS_MAX} looks.")

    async def _take(
        self, step: Step, endpoint: OnlineEndpoint, resource: Mapping[str, Any], wanted: Wanted
    ) -> _Over | None:
        """Take a step; None: look again, something has changed."""
        match step:
            case Follow(deployment):
                await endpoint.wait(f"Deployment {deployment.name} is being changed.")
            case TooMany(wait_s):
                await endpoint.wait("As many deployments as may be were begun in this hour.", wait_s)
            case Deploy():
                ending = await endpoint.deploy(step, str(resource.get("location") or ""))
                if not ending.is_success:
                    return _Over(ending)
            case Deployed(is_ours):
                return _Over(await self._settle(endpoint, resource, wanted, is_ours=is_ours))
            case Failed(deployment):
                return _Over(await endpoint.ending_of(deployment))
            case Superseded(version):
                _log.info("A higher version is deployed. %s deployed_version=%d", _named(wanted), version)
                return _Over(None)
            case Occupied(what):
                raise Reject(f"Deployment {wanted.deployment} has {what}, which is not replaced.")
        return None

    async def _settle(
        self, endpoint: OnlineEndpoint, resource: Mapping[str, Any], wanted: Wanted, *, is_ours: bool
    ) -> Ending | None:
        if not is_ours:
            _log.info("The version is deployed already. %s", _named(wanted))
            return None
        if wanted.rule.traffic == "keep":
            return Ending(is_success=True)
        return await endpoint.take_traffic(resource)


def _is_moving(resource: Mapping[str, Any]) -> bool:
    state = str((resource.get("properties") or {}).get("provisioningState") or "").casefold()
    return state in {"creating", "updating", "deleting"}


def _named(wanted: Wanted) -> str:
    return (
        f"model={wanted.model} version={wanted.version} endpoint={wanted.endpoint} "
        f"deployment={wanted.deployment}"
    )
