"""What to do next, looking at what the endpoint has: pure, and asked anew after every step.

Nothing is remembered between the steps but what Azure itself keeps, so another attempt, after a crash, a
cut or a lost answer, goes on where the last one was. What we need for that is kept in tags of the deployment:
whose work it is (the key of the effect), and when deployments of ours began in the last hour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

KEY_TAG = "inturn-key"
BEGUN_TAG = "inturn-begun"
"""Seconds since 1970, divided by spaces; a tag holds 256 characters."""
PER_HOUR_MAX = 20
"""So many times fit into a tag."""
_HOUR_S = 3600
_RESTING = frozenset({"succeeded", "failed", "canceled"})
_MODEL_IDS = re.compile(
    r"(?:.*/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+))|(?:azureml:)?(?P<short>[^:/]+):(?P<number>[^:/]+)"
)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment as its endpoint lists it."""

    name: str
    model: str
    """The model's name; "" if it has none, or one that cannot be read."""
    version: int | None
    """None: not a whole number."""
    state: str
    """Azure's provisioning state in lower case."""
    key: str
    """Of the effect that it is the work of; "" if it is not ours."""
    begun_s: tuple[int, ...]
    """When deployments of ours to it began."""
    resource: Mapping[str, Any]

    @property
    def is_moving(self) -> bool:
        """Whether an operation on it is under way."""
        return self.state not in _RESTING

    @property
    def operation_url(self) -> str | None:
        """Where its latest operation is told of, if Azure ML says so."""
        inner = (self.resource.get("properties") or {}).get("properties") or {}
        url = inner.get("AzureAsyncOperationUri")
        return url if isinstance(url, str) else None


def read_deployment(resource: Mapping[str, Any]) -> Deployment:
    """Read what Resource Manager lists."""
    properties: Mapping[str, Any] = resource.get("properties") or {}
    tags: Mapping[str, Any] = resource.get("tags") or {}
    name, version = model_of(str(properties.get("model") or ""))
    begun = tuple(int(text) for text in str(tags.get(BEGUN_TAG) or "").split() if text.isdecimal())
    state = str(properties.get("provisioningState") or "succeeded").casefold()
    return Deployment(
        str(resource.get("name") or ""), name, version, state, str(tags.get(KEY_TAG) or ""), begun, resource
    )


def model_of(model_id: str) -> tuple[str, int | None]:
    """The name and the version of a model id, in any of the forms in which Azure ML writes one."""
    found = _MODEL_IDS.fullmatch(model_id)
    if found is None:
        return "", None
    name, version = found["name"] or found["short"], found["version"] or found["number"]
    return name, int(version) if version.isascii() and version.isdecimal() and len(version) <= 18 else None


class Deploy(NamedTuple):
    """Put the wanted version into the deployment."""

    existing: Deployment | None
    begun_s: tuple[int, ...]
    """To be kept in the tag: the deployment's times of the last hour, and now."""


class Follow(NamedTuple):
    """An operation is under way: look again when it has ended."""

    deployment: Deployment


class Deployed(NamedTuple):
    """The wanted version is there."""

    is_ours: bool
    """It is the work of this very effect."""


class Superseded(NamedTuple):
    """A higher version is there: nothing to do, ever."""

    version: int


class Failed(NamedTuple):
    """This very effect was attempted, and Azure could not do it, or not in time."""

    deployment: Deployment


class Occupied(NamedTuple):
    """The deployment has something that cannot be compared with what is wanted."""

    what: str


class TooMany(NamedTuple):
    """As many deployments as may be were begun in the last hour."""

    wait_s: float


Step = Deploy | Follow | Deployed | Superseded | Failed | Occupied | TooMany


class Aim(NamedTuple):
    """What is wanted of an endpoint, and on what terms."""

    model: str
    version: int
    deployment: str
    key: str
    per_hour_max: int
    operation_max_s: float
    """A deployment of this effect that takes longer has failed. If it failed that lately, that is the result
    of this effect; an older failure is tried again."""


def next_step(aim: Aim, deployments: Sequence[Deployment], now_s: float) -> Step:
    """The next step towards the aim."""
    target = next((each for each in deployments if each.name.casefold() == aim.deployment.casefold()), None)
    same = [each for each in deployments if each.model.casefold() == aim.model.casefold()]
    newest = max((each.version for each in same if each.version is not None), default=0)
    # Whatever became of the higher one: going back behind it is never what was meant.
    if newest > aim.version:
        return Superseded(newest)
    is_ours = target is not None and target.key == aim.key and target.version == aim.version
    age_s = now_s - max(target.begun_s, default=0) if target is not None else 0.0
    if moving := [each for each in (target, *deployments) if each is not None and each.is_moving]:
        if is_ours and moving[0] is target and age_s > aim.operation_max_s:
            return Failed(moving[0])
        return Follow(moving[0])
    if target is not None and (target not in same or target.version is None):
        return Occupied(str((target.resource.get("properties") or {}).get("model") or "no model"))
    if target is not None and target.version == aim.version:
        if target.state == "succeeded":
            return Deployed(is_ours)
        if is_ours and age_s <= aim.operation_max_s:
            return Failed(target)
    wait_s = _too_many(deployments, aim.per_hour_max, now_s)
    if wait_s > 0:
        return TooMany(wait_s)
    return Deploy(target, (*_lately(target.begun_s if target else (), now_s), int(now_s)))


def _too_many(deployments: Sequence[Deployment], per_hour_max: int, now_s: float) -> float:
    begun = sorted(at for each in deployments for at in _lately(each.begun_s, now_s))
    if len(begun) < per_hour_max:
        return 0.0
    return max(begun[-per_hour_max] + _HOUR_S - now_s, 1.0)


def _lately(begun_s: tuple[int, ...], now_s: float) -> tuple[int, ...]:
    return tuple(at for at in begun_s if at > now_s - _HOUR_S)[-PER_HOUR_MAX:]
