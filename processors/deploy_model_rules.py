"""Which registered models are deployed, where and how: the rules, and what they make of an event."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from consumer.events import Event
from consumer.processor import Reject
from processors.azure_settings import Frozen, Glob, check_slots, filled, is_listed, named, numbered, segment

MODEL_REGISTERED = "microsoft.machinelearningservices.modelregistered"
_SLOTS = frozenset({"model", "version"})
_ONLINE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
"""What Azure ML takes as the name of an endpoint or a deployment."""
_ONLINE_NAME_SAYS = "3 to 32 letters, digits and -, a letter first, no - at the end"


def _as_texts(value: Any) -> Any:
    """``deploy: true`` is what people write; a tag is text."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return tuple(str(each).lower() if isinstance(each, bool) else str(each) for each in values)


Values = Annotated[tuple[Glob, ...], BeforeValidator(_as_texts), Field(min_length=1)]
"""A value, or several of which one is enough; ``*`` stands for any characters, and case does not count."""


class NewEndpoint(Frozen):
    """How an endpoint is made that is not there."""

    location: str = Field(pattern=r"^[a-z0-9]{3,40}$")
    """The region, as ``westeurope``."""
    auth_mode: Literal["Key", "AMLToken", "AADToken"] = "Key"
    """What callers of the endpoint authenticate with."""
    public_network_access: Literal["Enabled", "Disabled"] = "Enabled"
    """Whether it can be called from outside of the workspace's network."""


class Rule(Frozen):
    """Which models, and what becomes of them. Of several rules the first that fits counts."""

    models: tuple[Glob, ...] = Field(min_length=1)
    """Model names; * stands for any characters."""
    version_min: int = Field(default=1, ge=1)
    """Versions below this one are left alone."""
    tags: dict[str, Values] = Field(default_factory=dict)
    """Tags that the model must have, with one of the values each."""
    properties: dict[str, Values] = Field(default_factory=dict)
    """Properties that the model must have, with one of the values each."""
    endpoint: str = Field(min_length=3, max_length=128)
    """The online endpoint; may contain {model} and {version}."""
    deployment: str = Field(default="blue", min_length=3, max_length=128)
    """The deployment, made or updated; may contain {model} and {version}."""
    create_endpoint: NewEndpoint | None = None
    """How to make the endpoint if it is not there; by default that is refused."""
    instance_type: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_]{3,64}$")
    """The size of the machines. Left out, as all below: what the deployment has, or Azure's default."""
    instance_count: int | None = Field(default=None, ge=1, le=500)
    """How many machines."""
    environment_id: str | None = Field(default=None, min_length=1, max_length=1_024)
    """The environment's resource id. An MLflow model needs neither an environment nor code."""
    code_id: str | None = Field(default=None, min_length=1, max_length=1_024)
    """The scoring code's resource id."""
    scoring_script: str | None = Field(default=None, min_length=1, max_length=256)
    """The file of the code that answers requests."""
    environment_variables: dict[str, str] | None = None
    """Given to the container; no place for secrets."""
    traffic: Literal["keep", "all"] = "keep"
    """all: once deployed, every request goes to this deployment. keep: somebody else decides."""

    @field_validator("endpoint", "deployment")
    @classmethod
    def _check_name(cls, template: str) -> str:
        check_slots(template, _SLOTS)
        if "{" not in template and not _ONLINE_NAME.fullmatch(template):
            raise ValueError(f"no name that Azure ML takes ({_ONLINE_NAME_SAYS})")
        return template

    @model_validator(mode="after")
    def _check_code(self) -> Self:
        if (self.code_id is None) != (self.scoring_script is None):
            raise ValueError("code_id and scoring_script go together")
        if self.code_id is not None and self.environment_id is None:
            raise ValueError("code_id needs an environment_id to run in")
        return self


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an event asks for."""

    workspace: str
    """The resource id, as it is configured."""
    model: str
    version: int
    endpoint: str
    deployment: str
    rule: Rule

    @property
    def endpoint_path(self) -> str:
        """Where the endpoint is in Resource Manager."""
        return f"{self.workspace}/onlineEndpoints/{segment(self.endpoint)}"

    @property
    def model_id(self) -> str:
        """The resource id of the model's version."""
        return f"{self.workspace}/models/{segment(self.model)}/versions/{self.version}"

    def as_json(self) -> dict[str, Any]:
        """For previews and emitted events."""
        return {
            "workspace": self.workspace,
            "modelName": self.model,
            "modelVersion": self.version,
            "endpointName": self.endpoint,
            "deploymentName": self.deployment,
        }


def wanted_of(event: Event, workspaces: tuple[str, ...], rules: Sequence[Rule]) -> Wanted | None:
    """What the event asks for; None if it is no registration of a model that a rule is for.

    Raises `Reject` if a rule fits and a name or the version in the event cannot be what it should be.
    """
    if event.type.casefold() != MODEL_REGISTERED:
        return None
    workspace = is_listed(event.topic, workspaces)
    if workspace is None:
        return None
    name = event.field("modelName")
    rule = next((rule for rule in rules if _is_for(rule, event, name)), None)
    if rule is None:
        return None
    model = named("model's name", name)
    version = numbered("model's version", event.field("modelVersion"))
    if version < rule.version_min:
        return None
    slots = {"model": model, "version": str(version)}
    endpoint, deployment = (_online_name(template, slots) for template in (rule.endpoint, rule.deployment))
    return Wanted(workspace, model, version, endpoint, deployment, rule)


def _is_for(rule: Rule, event: Event, name: object) -> bool:
    return (
        isinstance(name, str)
        and any(fnmatchcase(name, pattern) for pattern in rule.models)
        and _have(event, "modelTags", rule.tags)
        and _have(event, "modelProperties", rule.properties)
    )


def _have(event: Event, where: str, asked: dict[str, tuple[str, ...]]) -> bool:
    for key, patterns in asked.items():
        value = event.field(where, key)
        if value is None:
            return False
        (text,) = (
            each.casefold() for each in _as_texts(value if not isinstance(value, list) else str(value))
        )
        if not any(fnmatchcase(text, pattern.casefold()) for pattern in patterns):
            return False
    return True


def _online_name(template: str, slots: dict[str, str]) -> str:
    name = filled(template, slots)
    if not _ONLINE_NAME.fullmatch(name):
        raise Reject(f"{template} would become a name that Azure ML does not take ({_ONLINE_NAME_SAYS}).")
    return name
