"""What all settings have in common, and how a rule that spans several of them says no."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, WrapValidator
from pydantic_core import PydanticCustomError


def _place_or_time(value: Any, parse: Callable[[Any], Any]) -> Any:
    # Pydantic would also take bare numbers, as seconds since 1970: nobody means that here.
    try:
        text = value if isinstance(value, str) else ""
        if isinstance(value, datetime) or text in {"earliest", "latest"} or text[4:5] == "-":
            return parse(value)
    except ValueError:
        pass
    example = "2026-11-21T06:30:00Z"
    raise PydanticCustomError(
        "start", f"should be earliest, latest or a time with its offset such as {example}"
    )


Start = Annotated[Literal["earliest", "latest"] | AwareDatetime, WrapValidator(_place_or_time)]
"""Where to begin: earliest, latest or an RFC 3339 time."""


class Concern(BaseModel):
    """The base of all settings: no unknown keys, no change, no infinity, no values in errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


class GapPolicy(Concern):
    """What to do about events that were removed before they were read."""

    on_gap: Literal["continue", "halt"] = "continue"
    """continue: count and log them, and go on. halt: wait until an operator has moved the checkpoint."""


class Finding(NamedTuple):
    """What is wrong with one of the settings that a rule looked at together."""

    at: tuple[str | int, ...]
    """The way to the setting from the model whose rule it is."""
    message: str


FINDINGS = "findings"
"""The error type under which pydantic carries `Finding` values, in the context key of the same name."""


def refuse(*findings: Finding) -> None:
    """Raise the findings, if there are any, as one error that pydantic collects with the others."""
    if findings:
        text = "; ".join(finding.message for finding in findings)
        raise PydanticCustomError(FINDINGS, "{text}", {"text": text, FINDINGS: findings})


WORKERS_MAX = 64
_PRIVATE = {"file", "memory"}
"""Types of sources and stores that one process has for itself."""


def unshared(settings: BaseModel) -> list[str]:
    """Why several workers could not share the work, a line for each setting; empty if they can."""
    named = [name for name in ("source", "state", "dead_letters") if name in settings.model_fields_set]
    types = {name: getattr(settings, name).type for name in named}
    return [
        f"{name} of the type {kind} cannot be shared by workers"
        for name, kind in types.items()
        if kind in _PRIVATE
    ]
