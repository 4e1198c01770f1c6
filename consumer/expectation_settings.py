"""What can be configured of rules about what does not come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from consumer.core.expectation_keys import paths_in
from consumer.filter_settings import FilterSettings
from consumer.processor import INTERNAL
from consumer.processor_settings import TypePattern
from consumer.setting_rules import Concern, Finding, refuse


def _template(text: str) -> str:
    paths = paths_in(text)
    bare = text
    for path in paths:
        bare = bare.replace("{" + path + "}", "", 1)
    if not paths or not all(paths) or "{" in bare or "}" in bare:
        example = "{data.modelName}:{data.modelVersion}"
        raise PydanticCustomError("template", f"should have paths of the event in braces, such as {example}")
    return text


Template = Annotated[str, Field(max_length=1_024), AfterValidator(_template)]
EventPath = Annotated[str, Field(max_length=256, pattern=r"^[^.\s]+(\.[^.\s]+)*$")]


class TriggerSettings(Concern):
    """After which events something is expected."""

    types: tuple[TypePattern, ...] = Field(min_length=1)
    """The event types; with * at the end the beginning of some."""
    filter: FilterSettings | None = None
    """What an event has to be like beyond its type, as for processors."""
    key: Template
    """What the fulfilment has to agree in: a text with paths in braces, such as {data.modelName}."""


class FulfilmentSettings(Concern):
    """What is expected. Give exactly one of key and keys."""

    types: tuple[TypePattern, ...] = Field(min_length=1)
    """The event types; with * at the end the beginning of some."""
    filter: FilterSettings | None = None
    """What an event has to be like beyond its type, as for processors."""
    key: Template | None = None
    """The same text as that of the trigger, made of this event."""
    keys: EventPath | None = None
    """A path to several such texts, in an array or with commas between them, such as data.modelIds."""

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if (self.key is None) is (self.keys is None):
            refuse(Finding((), "give exactly one of key and keys: what does it agree in with the trigger?"))
        return self


class ExpectationSettings(Concern):
    """A rule: after one event another is expected; else Inturn.ExpectationMissed is emitted.

    Both are known by a key. Events of different partitions do not meet, so both need the same partition key.
    """

    name: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    """Its name in events, the state and metrics; unique. To rename it is to make a new one."""
    after: TriggerSettings
    """After which events."""
    expect: FulfilmentSettings
    """What is expected."""
    within_min: float = Field(gt=0, le=10_080)
    """In so many minutes of log time; what comes later is no fulfilment."""
    pending_max: int = Field(default=10_000, ge=1, le=100_000)
    """Triggers waited with, per partition; at the limit a further one is not watched, and is counted."""


def expectation_findings(
    rules: Sequence[ExpectationSettings], admitted: Sequence[str] | None
) -> list[Finding]:
    """What is wrong with rules together, and with the types that they name; `admitted` None: any is taken."""
    names = [rule.name for rule in rules]
    found = [
        Finding(("expect", index, "name"), f"{name} is the name of an earlier rule; give it its own")
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    for index, rule in enumerate(rules):
        for side, types in (("after", rule.after.types), ("expect", rule.expect.types)):
            wrong = [(place, _wrong(kind.casefold(), admitted)) for place, kind in enumerate(types)]
            found += [Finding(("expect", index, side, "types", place), why) for place, why in wrong if why]
    return found


def _wrong(kind: str, admitted: Sequence[str] | None) -> str:
    if kind.startswith(INTERNAL.casefold()):
        return "rules look at the events of the hub only"
    if admitted is None or any(_covers(pattern.casefold(), kind) for pattern in admitted):
        return ""
    return "admission.types does not take it, so the rule would never see it"


def _covers(pattern: str, kind: str) -> bool:
    return kind == pattern or (pattern.endswith("*") and kind.startswith(pattern[:-1]))
