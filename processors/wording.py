"""What to call an event when nobody wrote a template for it: a title, and its details line by line.

Knows the events of Azure Machine Learning and those that inturn's own processors and rules emit; of any
other it tells the type, the subject and the plain values of its data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from consumer.events import Event
from consumer.processor import INTERNAL
from processors.portal import endpoint_of, model_of, resource_of, run_of, text_of

_DETAILS_MAX = 20
_ML = "microsoft.machinelearningservices."
_BREACHED = ("runTags", "azureml_modelmonitor_threshold_breached")
_FAILED = "has failed due to"
"""What the tag of a model monitor's run says while a threshold is breached."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def title_of(event: Event) -> str:
    """One line: what happened, to what."""
    type_ = event.type.casefold()
    known = _TITLES.get(type_.removeprefix(_ML)) if type_.startswith(_ML) else None
    if known is not None:
        return known(event)
    said = words(event.type)
    model, version = model_of(event)
    about = f"{model}:{version}".rstrip(":") or endpoint_of(event) or event.subject
    rule = text_of(event, ("rule",)) if event.type.startswith(INTERNAL) else ""
    if rule:
        about = f"{rule}, for {about}"
    return f"{said}: {about}" if about else said


def details_of(event: Event) -> tuple[str, ...]:
    """Lines such as ``Workspace: fraud``, at most 20 of them from the data."""
    resource = resource_of(event.topic)
    named = [
        ("Workspace" if resource.is_workspace else "Resource", resource.name or event.topic),
        ("Resource group", resource.group),
        ("Subscription", resource.subscription),
        ("Subject", event.subject),
        ("Event", event.type),
        ("Time", event.event_time.strftime("%Y-%m-%d %H:%M:%S UTC") if event.event_time else ""),
    ]
    lines = [f"{name}: {value}" for name, value in named if value]
    return (*lines, *list(_data_lines(event.data))[:_DETAILS_MAX])


def words(type_: str) -> str:
    """The last part of a type as words: ``Inturn.ModelDeploymentFailed`` is "Model deployment failed"."""
    name = type_.removeprefix(INTERNAL).rpartition(".")[2]
    parts = [part if part.isupper() and len(part) > 1 else part.casefold() for part in _WORD.findall(name)]
    text = " ".join(parts) or type_
    return text[:1].upper() + text[1:]


def drift_of(event: Event) -> str:
    """What a model monitor wrote about its breached threshold; "" if none is breached."""
    message = text_of(event, _BREACHED)
    return message if _FAILED in message else ""


def _run_changed(event: Event) -> str:
    status = text_of(event, ("runStatus",)).casefold()
    if drift_of(event) and status == "failed":
        return f"Model monitor found drift: {_run(event)}"
    return f"Run {status or 'changed'}: {_run(event)}"


def _run_completed(event: Event) -> str:
    return f"Run completed: {_run(event)}"


def _model_registered(event: Event) -> str:
    return f"Model registered: {':'.join(filter(None, model_of(event))) or event.subject}"


def _model_deployed(event: Event) -> str:
    models = text_of(event, ("modelIds",)).replace(",", ", ")
    to = endpoint_of(event) or event.subject
    return f"Model deployed: {models} to {to}" if models else f"Model deployed: {to}"


def _drift_detected(event: Event) -> str:
    coefficient = event.field("driftCoefficient")
    name = text_of(event, ("dataDriftName",), ("dataDriftId",)) or event.subject
    shown = f", coefficient {coefficient:.3g}" if isinstance(coefficient, float | int) else ""
    return f"Dataset drift detected: {name}{shown}"


def _run(event: Event) -> str:
    experiment, run = text_of(event, ("experimentName",)), run_of(event) or event.subject
    return f"{run} of {experiment}" if experiment else run


_TITLES: dict[str, Callable[[Event], str]] = {
    "runstatuschanged": _run_changed,
    "runcompleted": _run_completed,
    "modelregistered": _model_registered,
    "modeldeployed": _model_deployed,
    "datasetdriftdetected": _drift_detected,
}


def _data_lines(data: Any) -> Iterator[str]:
    for key, value in data.items() if isinstance(data, dict) else ():
        if isinstance(value, dict):
            yield from (
                f"{_label(key)}, {name}: {_shown(inner)}" for name, inner in value.items() if _is_plain(inner)
            )
        elif _is_plain(value):
            yield f"{_label(key)}: {_shown(value)}"


def _label(key: str) -> str:
    return words(key)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and value != ""


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
