"""Which drift concerns which model, and what retrains it: the rules, and what they make of an event.

Two kinds of events tell of drift. A model monitor of today ends its run as failed, with a tag that says which
signal has breached its threshold; when the run ends well again, the drift is gone. A dataset monitor (v1)
sends DatasetDriftDetected with a coefficient.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from consumer.events import Event
from consumer.processor import Reject
from processors.azure_settings import (
    FactoryId,
    Frozen,
    Glob,
    WorkspaceId,
    check_slots,
    filled,
    is_listed,
    named,
)
from processors.retrain_governor import Drift

RUN_STATUS_CHANGED = "microsoft.machinelearningservices.runstatuschanged"
DRIFT_DETECTED = "microsoft.machinelearningservices.datasetdriftdetected"
BREACH_TAG = "azureml_modelmonitor_threshold_breached"
_SLOTS = frozenset({"model", "monitor", "coefficient", "run"})
_WORDS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TAG_MAX = 10_000
"""Of a longer tag only so many characters are looked at."""
_SLOTTED = str | int | float | bool


def _check_values(values: dict[str, _SLOTTED]) -> dict[str, _SLOTTED]:
    for name, value in values.items():
        try:
            check_slots(value if isinstance(value, str) else "", _SLOTS)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return values


class DataFactoryRun(Frozen):
    """A pipeline of a Data Factory."""

    factory: FactoryId
    """The factory's resource id."""
    pipeline: str = Field(pattern=r"^[A-Za-z0-9_][^<>*#.%&:\\+?/]{0,259}$")
    """The pipeline's name."""
    parameters: dict[str, _SLOTTED] = Field(default_factory=dict)
    """What it is run with; texts may contain {model}, {monitor}, {coefficient} and {run}."""
    key_parameter: str = Field(default="inturn_key", pattern=r"^\w{1,100}$")
    """A parameter that the pipeline has to declare (String): by it a run of ours is found again."""
    model_parameter: str = Field(default="inturn_model", pattern=r"^\w{1,100}$")
    """Likewise: by it the runs of a model are counted."""

    _values = field_validator("parameters")(_check_values)


class PipelineJob(Frozen):
    """A pipeline job of Azure ML, made from a pipeline component."""

    workspace: WorkspaceId
    """Where it runs."""
    component_id: str = Field(min_length=1, max_length=1_024)
    """The resource id of the pipeline component's version."""
    experiment: str = Field(default="retrain", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$")
    """The experiment that it is shown under."""
    compute_id: str | None = Field(default=None, min_length=1, max_length=1_024)
    """The resource id of the compute for steps that name none."""
    inputs: dict[str, _SLOTTED] = Field(default_factory=dict)
    """Literal inputs; texts may contain {model}, {monitor}, {coefficient} and {run}."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the pipeline job, as the REST API takes them."""

    _values = field_validator("inputs")(_check_values)


class Rule(Frozen):
    """A model, what tells of its drift, and what retrains it. The first rule that fits counts."""

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    """What is retrained. Cool-down, hysteresis and one-in-flight go by it."""
    monitors: tuple[Glob, ...] = ()
    """Model monitors, as the breach tag names them: MONITOR_SIGNAL; * stands for any characters."""
    drifts: tuple[Glob, ...] = ()
    """Dataset monitors (v1) by their name; * stands for any characters."""
    start_at: float = Field(default=0.5, gt=0, le=1)
    """The coefficient of a dataset monitor from which on the model is retrained."""
    clear_below: float | None = Field(default=None, gt=0, le=1)
    """Below this the drift counts as gone; the default is start_at."""
    data_factory: DataFactoryRun | None = None
    """Run this pipeline of a Data Factory."""
    job: PipelineJob | None = None
    """Or run this pipeline job in Azure ML."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.monitors and not self.drifts:
            raise ValueError("name monitors or drifts, else nothing fits")
        if (self.data_factory is None) == (self.job is None):
            raise ValueError("give one of data_factory and job")
        if self.clear_below is not None and self.clear_below > self.start_at:
            raise ValueError(f"clear_below ({self.clear_below:g}) is more than start_at ({self.start_at:g})")
        return self


@dataclass(frozen=True, slots=True)
class Sign:
    """What an event says of a model's drift."""

    rule: Rule
    monitor: str
    run: str
    """The monitor's run."""
    drift: Drift

    def fill(self, values: dict[str, _SLOTTED]) -> dict[str, _SLOTTED]:
        """Values with the slots of their texts filled."""
        slots = {
            "model": self.rule.model,
            "monitor": self.monitor,
            "coefficient": f"{self.drift.level:g}",
            "run": self.run,
        }
        return {
            name: filled(value, slots) if isinstance(value, str) else value for name, value in values.items()
        }

    def as_json(self) -> dict[str, Any]:
        """For previews and emitted events."""
        return {
            "model": self.rule.model,
            "monitor": self.monitor,
            "monitorRunId": self.run,
            "coefficient": self.drift.level,
        }


def sign_of(
    event: Event, workspaces: tuple[str, ...], rules: Sequence[Rule], breach_text: str
) -> Sign | None:
    """What the event says; None if it says nothing of a model that a rule is for.

    Raises `Reject` if a rule fits and what the event says cannot be what it should be.
    """
    if is_listed(event.topic, workspaces) is None:
        return None
    match event.type.casefold():
        case str(kind) if kind == RUN_STATUS_CHANGED:
            return _of_monitor(event, rules, breach_text)
        case str(kind) if kind == DRIFT_DETECTED:
            return _of_dataset(event, rules)
    return None


def _of_monitor(event: Event, rules: Sequence[Rule], breach_text: str) -> Sign | None:
    level = {"failed": 1.0, "completed": 0.0}.get(str(event.field("runStatus")).casefold())
    tag = event.field("runTags", BREACH_TAG)
    if level is None or not isinstance(tag, str):
        return None
    tag = tag[:_TAG_MAX]
    if level > 0 and breach_text.casefold() not in tag.casefold():
        return None
    words = _WORDS.findall(tag)
    for rule in rules:
        for pattern in rule.monitors:
            # The name of any monitor cannot be told from the other words of the tag.
            found = (
                rule.model if pattern == "*" else next((w for w in words if fnmatchcase(w, pattern)), None)
            )
            if found is not None:
                run = named("run's id", event.field("runId"))
                return Sign(rule, found, run, Drift(rule.model, level, start_at=1.0, clear_below=1.0))
    return None


def _of_dataset(event: Event, rules: Sequence[Rule]) -> Sign | None:
    name = event.field("dataDriftName")
    if not isinstance(name, str):
        return None
    rule = next((r for r in rules if any(fnmatchcase(name, pattern) for pattern in r.drifts)), None)
    if rule is None:
        return None
    coefficient = event.field("driftCoefficient")
    is_number = isinstance(coefficient, (int, float)) and not isinstance(coefficient, bool)
    if not is_number or not math.isfinite(coefficient):
        raise Reject("The drift coefficient in the event is no number.")
    monitor = named("dataset monitor's name", name)
    run = named("run's id", event.field("runId"))
    clear_below = rule.start_at if rule.clear_below is None else rule.clear_below
    return Sign(rule, monitor, run, Drift(rule.model, float(coefficient), rule.start_at, clear_below))
